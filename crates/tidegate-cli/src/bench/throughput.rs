//! `tidegate bench throughput`: one pusher, one puller, every message acked.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use tidegate::{Message, Pull, Push, Window};

use super::load::{Pattern, Ring};
use super::report::Measured;
use super::{Side, tell};

/// The sending process.
#[derive(Args, Debug)]
pub(crate) struct PushSide {
    #[arg(long)]
    size: usize,
    #[arg(long)]
    count: u64,
}

/// The receiving process.
#[derive(Args, Debug)]
pub(crate) struct PullSide {
    #[arg(long)]
    connect: String,
    #[arg(long)]
    size: usize,
    #[arg(long)]
    count: u64,
    #[arg(long)]
    window: Option<u64>,
}

#[derive(Deserialize, Serialize)]
struct Pushed {
    acked: u64,
}

/// Runs both processes and gives what the receiving one has measured.
///
/// # Errors
/// When one of them fails, or a message was not acked.
pub(crate) async fn measure(size: usize, count: u64, window: Option<u64>) -> anyhow::Result<Measured> {
    let load = [("--size", size.to_string()), ("--count", count.to_string())];
    let mut push = Side::start("bench-push", &load)?;
    let endpoint = push.line().await?;
    let mut options = vec![("--connect", endpoint)];
    options.extend(load);
    options.extend(window.map(|window| ("--window", window.to_string())));
    let pull = Side::start("bench-pull", &options)?;
    let (measured, pushed) = tokio::try_join!(pull.result::<Measured>(), push.result::<Pushed>())?;
    if pushed.acked != count {
        bail!("{} of {count} messages were acked", pushed.acked);
    }
    Ok(measured)
}

/// The window of a puller that sets none, if it is a fixed one.
pub(crate) fn default_window() -> Option<u64> {
    match Window::default() {
        Window::Fixed { messages, .. } => Some(messages),
        _ => None,
    }
}

impl PushSide {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let mut ring = Ring::new(self.size);
        let push = Push::builder().bind("tcp://127.0.0.1:0").max_message(largest(self.size)).build().await?;
        let endpoint = push.local_endpoints().pop().context("a bound pusher without an endpoint")?;
        tell(&endpoint.to_string())?;
        push.connected(1).await?;
        for _ in 0..self.count {
            push.send(Message::new(ring.payload())).await?;
        }
        let stats = push.finish(Duration::MAX).await?;
        tell(&serde_json::to_string(&Pushed { acked: stats.acked })?)
    }
}

impl PullSide {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let mut pattern = Pattern::new(self.size);
        let mut builder = Pull::builder().connect(&self.connect).max_message(largest(self.size));
        if let Some(window) = self.window {
            builder = builder.window(Window::messages(window));
        }
        let pull = builder.build().await?;
        let mut received = 0;
        let mut first = None;
        let mut last = Instant::now();
        while let Some(delivery) = pull.recv().await? {
            if received == 0 {
                first = Some(Instant::now());
            }
            received += 1;
            if !pattern.check(delivery.payload()) {
                bail!("message {received} is not what was sent");
            }
            delivery.ack();
            if received == self.count {
                last = Instant::now();
            }
        }
        if received != self.count {
            bail!("{received} of {} messages arrived", self.count);
        }
        let seconds = first.map(|first| last.duration_since(first)).unwrap_or_default().as_secs_f64();
        tell(&serde_json::to_string(&Measured { seconds })?)
    }
}

/// The bound on messages for this size: the library's own unless that is too small.
fn largest(size: usize) -> usize {
    size.max(16 << 20)
}
