//! A plain TCP stream: the upper limit.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use anyhow::{Context as _, Result};

use crate::load::Ring;

pub fn push(address: &str, size: usize, count: u64, chunk: usize) -> Result<()> {
    let mut stream = super::super::retry(|| TcpStream::connect(address))?;
    let ring = Ring::new(size);
    let mut left = count * size as u64;
    while left > 0 {
        for piece in ring.bytes().chunks(chunk) {
            let part = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
            stream.write_all(&piece[..part])?;
            left -= part as u64;
        }
    }
    Ok(())
}

pub fn pull(address: &str, size: usize, count: u64, chunk: usize) -> Result<f64> {
    let listener = TcpListener::bind(address)?;
    let (mut stream, _) = listener.accept()?;
    let mut buffer = vec![0; chunk];
    let (whole, warm_up) = (count * size as u64, count / 10 * size as u64);
    let (mut received, mut began) = (0, None);
    while received < whole {
        let bytes = stream.read(&mut buffer)? as u64;
        anyhow::ensure!(bytes > 0, "the stream ended early");
        received += bytes;
        if received > warm_up && began.is_none() {
            began = Some((std::time::Instant::now(), received));
        }
    }
    let (began, at) = began.context("nothing was measured")?;
    Ok((received - at) as f64 / size as f64 / began.elapsed().as_secs_f64())
}
