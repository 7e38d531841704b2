//! omq-tokio PUSH/PULL on one thread, its fastest configuration, with throughput preferred.

use anyhow::{Context as _, Result};
use omq_tokio::options::WorkloadProfile;
use omq_tokio::{Message, Options, Socket, SocketType};

use crate::load::{Check, Clock, Ring};

fn options() -> Options {
    Options::default().workload_profile(WorkloadProfile::Throughput)
}

pub async fn push(address: &str, size: usize, count: u64) -> Result<()> {
    let socket = Socket::new(SocketType::Push, options().linger_forever());
    socket.connect(format!("tcp://{address}").parse::<omq_tokio::Endpoint>()?).await?;
    let mut ring = Ring::new(size);
    for _ in 0..count {
        socket.send(Message::single(ring.payload())).await?;
    }
    socket.close().await?;
    Ok(())
}

pub async fn pull(address: &str, size: usize, count: u64) -> Result<f64> {
    let socket = Socket::new(SocketType::Pull, options());
    socket.bind(format!("tcp://{address}").parse::<omq_tokio::Endpoint>()?).await?;
    let (mut check, mut clock, mut rate) = (Check::new(size), Clock::new(count), None);
    for _ in 0..count {
        let message = socket.recv().await?;
        check.next(&message.part_bytes(0).context("a message without a part")?)?;
        rate = clock.tick().or(rate);
    }
    rate.context("messages are missing")
}
