//! `tidegate bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use tidegate::Window;

use super::values;

/// Measures this machine: tidegate between processes over loopback, every message acked, or plain TCP to compare it with.
#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(crate) command: BenchCommand,
}

/// What can be measured.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Messages per second from one process to another.
    ///
    /// The receiving process checks every message and acks it; the time is taken there, from the first message after the
    /// warm-up to the last.
    #[command(
        after_help = "Examples:\n  tidegate bench throughput\n  tidegate bench throughput --size 1KiB --count 1000000 --window 10000 --json\n  tidegate bench throughput --threads 2 --tasks 4\n  tidegate bench throughput --io-thread\n  tidegate bench throughput --with-tcp\n  tidegate bench throughput --size 64KiB --tls"
    )]
    Throughput(ThroughputArgs),
    /// Round trips, one at a time, through two pipelines; or with --rate, one way under a steady load.
    ///
    /// With --rate, messages are sent by a timetable, and each one's time counts from when it was due, also if the sender
    /// was late: waiting is not left out of the figures.
    #[command(
        after_help = "Examples:\n  tidegate bench latency --with-tcp\n  tidegate bench latency --rate 100000 --count 1000000"
    )]
    Latency(LatencyArgs),
    /// One pusher, several pullers, each a process of its own.
    #[command(after_help = "Example:\n  tidegate bench fanout --pullers 8")]
    Fanout(FanoutArgs),
    /// Several pushers, one puller, each a process of its own.
    #[command(after_help = "Example:\n  tidegate bench fanin --pushers 8")]
    Fanin(FaninArgs),
    /// How long unequal workers take for a list of jobs, against a dispatcher without latency.
    ///
    /// Jobs sleep. The ideal gives the same list in order to whichever worker is free first, at once.
    #[command(
        after_help = "Examples:\n  tidegate bench makespan --workers 1,2,4,8 --seconds 60\n  tidegate bench makespan --long-share 0.1 --long-factor 20\n  tidegate bench makespan --quick 1000000"
    )]
    Makespan(MakespanArgs),
    /// A long run with pullers that are killed and replaced; fails unless every message was acked.
    #[command(
        after_help = "Example:\n  tidegate bench soak --duration 10min --pullers 3 --kill-every 5s --json > soak.json"
    )]
    Soak(SoakArgs),
    /// The memory that a pusher needs for each idle link.
    #[command(after_help = "Example:\n  tidegate bench links --links 10000")]
    Links(LinksArgs),
    /// The memory of a pusher whose puller is stopped (SIGSTOP) in the middle of its work.
    #[command(after_help = "Example:\n  tidegate bench stopped --size 1KiB")]
    Stopped(StoppedArgs),
    /// The same bytes as a plain TCP stream, without frames, credit or acks: what the machine can do at most.
    #[command(after_help = "Example:\n  tidegate bench tcp --size 64 --count 10000000 --json")]
    Tcp(TcpArgs),
    /// Plots of saved results, as one HTML page on stdout.
    #[command(
        after_help = "Example:\n  for s in 64 1KiB 64KiB; do tidegate bench throughput --size $s --json; done > results.json\n  tidegate bench report results.json > report.html"
    )]
    Report(ReportArgs),
}

/// How much to send.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct LoadArgs {
    /// Payload of each message, in bytes or with a unit
    #[arg(long, value_name = "SIZE", value_parser = values::size, default_value = "64")]
    pub(crate) size: usize,
    /// How many messages, 2 at least [default: by size, for about two seconds of work]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..))]
    count: Option<u64>,
    /// Prints one JSON object on stdout instead of sentences
    #[arg(long)]
    pub(crate) json: bool,
}

