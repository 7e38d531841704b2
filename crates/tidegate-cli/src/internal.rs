//! Subcommands that only this program starts: the processes of the benchmarks and of the demo.

use clap::{Parser, Subcommand};

use crate::bench::Side;
use crate::demo::worker::WorkerSide;
use crate::program::block_on;

#[derive(Debug, Parser)]
#[command(name = "tidegate internal")]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Bench(Side),
    DemoWorker(WorkerSide),
}

/// Runs the subcommand.
pub(crate) fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Bench(side) => side.run(),
        Command::DemoWorker(side) => block_on(side.run()),
    }
}
