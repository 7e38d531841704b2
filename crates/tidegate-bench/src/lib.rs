//! The program `tidegate-bench`: measurements of tidegate that its developers need, and that the command does not
//! contain. `tidegate bench` measures throughput and latency.
//!
//! There is one file for each kind of measurement. Processes, loads and rates are those of `tidegate bench`
//! (`crates/tidegate-cli/src/bench`).

#![forbid(unsafe_code)]

mod args;
mod html;
mod internal;
mod makespan;
mod memory;
mod report;
mod soak;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use tidegate_cli::shared::{self, Exit, block_on, flow_rate, show, tcp_rate};

use crate::args::{Cli, Command};
use crate::report::Report;

/// Runs the command line of this process and returns its exit code.
///
/// A program that calls this as its `main` is a complete `tidegate-bench`: measurements start the running program
/// again.
#[must_use]
pub fn main() -> ExitCode {
    if let Some(code) = shared::serve(internal::run) {
        return code;
    }
    let cli = Cli::parse();
    shared::run(cli.verbosity, || block_on(run(cli.command)))
}

async fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Fanout(args) => {
            let rate = flow_rate(&args.load, &args.tune, (1, args.pullers));
            show(args.load.json, async { Ok(Report::Fanout(rate.await?)) }).await
        }
        Command::Fanin(args) => {
            let rate = flow_rate(&args.load, &args.tune, (args.pushers, 1));
            show(args.load.json, async { Ok(Report::Fanin(rate.await?)) }).await
        }
        Command::Makespan(args) => {
            show(args.json, async { Ok(Report::makespan(&args, makespan::measure(&args).await?)) }).await
        }
        Command::Soak(args) => {
            show(args.json, async { Ok(Report::soak(&args, soak::measure(&args).await?)) }).await
        }
        Command::Links(args) => {
            show(args.json, async { Ok(Report::Links(memory::links(&args).await?)) }).await
        }
        Command::Stopped(args) => {
            show(args.json, async { Ok(Report::Stopped(memory::stopped(&args).await?)) }).await
        }
        Command::Tcp(args) => {
            show(args.load.json, async { Ok(Report::Tcp(tcp_rate(&args.load).await?)) }).await
        }
        Command::Report(args) => {
            let page = html::page(&args.files)?;
            write!(std::io::stdout(), "{page}").context("cannot write to stdout")?;
            Ok(Exit::Success)
        }
    }
}
