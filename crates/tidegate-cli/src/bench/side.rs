//! The processes of the measurements.

use clap::Subcommand;

use super::{echo, flow, latency, tcp};
use crate::program::{block_on, on_threads, polling};

/// Internal subcommands, one for each kind of process. Every program that measures has them, because a process
/// runs the program that started it.
#[derive(Debug, Subcommand)]
pub enum Side {
    /// Sends messages.
    BenchPush(flow::SideArgs),
    /// Receives, checks and acks messages.
    BenchPull(flow::SideArgs),
    /// Returns messages.
    BenchEcho(latency::SideArgs),
    /// Receives a steady load.
    BenchOneWay(latency::SideArgs),
    /// Returns bytes, with blocking calls.
    TcpEcho(echo::EchoSide),
    /// Returns bytes, with tokio.
    TcpEchoTokio(echo::EchoSide),
    /// Sends a stream of bytes.
    TcpSend(tcp::SendSide),
    /// Receives a stream of bytes.
    TcpReceive(tcp::ReceiveSide),
}

impl Side {
    /// Runs the process.
    ///
    /// # Errors
    /// If the other side fails, or a message differs from what was sent.
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Self::BenchPush(args) => on_threads(args.threads, flow::push(args)),
            Self::BenchPull(args) => on_threads(args.threads, flow::pull(args)),
            Self::BenchEcho(args) => polling(args.busy_poll, latency::echo_side(args)),
            Self::BenchOneWay(args) => polling(args.busy_poll, latency::one_way_side(args)),
            Self::TcpEcho(side) => side.blocking(),
            Self::TcpEchoTokio(side) => block_on(side.tokio()),
            Self::TcpSend(side) => side.run(),
            Self::TcpReceive(side) => side.run(),
        }
    }
}
