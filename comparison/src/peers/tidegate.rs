//! tidegate with its defaults: every message is acked by the puller, and the pusher has seen every ack.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tidegate::{Delivery, Pull, Push, Window};

use crate::load::{Check, Clock, Ring};

pub async fn push(address: &str, size: usize, count: u64, batch: u64) -> Result<()> {
    let push = Push::builder().connect(format!("tcp://{address}")).build().await?;
    let mut ring = Ring::new(size);
    push.connected(1).await?;
    let mut left = count;
    while left > 0 {
        let now = left.min(batch);
        if batch == 1 {
            push.send(ring.payload()).await?;
        } else {
            push.send_all((0..now).map(|_| ring.payload())).await?;
        }
        left -= now;
    }
    let stats = push.finish(Duration::MAX).await?;
    ensure!(stats.acked == count, "{} of {count} messages were acked", stats.acked);
    Ok(())
}

pub async fn pull(address: &str, size: usize, count: u64, window: Window, batch: usize) -> Result<f64> {
    let pull = Pull::builder().bind(format!("tcp://{address}")).expect(1).window(window).build().await?;
    let (mut check, mut clock, mut rate) = (Check::new(size), Clock::new(count), None);
    let mut many = Vec::new();
    if batch == 1 {
        while let Some(delivery) = pull.recv().await? {
            check.next(delivery.payload())?;
            delivery.ack();
            rate = clock.tick().or(rate);
        }
    } else {
        while pull.recv_many(&mut many, batch).await? > 0 {
            for delivery in &many {
                check.next(delivery.payload())?;
                rate = clock.tick().or(rate);
            }
            Delivery::ack_all(many.drain(..));
        }
    }
    rate.context("messages are missing")
}
