//! The command line of `tidegate-bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tidegate::Window;
use tidegate_cli::shared::{LoadArgs, TuneArgs, Verbosity, duration, size, window};

/// Measures tidegate between processes over loopback, with every message acked.
///
/// `tidegate bench` measures throughput and latency from one process to another.
#[derive(Debug, Parser)]
#[command(name = "tidegate-bench", version, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The benchmarks.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measures one pusher with several pullers, each in its own process.
    #[command(after_help = "Example:\n  tidegate-bench fanout --pullers 8")]
    Fanout(FanoutArgs),
    /// Measures several pushers with one puller, each in its own process.
    #[command(after_help = "Example:\n  tidegate-bench fanin --pushers 8")]
    Fanin(FaninArgs),
    /// Measures how long unequal workers take for a list of jobs.
    ///
    /// The result is compared with an ideal dispatcher, which has no latency and gives each job, in the same
    /// order, to the first free worker. Jobs sleep.
    #[command(after_help = "Examples:\n  \
            tidegate-bench makespan --workers 1,2,4,8 --seconds 60\n  \
            tidegate-bench makespan --long-share 0.1 --long-factor 20\n  \
            tidegate-bench makespan --quick 1000000")]
    Makespan(MakespanArgs),
    /// Runs for a long time while pullers are killed and replaced.
    ///
    /// The benchmark fails unless every message is acked.
    #[command(
        after_help = "Example:\n  tidegate-bench soak --duration 10min --pullers 3 --kill-every 5s --json > soak.json"
    )]
    Soak(SoakArgs),
    /// Measures the memory that a pusher needs for each idle link.
    #[command(after_help = "Example:\n  tidegate-bench links --links 10000")]
    Links(LinksArgs),
    /// Measures the memory of a pusher whose puller is stopped (SIGSTOP) during its work.
    #[command(after_help = "Example:\n  tidegate-bench stopped --size 1KiB")]
    Stopped(StoppedArgs),
    /// Measures a plain TCP stream of the same bytes, which is an upper bound. Tries six pairs of a write and a read
    /// size with a tenth of the messages each, and measures and reports the best pair.
    ///
    /// The stream has no frames, credit or acks.
    #[command(after_help = "Example:\n  tidegate-bench tcp --size 64 --count 10000000 --json")]
    Tcp(TcpArgs),
    /// Plots saved results as an HTML page on stdout.
    #[command(after_help = "Example:\n  \
            for s in 64 1KiB 64KiB; do tidegate bench throughput --size $s --json; done > results.json\n  \
            tidegate-bench report results.json > report.html")]
    Report(ReportArgs),
}

/// `tidegate-bench fanout`.
#[derive(Args, Debug)]
pub(crate) struct FanoutArgs {
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    #[command(flatten)]
    pub(crate) tune: TuneArgs,
    /// Number of pullers
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) pullers: u16,
}

/// `tidegate-bench fanin`.
#[derive(Args, Debug)]
pub(crate) struct FaninArgs {
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    #[command(flatten)]
    pub(crate) tune: TuneArgs,
    /// Number of pushers
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) pushers: u16,
}

/// `tidegate-bench makespan`.
#[derive(Args, Debug)]
pub(crate) struct MakespanArgs {
    /// Speeds of the workers, one worker for each number
    #[arg(
        long, value_name = "SPEEDS", value_delimiter = ',', default_value = "1,2,4,8",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub(crate) workers: Vec<u32>,
    /// Approximate duration of the whole list, in seconds
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seconds: u32,
    /// Duration of the shortest job for a worker of speed 1
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1ms")]
    pub(crate) shortest: Duration,
    /// Duration of the longest job for a worker of speed 1
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "50ms")]
    pub(crate) longest: Duration,
    /// Share of the jobs that take --long-factor times as long, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub(crate) long_share: f64,
    /// Factor by which the jobs of --long-share take longer
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) long_factor: u32,
    /// Number of instantaneous jobs before the list, which are not counted
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) quick: u64,
    /// Credit window of each puller, in messages, or `auto`
    #[arg(long, value_name = "N|auto", value_parser = window, default_value = "auto")]
    pub(crate) window: Window,
    /// Prints the results as one JSON object on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

/// `tidegate-bench soak`.
#[derive(Args, Debug)]
pub(crate) struct SoakArgs {
    /// Payload size of each message, in bytes or with a unit
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "256")]
    pub(crate) size: usize,
    /// Duration of the run
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1min")]
    pub(crate) duration: Duration,
    /// Number of pullers
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) pullers: u16,
    /// Interval at which one puller is killed with SIGKILL and replaced
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5s")]
    pub(crate) kill_every: Duration,
    /// Prints the results as one JSON object on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

/// `tidegate-bench links`.
#[derive(Args, Debug)]
pub(crate) struct LinksArgs {
    /// Number of links, over a unix socket; each needs two open files
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) links: u32,
    /// Prints the results as one JSON object on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

/// `tidegate-bench stopped`.
#[derive(Args, Debug)]
pub(crate) struct StoppedArgs {
    /// Payload size of each message, in bytes or with a unit
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "1KiB")]
    pub(crate) size: usize,
    /// High-water mark of the pusher, in messages
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub(crate) high_water_mark: usize,
    /// Number of messages before the puller is stopped
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    pub(crate) warm_up: u64,
    /// Prints the results as one JSON object on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

/// `tidegate-bench tcp`.
#[derive(Args, Debug)]
pub(crate) struct TcpArgs {
    #[command(flatten)]
    pub(crate) load: LoadArgs,
}

/// `tidegate-bench report`.
#[derive(Args, Debug)]
pub(crate) struct ReportArgs {
    /// Files with the output of --json, one object after another; `-` is stdin
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound_and_every_option_has_help() {
        Cli::command().debug_assert();
        for command in Cli::command().get_subcommands() {
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{} {}", command.get_name(), arg.get_id());
            }
        }
    }

    #[test]
    fn usage_errors_name_the_option() {
        for (line, flag) in [
            (&["fanout", "--pullers", "0"][..], "--pullers"),
            (&["makespan", "--workers", "1,0"], "--workers"),
            (&["tcp", "--size", "0"], "--size"),
            (&["soak", "--duration", "soon"], "--duration"),
            (&["links", "--links", "0"], "--links"),
        ] {
            let line = std::iter::once("tidegate-bench").chain(line.iter().copied());
            let error = Cli::try_parse_from(line).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains(flag), "{error}");
        }
    }
}
