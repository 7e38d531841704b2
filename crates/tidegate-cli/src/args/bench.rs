//! `tidegate bench`.

use clap::{Args, Subcommand};

use super::values;

/// Measures this machine: tidegate between two processes over loopback, or plain TCP to compare it with.
#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(crate) command: BenchCommand,
}

/// What can be measured.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Messages per second from one process to another over loopback, every message acked.
    ///
    /// A pusher and a puller are started as two processes; the puller checks every message and acks it; the time is
    /// taken there, from the first message to the last.
    #[command(
        after_help = "Examples:\n  tidegate bench throughput\n  tidegate bench throughput --size 1KiB --count 1000000 --window 10000 --json\n  tidegate bench throughput --with-tcp"
    )]
    Throughput(ThroughputArgs),
    /// The same bytes as a plain TCP stream, without frames, credit or acks: what the machine can do at most.
    #[command(after_help = "Example:\n  tidegate bench tcp --size 64 --count 10000000 --json")]
    Tcp(TcpArgs),
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
    /// Prints one JSON object on stdout instead of a sentence
    #[arg(long)]
    pub(crate) json: bool,
}

/// `tidegate bench throughput`.
#[derive(Args, Debug)]
pub(crate) struct ThroughputArgs {
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// How many messages may be un-acked [default: that of the library, 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) window: Option<u64>,
    /// Runs `bench tcp` with the same sizes and count too, and prints the ratio
    #[arg(long)]
    pub(crate) with_tcp: bool,
}

/// `tidegate bench tcp`.
#[derive(Args, Debug)]
pub(crate) struct TcpArgs {
    #[command(flatten)]
    pub(crate) load: LoadArgs,
}

impl LoadArgs {
    /// How many messages to send: as asked for, or about two seconds' worth at 180 ns a message and 2 GB/s.
    pub(crate) fn count(&self) -> u64 {
        self.count.unwrap_or_else(|| {
            let nanos = 180 + self.size as u64 / 2;
            (2_000_000_000 / nanos).max(100)
        })
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
}
