//! `tidegate completions`: a completion script for a shell.

use std::io::Write as _;

use anyhow::Context as _;
use clap::CommandFactory as _;

use crate::args::{Cli, CompletionsArgs};
use crate::exit::Exit;

/// Prints the script to stdout.
pub(crate) fn run(args: &CompletionsArgs) -> anyhow::Result<Exit> {
    // Into memory first: the generator panics when it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "tidegate", &mut script);
    std::io::stdout().write_all(&script).context("cannot write the completion script to stdout")?;
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_a_script_that_knows_the_subcommands() {
        for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tidegate", &mut script);
            let script = String::from_utf8(script).unwrap();
            for word in ["push", "pull", "bench", "demo", "high-water-mark", "idle-exit"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
            assert!(
                !script.contains(crate::own::INTERNAL),
                "{shell}: internal subcommands are nobody's business"
            );
        }
    }
}