/// The settings of the measured sockets; the defaults are those of the library.
#[derive(Args, Clone, Debug)]
pub(crate) struct TuneArgs {
    /// How many messages may be un-acked on each link: a number, or auto
    #[arg(long, value_name = "N|auto", value_parser = window, default_value = "auto")]
    pub(crate) window: Window,
    /// How many messages a pusher queues [default: that of the library]
    #[arg(long, value_name = "N")]
    pub(crate) high_water_mark: Option<usize>,
    /// Threads of the runtime of each process; the daemons have one
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) threads: u16,
    /// Tasks that send through one pusher, and that receive through one puller
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "blocking", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) tasks: u16,
    /// Messages per task and call: 1 is one `send`, `recv` and `ack` for each; more uses the forms for batches
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "blocking", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch: u32,
    /// Sends slices and receives lent deliveries, one at a time: the quickest forms
    #[arg(long)]
    pub(crate) lent: bool,
    #[command(flatten)]
    pub(crate) own: ThreadArgs,
    /// Encrypts, with TLS 1.3 and a CA made for this run
    #[arg(long)]
    pub(crate) tls: bool,
    /// Messages before the measurement begins [default: a tenth of all]
    #[arg(long, value_name = "N")]
    pub(crate) warm_up: Option<u64>,
}

/// Where the links of the measured sockets run.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct ThreadArgs {
    /// Runs the links of each process on a thread of the library's own
    #[arg(long)]
    pub(crate) io_thread: bool,
    /// The same, with the calls that block, one message at a time
    #[arg(long)]
    pub(crate) blocking: bool,
}

impl ThreadArgs {
    /// Whether there is such a thread.
    pub(crate) fn own(self) -> bool {
        self.io_thread || self.blocking
    }

    /// As arguments for another process.
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
    /// Runs `bench tcp` with the same sizes and count too, and prints the ratio
    #[arg(long)]
    pub(crate) with_tcp: bool,
}

/// `tidegate bench latency`.
#[derive(Args, Debug)]
pub(crate) struct LatencyArgs {
    /// Payload of each message, in bytes or with a unit; 8 at least
    #[arg(long, value_name = "SIZE", value_parser = values::size, default_value = "64")]
    pub(crate) size: usize,
    /// How many messages
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(2..))]
    pub(crate) count: u64,
    /// One way, so many messages a second, instead of round trips
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "with_tcp")]
    pub(crate) rate: Option<u64>,
    /// Measures plain TCP echoes in the same run too: one with tokio, and one that blocks
    #[arg(long)]
    pub(crate) with_tcp: bool,
    /// Polls for so long without sleeping before a link waits, on both sides: quicker, and a core is busy
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) busy_poll: Option<Duration>,
    #[command(flatten)]
    pub(crate) own: ThreadArgs,
    /// Prints one JSON object on stdout instead of sentences
    #[arg(long)]
    pub(crate) json: bool,
}

/// `tidegate bench fanout`.
#[derive(Args, Debug)]
pub(crate) struct FanoutArgs {
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    #[command(flatten)]
    pub(crate) tune: TuneArgs,
    /// How many pullers
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) pullers: u16,
}

/// `tidegate bench fanin`.
#[derive(Args, Debug)]
pub(crate) struct FaninArgs {
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    #[command(flatten)]
    pub(crate) tune: TuneArgs,
    /// How many pushers
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) pushers: u16,
}

/// `tidegate bench makespan`.
#[derive(Args, Debug)]
pub(crate) struct MakespanArgs {
    /// The speed of each worker, one worker for each number
    #[arg(long, value_name = "SPEEDS", value_delimiter = ',', default_value = "1,2,4,8", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) workers: Vec<u32>,
    /// About how long the list should take
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seconds: u32,
    /// The shortest job, for a worker of speed 1
    #[arg(long, value_name = "DURATION", value_parser = values::duration, default_value = "1ms")]
    pub(crate) shortest: Duration,
    /// The longest job, for a worker of speed 1
    #[arg(long, value_name = "DURATION", value_parser = values::duration, default_value = "50ms")]
    pub(crate) longest: Duration,
    /// The share of jobs that take --long-factor times as long
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub(crate) long_share: f64,
    /// See --long-share
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) long_factor: u32,
    /// So many jobs that take no time come first, and are not counted
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) quick: u64,
    /// How many messages may be un-acked on each link: a number, or auto
    #[arg(long, value_name = "N|auto", value_parser = window, default_value = "auto")]
    pub(crate) window: Window,
    /// Prints one JSON object on stdout instead of sentences
    #[arg(long)]
    pub(crate) json: bool,
}

