//! The peers, each configured as an experienced user would.

pub mod grpc;
pub mod libzmq;
pub mod omq;
pub mod tcp;
pub mod tidegate;
pub mod zeromq;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use serde::Serialize;

/// The programs compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    Tcp,
    Tidegate,
    TidegateBorrowed,
    TidegateBatch,
    TidegateWindow1000,
    Libzmq,
    Omq,
    Zeromq,
    Grpc,
}

impl Peer {
    pub const ALL: [Self; 9] = [
        Self::Tcp,
        Self::Tidegate,
        Self::TidegateBorrowed,
        Self::TidegateBatch,
        Self::TidegateWindow1000,
        Self::Libzmq,
        Self::Omq,
        Self::Zeromq,
        Self::Grpc,
    ];

    /// The name in the table, with version and configuration.
    pub fn title(self) -> &'static str {
        match self {
            Self::Tcp => "raw TCP, no acks",
            Self::Tidegate => "tidegate, acked",
            Self::TidegateBorrowed => "tidegate, acked, slices",
            Self::TidegateBatch => "tidegate, acked, `send_all` of 64",
            Self::TidegateWindow1000 => "tidegate, acked, window 1,000",
            Self::Libzmq => "libzmq 4.3.4 PUSH/PULL, HWM 100,000, no acks",
            Self::Omq => "omq-tokio 0.33 PUSH/PULL, one thread, no acks",
            Self::Zeromq => "zeromq crate 0.7 PUSH/PULL, no acks",
            Self::Grpc => "gRPC stream (tonic 0.14), window 1,000, acks per 100",
        }
    }

    /// Whether the sending process exits by itself.
    pub fn ends(self) -> bool {
        self != Self::Zeromq
    }

    /// Approximate speed, in nanoseconds per message and bytes per nanosecond, from which the length of a run follows.
    fn pace(self) -> (u64, u64) {
        match self {
            Self::Tcp => (2, 3),
            Self::Tidegate | Self::TidegateWindow1000 | Self::TidegateBorrowed | Self::TidegateBatch => {
                (80, 3)
            }
            Self::Libzmq | Self::Omq => (180, 2),
            Self::Zeromq | Self::Grpc => (400, 2),
        }
    }

    /// The number of messages for a run of about `seconds` seconds.
    pub fn count(self, size: usize, seconds: f64) -> u64 {
        let (each, bytes) = self.pace();
        ((seconds * 1e9) as u64 / (each + size as u64 / bytes)).max(1_000)
    }

    /// Runs the sending process. `chunk` is the size of the writes of raw TCP.
    ///
    /// # Errors
    /// The peer fails.
    pub fn push(self, address: &str, size: usize, count: u64, chunk: usize) -> Result<()> {
        use tidegate::Form;
        match self {
            Self::Tcp => tcp::push(address, size, count, chunk),
            Self::Tidegate | Self::TidegateWindow1000 => {
                run(tidegate::push(address, size, count, Form::Owned))
            }
            Self::TidegateBorrowed => run(tidegate::push(address, size, count, Form::Borrowed)),
            Self::TidegateBatch => run(tidegate::push(address, size, count, Form::Batch)),
            Self::Libzmq => libzmq::push(address, size, count),
            Self::Omq => run(omq::push(address, size, count)),
            Self::Zeromq => run(zeromq::push(address, size, count)),
            Self::Grpc => run(grpc::push(address, size, count)),
        }
    }

    /// Runs the receiving process and returns messages per second. `chunk` is the size of the reads of raw TCP.
    ///
    /// # Errors
    /// The peer fails, or a received message differs from the message sent.
    pub fn pull(self, address: &str, size: usize, count: u64, chunk: usize) -> Result<f64> {
        use ::tidegate::Window;
        match self {
            Self::Tcp => tcp::pull(address, size, count, chunk),
            Self::Tidegate | Self::TidegateBorrowed | Self::TidegateBatch => {
                run(tidegate::pull(address, size, count, Window::Auto))
            }
            Self::TidegateWindow1000 => run(tidegate::pull(address, size, count, Window::messages(1_000))),
            Self::Libzmq => libzmq::pull(address, size, count),
            Self::Omq => run(omq::pull(address, size, count)),
            Self::Zeromq => run(zeromq::pull(address, size, count)),
            Self::Grpc => run(grpc::pull(address, size, count)),
        }
    }
}

/// All peers run on one thread, which is the fastest configuration for each of them.
fn run<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}
