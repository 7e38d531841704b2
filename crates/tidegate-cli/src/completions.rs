//! `tidegate completions`: a completion script for a shell.

use std::io::Write as _;

use anyhow::Context as _;
use clap::CommandFactory as _;

use crate::args::{Cli, CompletionsArgs};
use crate::exit::Exit;

/// Prints the script to stdout.
pub(crate) fn run(args: &CompletionsArgs) -> anyhow::Result<Exit> {
    // Written to memory first: the generator panics if a write fails.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "tidegate", &mut script);
    std::io::stdout().write_all(&script).context("cannot write the completion script to stdout")?;
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_of_every_shell_has_the_subcommands() {
        for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tidegate", &mut script);
            let script = String::from_utf8(script).unwrap();
            for word in ["push", "pull", "bench", "demo", "high-water-mark", "idle-exit"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
            assert!(!script.contains(crate::own::INTERNAL), "{shell}: it has an internal subcommand");
        }
    }
}
