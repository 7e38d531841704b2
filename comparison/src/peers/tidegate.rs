//! tidegate with its defaults: the puller acks every message, and the pusher has received every ack.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tidegate::{Pull, Push, Window};

use crate::load::{Check, Clock, Ring};

/// How messages are sent.
pub enum Form {
    /// One at a time, owned.
    Owned,
    /// One at a time, borrowed.
    Borrowed,
    /// 64 at a time.
    Batch,
}

pub async fn push(address: &str, size: usize, count: u64, form: Form) -> Result<()> {
    let push = Push::builder().connect(format!("tcp://{address}")).build().await?;
    let mut ring = Ring::new(size);
    push.connected(1).await?;
    match form {
        Form::Owned => {
            for _ in 0..count {
                push.send(ring.payload()).await?;
            }
        }
        Form::Borrowed => {
            for _ in 0..count {
                push.send(ring.slice()).await?;
            }
        }
        Form::Batch => {
            let mut left = count;
            while left > 0 {
                let now = left.min(64);
                push.send_all((0..now).map(|_| ring.payload())).await?;
                left -= now;
            }
        }
    }
    let stats = push.finish(Duration::MAX).await?;
    ensure!(stats.acked == count, "{} of {count} messages were acked", stats.acked);
    Ok(())
}

pub async fn pull(address: &str, size: usize, count: u64, window: Window) -> Result<f64> {
    let pull = Pull::builder().bind(format!("tcp://{address}")).expect(1).window(window).build().await?;
    let (mut check, mut clock, mut rate) = (Check::new(size), Clock::new(count), None);
    while let Some(delivery) = pull.recv().await? {
        check.next(delivery.payload())?;
        delivery.ack();
        rate = clock.tick().or(rate);
    }
    rate.context("messages are missing")
}