/// `tidegate bench soak`.
#[derive(Args, Debug)]
pub(crate) struct SoakArgs {
    /// Payload of each message, in bytes or with a unit
    #[arg(long, value_name = "SIZE", value_parser = values::size, default_value = "256")]
    pub(crate) size: usize,
    /// How long to go on
    #[arg(long, value_name = "DURATION", value_parser = values::duration, default_value = "1min")]
    pub(crate) duration: Duration,
    /// How many pullers
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) pullers: u16,
    /// Kills one of them with SIGKILL every so often, and starts another
    #[arg(long, value_name = "DURATION", value_parser = values::duration, default_value = "5s")]
    pub(crate) kill_every: Duration,
    /// Prints one JSON object on stdout instead of sentences
    #[arg(long)]
    pub(crate) json: bool,
}

/// `tidegate bench links`.
#[derive(Args, Debug)]
pub(crate) struct LinksArgs {
    /// How many links, over a unix socket; twice as many files as that are open
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub(crate) links: usize,
    /// Prints one JSON object on stdout instead of sentences
    #[arg(long)]
    pub(crate) json: bool,
}

/// `tidegate bench stopped`.
#[derive(Args, Debug)]
pub(crate) struct StoppedArgs {
    /// Payload of each message, in bytes or with a unit
    #[arg(long, value_name = "SIZE", value_parser = values::size, default_value = "1KiB")]
    pub(crate) size: usize,
    /// How many messages the pusher queues
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub(crate) high_water_mark: usize,
    /// Messages before the puller is stopped
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    pub(crate) warm_up: u64,
    /// Prints one JSON object on stdout instead of sentences
    #[arg(long)]
    pub(crate) json: bool,
}

/// `tidegate bench tcp`.
#[derive(Args, Debug)]
pub(crate) struct TcpArgs {
    #[command(flatten)]
    pub(crate) load: LoadArgs,
}

/// `tidegate bench report`.
#[derive(Args, Debug)]
pub(crate) struct ReportArgs {
    /// Files of what --json has printed, one object after another; `-` is stdin
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

impl BenchArgs {
    /// For how many microseconds this process polls too.
    pub(crate) fn busy_poll(&self) -> u64 {
        match &self.command {
            BenchCommand::Latency(args) => args.busy_poll.unwrap_or_default().as_micros() as u64,
            _ => 0,
        }
    }
}

impl LoadArgs {
    /// How many messages to send: as asked for, or about two seconds' worth at 100 ns a message and 2 GB/s.
    pub(crate) fn count(&self) -> u64 {
        self.count.unwrap_or_else(|| {
            let nanos = 100 + self.size as u64 / 2;
            (2_000_000_000 / nanos).max(100)
        })
    }
}

/// `auto`, or a number of messages.
pub(crate) fn window(text: &str) -> Result<Window, String> {
    match (text, text.parse()) {
        ("auto", _) => Ok(Window::Auto),
        (_, Ok(messages)) => Ok(Window::messages(messages)),
        _ => Err("a number of messages, or auto, would be right".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Command, tests::parse};
    use super::*;

    fn load(line: &[&str]) -> LoadArgs {
        let whole: Vec<&str> = ["bench", "tcp"].iter().chain(line).copied().collect();
        match parse(&whole).unwrap().command {
            Command::Bench(BenchArgs { command: BenchCommand::Tcp(args) }) => args.load,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_count_follows_the_size() {
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
