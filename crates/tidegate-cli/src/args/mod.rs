//! The command line: what can be asked for, with one clear sentence for each option.

mod bench;
mod pull;
mod push;
mod security;
mod socket;
pub(crate) mod values;

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

pub(crate) use bench::{
    BenchArgs, BenchCommand, LatencyArgs, LinksArgs, LoadArgs, MakespanArgs, SoakArgs, StoppedArgs,
    ThreadArgs, TuneArgs, window,
};
pub(crate) use pull::{PullArgs, SeparatorInPayload};
pub(crate) use push::{Oversized, PushArgs};
pub(crate) use security::SecurityArgs;
pub(crate) use socket::{FramingArgs, SocketArgs};

/// Moves work from processes that have it to processes that do it: over plain TCP, with no broker in between.
///
/// Pullers say how much they can take (credit); a pusher hands messages in turn to pullers that have credit left, and
/// every message is acked once it has been processed. What a lost puller had not acked goes to another one.
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
  A list of work, and in as many other terminals as you like a worker for it:
    ls *.log | tidegate push --bind tcp://127.0.0.1:8433
    tidegate pull --connect tcp://127.0.0.1:8433 --exec 'read -r f; gzip -- \"$f\"'

  See a whole pipeline lose a worker and no message:
    tidegate demo

  How fast is it here?
    tidegate bench throughput --size 64 --with-tcp

`tidegate push --help` and `tidegate pull --help` have more examples.";

/// How much is said on stderr.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Verbosity {
    /// Logs more: once for links that come and go, twice for details, three times for everything; the variable
    /// TIDEGATE_LOG (such as `tidegate=debug`) comes before it.
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet", display_order = 900)]
    pub(crate) verbose: u8,
    /// Says nothing on stderr but errors: no warnings, no `listening on`, no one-line summary.
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

/// Shows a pipeline of real processes at work, kills one half-way, and proves that nothing was lost.
///
/// A push daemon sends the path of every file under DIR; three pull daemons, of the speeds 1, 2 and 4, hash the files with
/// SHA-256 and send the results through a second pipeline to this process, the sink. Half-way the worker of speed 2 is killed with SIGKILL.
/// At the end the files are hashed once more, one after another, and both lists are compared.
///
/// Exit codes: 0 nothing was lost and the digests are equal; 1 anything else; 5 stopped by a signal.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  tidegate demo\n  tidegate demo /usr/share/doc")]
pub(crate) struct DemoArgs {
    /// Hashes the files under this directory, at most 20,000 files and 512 MiB, without symbolic links and directories named
    /// `target` or `.git` [default: the source tree of this program and the sources of its dependencies]
    pub(crate) dir: Option<PathBuf>,
}

/// Prints a completion script for a shell.
#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// The shell that the script is for.
    pub(crate) shell: clap_complete::Shell,
}

/// Prints the manual page, or writes a page for every subcommand into a directory.
#[derive(Args, Debug)]
pub(crate) struct ManArgs {
    /// Writes the pages (tidegate.1, tidegate-push.1 and so on) into this directory, which is made if need be
    /// [default: the main page goes to stdout]
    pub(crate) dir: Option<PathBuf>,
}

impl Cli {
    /// What the argument parser cannot see by itself.
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
    fn every_option_has_a_sentence_of_help() {
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
            (&["bench", "throughput", "--count", "1"], "--count"),
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line:?}");
            assert!(error.to_string().contains(flag), "{line:?}: {error}");
        }
        assert_eq!(parse(&["push", "--help"]).unwrap_err().kind(), ErrorKind::DisplayHelp);
    }
}
