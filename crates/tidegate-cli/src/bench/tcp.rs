//! Plain TCP, to compare rates with: the same bytes from the same memory, as a plain TCP stream between two processes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use tidegate_load::load::Ring;
use tidegate_load::tcp::Chunks;

use super::{BenchProcess, tell};

/// The part of the messages with which a pair is tried.
const TRIAL: u64 = 10;

/// The result of the receiving process of a TCP stream.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Measured {
    /// Time from the first bytes to the last, in seconds.
    pub(crate) seconds: f64,
}

/// The best run of plain TCP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TcpRun {
    pub(crate) chunks: Chunks,
    pub(crate) measured: Measured,
}

/// The sending process.
#[derive(Args, Debug)]
pub struct SendSide {
    #[arg(long)]
    size: usize,
    #[arg(long)]
    count: u64,
    /// Bytes of each write.
    #[arg(long)]
    write: usize,
}

/// The receiving process.
#[derive(Args, Debug)]
pub struct ReceiveSide {
    #[arg(long)]
    connect: SocketAddr,
    #[arg(long)]
    size: usize,
    #[arg(long)]
    count: u64,
    /// Bytes of each read.
    #[arg(long)]
    read: usize,
}

/// Tries each pair of sizes with a part of the messages, and measures the best one with all of them.
///
/// # Errors
/// If a process fails.
pub(crate) async fn measure(size: usize, count: u64) -> anyhow::Result<TcpRun> {
    let mut best: Option<TcpRun> = None;
    for chunks in Chunks::grid() {
        let run = TcpRun { chunks, measured: run(size, count.div_ceil(TRIAL).max(2), chunks).await? };
        if best.is_none_or(|best| run.measured.seconds < best.measured.seconds) {
            best = Some(run);
        }
    }
    let chunks = best.context("no pair of sizes was tried")?.chunks;
    Ok(TcpRun { chunks, measured: run(size, count, chunks).await? })
}

/// Runs both processes and returns the result of the receiving one.
async fn run(size: usize, count: u64, chunks: Chunks) -> anyhow::Result<Measured> {
    let load = [("--size", size.to_string()), ("--count", count.to_string())];
    let mut send =
        BenchProcess::start("tcp-send", &[&load[..], &[("--write", chunks.write.to_string())]].concat())?;
    let mut options = vec![("--connect", send.line().await?), ("--read", chunks.read.to_string())];
    options.extend(load);
    let receive = BenchProcess::start("tcp-receive", &options)?;
    let (measured, _) = tokio::try_join!(receive.result::<Measured>(), send.result::<u64>())?;
    Ok(measured)
}

impl SendSide {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let total = total(self.size, self.count)?;
        let ring = Ring::new(self.size);
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on 127.0.0.1")?;
        tell(&listener.local_addr()?.to_string())?;
        let (mut stream, _) = listener.accept()?;
        let mut left = total;
        for chunk in std::iter::repeat(ring.bytes()).flat_map(|bytes| bytes.chunks(self.write)) {
            let n = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            stream.write_all(chunk.get(..n).unwrap_or(chunk))?;
            left -= n as u64;
            if left == 0 {
                break;
            }
        }
        tell(&total.to_string())
    }
}

impl ReceiveSide {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let total = total(self.size, self.count)?;
        let mut stream = TcpStream::connect(self.connect)?;
        let mut buffer = vec![0; self.read];
        let mut received = stream.read(&mut buffer)? as u64;
        let first = Instant::now();
        while received < total {
            match stream.read(&mut buffer)? {
                0 => bail!("{received} of {total} bytes arrived"),
                n => received += n as u64,
            }
        }
        let seconds = first.elapsed().as_secs_f64();
        tell(&serde_json::to_string(&Measured { seconds })?)
    }
}

fn total(size: usize, count: u64) -> anyhow::Result<u64> {
    (size as u64)
        .checked_mul(count)
        .with_context(|| format!("--size {size} times --count {count} is too large"))
}
