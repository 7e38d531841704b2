//! `tidegate bench tcp`: the same bytes from the same memory, as a plain TCP stream between two processes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::Args;

use super::load::Ring;
use super::report::Measured;
use super::{BenchProcess, tell};

/// How much is written or read at a time, in bytes.
const CHUNK: usize = 256 * 1024;

/// The sending process.
#[derive(Args, Debug)]
pub(crate) struct SendSide {
    #[arg(long)]
    size: usize,
    #[arg(long)]
    count: u64,
}

/// The receiving process.
#[derive(Args, Debug)]
pub(crate) struct ReceiveSide {
    #[arg(long)]
    connect: SocketAddr,
    #[arg(long)]
    size: usize,
    #[arg(long)]
    count: u64,
}

/// Runs both processes and returns the result of the receiving one.
///
/// # Errors
/// If one of them fails.
pub(crate) async fn measure(size: usize, count: u64) -> anyhow::Result<Measured> {
    let load = [("--size", size.to_string()), ("--count", count.to_string())];
    let mut send = BenchProcess::start("tcp-send", &load)?;
    let mut options = vec![("--connect", send.line().await?)];
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
        for chunk in std::iter::repeat(ring.bytes()).flat_map(|bytes| bytes.chunks(CHUNK)) {
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
        let mut buffer = vec![0; CHUNK];
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
