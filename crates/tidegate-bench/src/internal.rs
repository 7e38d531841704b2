//! Subcommands that only this program starts: the processes of its measurements.

use clap::{Parser, Subcommand};
use tidegate_cli::shared::{Side, block_on};

use crate::makespan::{self, WorkerArgs};
use crate::memory::{self, IdleArgs};
use crate::soak::{self, SoakPullArgs};

#[derive(Debug, Parser)]
#[command(name = "tidegate-bench internal")]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Shared(Side),
    BenchWork(WorkerArgs),
    BenchSoakPull(SoakPullArgs),
    BenchIdle(IdleArgs),
}

/// Runs the subcommand.
pub(crate) fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Shared(side) => side.run(),
        Command::BenchWork(args) => block_on(makespan::work(args)),
        Command::BenchSoakPull(args) => block_on(soak::pull(args)),
        Command::BenchIdle(args) => block_on(memory::idle(args)),
    }
}
