//! `tidegate bench`.

use std::time::Duration;

use clap::{Args, Subcommand};
use tidegate::Window;

use super::values;

/// Measures tidegate between processes over loopback, with every message acked.
#[derive(Args, Debug)]
#[command(after_help = ELSEWHERE)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(crate) command: BenchCommand,
}

const ELSEWHERE: &str = "\
The program `tidegate-bench` measures more: several pushers or pullers, the makespan
of a list of jobs, memory, killed pullers, and plain TCP by itself. It is built from the
repository:
  cargo build --release -p tidegate-bench
  target/release/tidegate-bench --help";

/// The benchmarks.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Measures messages per second from one process to another.
    ///
    /// The receiving process checks and acks every message. It measures the time from the first message after
    /// the warm-up to the last message.
    #[command(after_help = "Examples:\n  \
            tidegate bench throughput\n  \
            tidegate bench throughput --size 1KiB --count 1000000 --window 10000 --json\n  \
            tidegate bench throughput --threads 2 --tasks 4\n  \
            tidegate bench throughput --io-thread\n  \
            tidegate bench throughput --with-tcp\n  \
            tidegate bench throughput --size 64KiB --tls")]
    Throughput(ThroughputArgs),
    /// Measures round trips, or with --rate one-way latency under a steady load.
    ///
    /// Round trips go through two pipelines, one at a time.
    ///
    /// With --rate, messages are sent at fixed times. The latency of a message counts from the time at which
    /// it was due, even if the sender was late, so the results include all waiting (no coordinated omission).
    #[command(after_help = "Examples:\n  \
            tidegate bench latency --with-tcp\n  \
            tidegate bench latency --rate 100000 --count 1000000")]
    Latency(LatencyArgs),
}

/// The load.
#[derive(Args, Clone, Copy, Debug)]
pub struct LoadArgs {
    /// Payload size of each message, in bytes or with a unit
    #[arg(long, value_name = "SIZE", value_parser = values::size, default_value = "64")]
    pub(crate) size: usize,
    /// Number of messages, at least 2 [default: by size, for about two seconds of work]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..))]
    count: Option<u64>,
    /// Prints the results as one JSON object on stdout
    #[arg(long)]
    pub json: bool,
}

/// Settings of the measured sockets. The defaults are those of the library.
#[derive(Args, Clone, Debug)]
pub struct TuneArgs {
    /// Credit window of each puller, in messages, or `auto`
    #[arg(long, value_name = "N|auto", value_parser = window, default_value = "auto")]
    pub(crate) window: Window,
    /// High-water mark of the pusher, in messages [default: that of the library]
    #[arg(long, value_name = "N")]
    pub(crate) high_water_mark: Option<usize>,
    /// Number of runtime threads of each process; the daemons use one
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) threads: u16,
    /// Number of tasks that send through one pusher, and that receive through one puller
    #[arg(
        long, value_name = "N", default_value_t = 1, conflicts_with = "blocking",
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub(crate) tasks: u16,
    /// Number of messages per call: 1 for `send`, `recv` and `ack`, more for batch calls
    #[arg(
        long, value_name = "N", default_value_t = 1, conflicts_with = "blocking",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub(crate) batch: u32,
    /// Sends borrowed slices instead of buffers that the messages own
    #[arg(long)]
    pub(crate) borrowed: bool,
    #[command(flatten)]
    pub(crate) own: ThreadArgs,
    /// Uses TLS 1.3, with a CA created for this run
    #[arg(long)]
    pub(crate) tls: bool,
    /// Number of messages before the measurement begins [default: a tenth of all]
    #[arg(long, value_name = "N")]
    pub(crate) warm_up: Option<u64>,
}

/// Where the links of the measured sockets run.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct ThreadArgs {
    /// Runs the links of each process on the library's I/O thread
    #[arg(long)]
    pub(crate) io_thread: bool,
    /// Uses the I/O thread and the blocking calls, one message at a time
    #[arg(long)]
    pub(crate) blocking: bool,
}

