//! Plain TCP echoes, to compare round trips with: one with tokio, one with blocking calls.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use anyhow::Context as _;
use clap::Args;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::times::{Latency, histogram};
use super::usage::clock;
use super::{BenchProcess, tell};

/// The process that returns what it receives.
#[derive(Args, Debug)]
pub struct EchoSide {
    #[arg(long)]
    size: usize,
}

/// Round trips over a bare tokio stream at both ends.
///
/// # Errors
/// If the other process fails.
pub(crate) async fn tokio(size: usize, count: u64) -> anyhow::Result<Latency> {
    let mut side = BenchProcess::start("tcp-echo-tokio", &[("--size", size.to_string())])?;
    let mut stream = tokio::net::TcpStream::connect(side.line().await?).await?;
    stream.set_nodelay(true)?;
    let (mut out, mut back, mut times) = (vec![7; size], vec![0; size], histogram()?);
    for round in 0..count + count / 10 {
        let started = clock();
        stream.write_all(&out).await?;
        stream.read_exact(&mut back).await?;
        if round >= count / 10 {
            times.saturating_record(clock() - started);
        }
        std::mem::swap(&mut out, &mut back);
    }
    Ok(Latency::of(&times))
}

/// Round trips over a blocking stream at both ends.
///
/// # Errors
/// If the other process fails.
pub(crate) async fn blocking(size: usize, count: u64) -> anyhow::Result<Latency> {
    let mut side = BenchProcess::start("tcp-echo", &[("--size", size.to_string())])?;
    let address = side.line().await?;
    let work = move || -> anyhow::Result<Latency> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let (mut out, mut back, mut times) = (vec![7; size], vec![0; size], histogram()?);
        for round in 0..count + count / 10 {
            let started = clock();
            stream.write_all(&out)?;
            stream.read_exact(&mut back)?;
            if round >= count / 10 {
                times.saturating_record(clock() - started);
            }
            std::mem::swap(&mut out, &mut back);
        }
        Ok(Latency::of(&times))
    };
    tokio::task::spawn_blocking(work).await.context("the thread that measures has failed")?
}

impl EchoSide {
    /// With tokio.
    pub(crate) async fn tokio(self) -> anyhow::Result<()> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        tell(&listener.local_addr()?.to_string())?;
        let (mut stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let mut buffer = vec![0; self.size];
        while stream.read_exact(&mut buffer).await.is_ok() {
            stream.write_all(&buffer).await?;
        }
        Ok(())
    }

    /// Blocking.
    pub(crate) fn blocking(self) -> anyhow::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        tell(&listener.local_addr()?.to_string())?;
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut buffer = vec![0; self.size];
        while stream.read_exact(&mut buffer).is_ok() {
            stream.write_all(&buffer)?;
        }
        Ok(())
    }
}
