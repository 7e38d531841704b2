//! The command line: subcommands, options and their help texts.

mod bench;
mod pull;
mod push;
mod security;
mod socket;
pub(crate) mod values;

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

pub(crate) use bench::{BenchArgs, BenchCommand, LatencyArgs, ThreadArgs};
pub use bench::{LoadArgs, TuneArgs, window};
pub(crate) use pull::{PullArgs, SeparatorInPayload};
pub(crate) use push::{Oversized, PushArgs};
pub(crate) use security::SecurityArgs;
pub(crate) use socket::{FramingArgs, SocketArgs};

/// Distributes work from producers to workers over plain TCP, without a broker.
///
/// Pullers grant credit: the number of messages they can take. A pusher sends messages in turn to the pullers
/// that have credit left, and a puller acks each message once it has been processed. If a puller is lost, its
/// un-acked messages go to another one.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  A list of jobs, and a worker in each of any number of other terminals:
    ls *.log | tidegate push --bind tcp://127.0.0.1:8433
    tidegate pull --connect tcp://127.0.0.1:8433 --exec 'read -r f; gzip -- \"$f\"'

  A whole pipeline that loses a worker, but no message:
    tidegate demo

  Throughput on this machine:
    tidegate bench throughput --size 64 --with-tcp

`tidegate push --help` and `tidegate pull --help` have more examples.";

/// How much is logged on stderr.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Verbosity {
    /// Logs more (repeatable): -v links, -vv details, -vvv everything
    ///
    /// With -v, links that open and close are logged. The variable TIDEGATE_LOG (such as `tidegate=debug`)
    /// overrides this option.
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet", display_order = 900)]
    pub(crate) verbose: u8,
    /// Prints only errors on stderr
    ///
    /// Warnings, the `listening on` lines and the summary are omitted.
    #[arg(short, long, global = true, display_order = 901)]
    pub(crate) quiet: bool,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Push(Box<PushArgs>),
    Pull(Box<PullArgs>),
    Bench(BenchArgs),
    Demo(DemoArgs),
    #[command(
        after_help = "Example:\n  tidegate completions bash > ~/.local/share/bash-completion/completions/tidegate"
    )]
    Completions(CompletionsArgs),
    #[command(after_help = "Example:\n  tidegate man ~/.local/share/man/man1 && man tidegate-push")]
    Man(ManArgs),
}

/// Runs a pipeline, kills one of its processes, and shows that no message was lost.
///
/// A push daemon sends the path of every file under DIR. Three pull daemons, with the speeds 1, 2 and 4, hash
/// the files with SHA-256 and send the results through a second pipeline to this process, the sink. Half-way,
/// the worker of speed 2 is killed with SIGKILL. At the end this process hashes the files again, one after
/// another, and compares both lists.
///
/// Exit codes: 0 no message was lost and the digests are equal; 1 anything else; 5 stopped by a signal.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  tidegate demo\n  tidegate demo /usr/share/doc")]
pub(crate) struct DemoArgs {
    /// Hashes the files under this directory, at most 20,000 files and 512 MiB
    ///
    /// Symbolic links and directories named `target` or `.git` are skipped. The default is the source tree of
    /// this program and the sources of its dependencies.
    pub(crate) dir: Option<PathBuf>,
}

/// Prints a completion script for a shell.
#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// The shell to print the script for
    pub(crate) shell: clap_complete::Shell,
}

/// Prints the manual page, or writes the pages of all subcommands into a directory.
#[derive(Args, Debug)]
pub(crate) struct ManArgs {
    /// Writes all pages into this directory [default: the main page goes to stdout]
    ///
    /// The pages are tidegate.1, tidegate-push.1 and so on. The directory is created if it does not exist.
    pub(crate) dir: Option<PathBuf>,
}

impl Cli {
    /// Checks what the argument parser cannot express.
    ///
    /// # Errors
    /// A sentence that names the flag; the process exits with 2.
    pub(crate) fn check(&self) -> Result<(), String> {
        match &self.command {
            Command::Push(args) => args.check(),
            Command::Pull(args) => args.check(),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
    use clap::error::ErrorKind;

    pub(super) fn parse(line: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("tidegate").chain(line.iter().copied()))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_option_has_help() {
        fn look(command: &clap::Command) {
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{} {}", command.get_name(), arg.get_id());
            }
            command.get_subcommands().for_each(look);
        }
        look(&Cli::command());
    }

    #[test]
    fn usage_errors_exit_with_2_and_name_the_flag() {
        for (line, flag) in [
            (&["push", "--bind", "nonsense"][..], "--bind"),
            (&["push", "--bind", "tcp://127.0.0.1:0", "--linger", "soon"], "--linger"),
            (&["push", "--bind", "tcp://127.0.0.1:0", "-H", "no colon"], "--header"),
            (&["push", "--bind", "tcp://127.0.0.1:0", "--max-message", "0"], "--max-message"),
            (&["push"], "--bind"),
            (&["pull"], "--connect"),
            (&["pull", "--connect", "tcp://127.0.0.1:1", "--jobs", "2"], "--exec"),
            (&["pull", "--connect", "tcp://127.0.0.1:1", "--exec", "true", "--worker", "cat"], "--worker"),
            (&["pull", "--connect", "tcp://127.0.0.1:1", "--exec", "true", "--null"], "--null"),
            (&["pull", "--connect", "tcp://127.0.0.1:1", "--expect", "1"], "--bind"),
            (&["pull", "--bind", "tcp://127.0.0.1:0", "--expect", "1", "--keep"], "--keep"),
            (&["pull", "--connect", "tcp://127.0.0.1:1", "--subset", "2"], "--subset-index"),
            (&["push", "--connect", "tcp://127.0.0.1:1", "--subset-index", "2"], "--subset"),
            (&["pull", "--bind", "tcp://127.0.0.1:0", "--subset", "2", "--subset-index", "0"], "--connect"),
            (&["pull", "--connect", "tcp://a", "--subset", "0", "--subset-index", "0"], "--subset"),
            (
                &["pull", "--connect", "tcp://a", "--subset", "1", "--subset-index", "100000"],
                "--subset-index",
            ),
            (&["bench", "throughput", "--count", "1"], "--count"),
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line:?}");
            assert!(error.to_string().contains(flag), "{line:?}: {error}");
        }
        assert_eq!(parse(&["push", "--help"]).unwrap_err().kind(), ErrorKind::DisplayHelp);
    }
}