impl ThreadArgs {
    /// Whether the links have an I/O thread.
    pub(crate) fn own(self) -> bool {
        self.io_thread || self.blocking
    }

    /// The same options as arguments for another process.
    pub(crate) fn flags(self) -> impl Iterator<Item = &'static str> {
        let io_thread = self.io_thread.then_some("--io-thread");
        io_thread.into_iter().chain(self.blocking.then_some("--blocking"))
    }
}

/// `tidegate bench throughput`.
#[derive(Args, Debug)]
pub(crate) struct ThroughputArgs {
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    #[command(flatten)]
    pub(crate) tune: TuneArgs,
    /// Also measures plain TCP with the same size and count (the best of six pairs of sizes), and prints the ratio
    #[arg(long)]
    pub(crate) with_tcp: bool,
}

/// `tidegate bench latency`.
#[derive(Args, Debug)]
pub(crate) struct LatencyArgs {
    /// Payload size of each message, in bytes or with a unit, at least 8
    #[arg(long, value_name = "SIZE", value_parser = values::size, default_value = "64")]
    pub(crate) size: usize,
    /// Number of messages
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(2..))]
    pub(crate) count: u64,
    /// Measures one-way latency at N messages per second instead of round trips
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "with_tcp")]
    pub(crate) rate: Option<u64>,
    /// Also measures plain TCP echoes, with tokio and with blocking calls
    #[arg(long)]
    pub(crate) with_tcp: bool,
    /// Polls for this time before a link sleeps, on both sides
    ///
    /// This lowers latency and keeps a core busy.
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) busy_poll: Option<Duration>,
    #[command(flatten)]
    pub(crate) own: ThreadArgs,
    /// Prints the results as one JSON object on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

impl BenchArgs {
    /// How long this process polls, in microseconds.
    pub(crate) fn busy_poll(&self) -> u64 {
        match &self.command {
            BenchCommand::Latency(args) => args.busy_poll.unwrap_or_default().as_micros() as u64,
            BenchCommand::Throughput(_) => 0,
        }
    }
}

impl LoadArgs {
    /// Number of messages to send: --count, or about two seconds' worth at 100 ns per message and 2 GB/s.
    pub(crate) fn count(&self) -> u64 {
        self.count.unwrap_or_else(|| {
            let nanos = 100 + self.size as u64 / 2;
            (2_000_000_000 / nanos).max(100)
        })
    }
}

/// `auto`, or a number of messages.
///
/// # Errors
/// If it is neither.
pub fn window(text: &str) -> Result<Window, String> {
    match (text, text.parse()) {
        ("auto", _) => Ok(Window::Auto),
        (_, Ok(messages)) => Ok(Window::messages(messages)),
        _ => Err("expected a number of messages, or auto".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Command, tests::parse};
    use super::*;

    fn load(line: &[&str]) -> LoadArgs {
        let whole: Vec<&str> = ["bench", "throughput"].iter().chain(line).copied().collect();
        match parse(&whole).unwrap().command {
            Command::Bench(BenchArgs { command: BenchCommand::Throughput(args) }) => args.load,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_default_count_depends_on_the_size() {
        assert_eq!(load(&[]).size, 64);
        assert!(load(&[]).count() > 5_000_000);
        let large = load(&["--size", "64KiB"]).count();
        assert!((10_000..200_000).contains(&large), "{large}");
        assert_eq!(load(&["--size", "1GiB"]).count(), 100);
        assert_eq!(load(&["--count", "12"]).count(), 12);
    }

    #[test]
    fn a_window_is_a_number_or_auto() {
        assert_eq!((window("auto"), window("7")), (Ok(Window::Auto), Ok(Window::messages(7))));
        assert!(window("much").is_err() && window("-1").is_err());
    }
}
