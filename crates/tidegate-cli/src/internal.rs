//! Subcommands that only this program starts: the processes of the benchmarks and of the demo.
//!
//! They have their own parser, so that help and completions do not show them. Each process ends when its
//! stdin ends.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::args::Verbosity;
use crate::bench::{bounds, echo, flow, latency, makespan, soak, tcp};
use crate::demo::worker;
use crate::exit::Exit;
use crate::{block_on, ended, failed, log, on_threads, own, polling};

#[derive(Debug, Parser)]
#[command(name = "tidegate internal")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    BenchPush(flow::SideArgs),
    BenchPull(flow::SideArgs),
    BenchEcho(latency::SideArgs),
    BenchOneWay(latency::SideArgs),
    BenchWork(makespan::WorkerArgs),
    BenchSoakPull(soak::PullArgs),
    BenchIdle(bounds::IdleArgs),
    TcpEcho(echo::EchoSide),
    TcpEchoTokio(echo::EchoSide),
    TcpSend(tcp::SendSide),
    TcpReceive(tcp::ReceiveSide),
    DemoWorker(worker::WorkerSide),
}

/// Whether this process was started to run an internal subcommand.
pub(crate) fn is_asked_for() -> bool {
    std::env::args_os().nth(1).is_some_and(|first| first == own::INTERNAL)
}

/// Runs the internal subcommand that the arguments name.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse_from(std::env::args_os().skip(1));
    if let Err(error) = log::start(Verbosity { quiet: false, verbose: 0 }) {
        return failed(&error);
    }
    own::end_with_parent();
    let result = match cli.command {
        Command::BenchPush(args) => on_threads(args.threads, flow::push(args)),
        Command::BenchPull(args) => on_threads(args.threads, flow::pull(args)),
        Command::BenchEcho(args) => polling(args.busy_poll, latency::echo_side(args)),
        Command::BenchOneWay(args) => polling(args.busy_poll, latency::one_way_side(args)),
        Command::BenchWork(args) => block_on(makespan::work(args)),
        Command::BenchSoakPull(args) => block_on(soak::pull(args)),
        Command::BenchIdle(args) => block_on(bounds::idle(args)),
        Command::TcpEcho(side) => side.blocking(),
        Command::TcpEchoTokio(side) => block_on(side.tokio()),
        Command::TcpSend(side) => side.run(),
        Command::TcpReceive(side) => side.run(),
        Command::DemoWorker(side) => block_on(side.run()),
    };
    match result {
        Ok(()) => ended(Exit::Success),
        Err(error) => failed(&error),
    }
}
