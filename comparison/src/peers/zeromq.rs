//! The zeromq crate, PUSH/PULL.

use anyhow::{Context as _, Result};
use zeromq::{PullSocket, PushSocket, Socket as _, SocketRecv as _, SocketSend as _, ZmqMessage};

use crate::load::{Check, Clock, Ring};

pub async fn push(address: &str, size: usize, count: u64) -> Result<()> {
    let mut socket = PushSocket::new();
    socket.connect(&format!("tcp://{address}")).await?;
    let mut ring = Ring::new(size);
    for _ in 0..count {
        socket.send(ZmqMessage::from(ring.payload())).await?;
    }
    // The crate cannot wait until everything is written, so the process is killed when the other side has everything.
    std::future::pending().await
}

pub async fn pull(address: &str, size: usize, count: u64) -> Result<f64> {
    let mut socket = PullSocket::new();
    socket.bind(&format!("tcp://{address}")).await?;
    let (mut check, mut clock, mut rate) = (Check::new(size), Clock::new(count), None);
    for _ in 0..count {
        let message = socket.recv().await?;
        check.next(message.get(0).context("a message without a part")?)?;
        rate = clock.tick().or(rate);
    }
    rate.context("messages are missing")
}
