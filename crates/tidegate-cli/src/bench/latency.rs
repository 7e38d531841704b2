//! `tidegate bench latency`: round trips through two pipelines, or one way under a steady load.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use clap::Args;
use serde::{Deserialize, Serialize};
use tidegate::{Delivery, Payload, Pull, Push, blocking};

use super::times::{Latency, histogram};
use super::usage::{Usage, clock};
use super::{BenchProcess, echo, tell};
use crate::args::{LatencyArgs, ThreadArgs};

/// The warm-up: one in this many messages is sent first and not measured.
const WARM_UP_PART: u64 = 10;

/// The arguments of both processes.
#[derive(Args, Clone, Debug)]
pub struct SideArgs {
    #[arg(long)]
    connect: String,
    #[arg(long)]
    back: Option<String>,
    #[arg(long)]
    count: u64,
    #[arg(long)]
    pub(crate) busy_poll: u64,
    #[command(flatten)]
    own: ThreadArgs,
}

/// The result.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LatencyResult {
    pub(crate) latency: Latency,
    pub(crate) push: Usage,
    pub(crate) pull: Usage,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tokio_echo: Option<Latency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) blocking_echo: Option<Latency>,
}

/// Runs the measurement that the arguments select.
///
/// # Errors
/// If a process fails, or a message that returns differs from what was sent.
pub(crate) async fn measure(args: &LatencyArgs) -> anyhow::Result<LatencyResult> {
    ensure!(args.size >= 8, "--size {} is too small: a message carries a time of 8 bytes", args.size);
    let busy = args.busy_poll.unwrap_or_default();
    let mut found = match args.rate {
        None => round_trips(args, busy).await?,
        Some(rate) => one_way(args, rate, busy).await?,
    };
    if args.with_tcp {
        found.tokio_echo = Some(echo::tokio(args.size, args.count).await?);
        found.blocking_echo = Some(echo::blocking(args.size, args.count).await?);
    }
    Ok(found)
}

fn push(busy: Duration, own: ThreadArgs) -> tidegate::PushBuilder {
    Push::builder().bind("tcp://127.0.0.1:0").busy_poll(busy).io_thread(own.own())
}

/// A pusher with the form of calls that is measured.
struct Sender {
    push: Push,
    blocking: Option<blocking::Push>,
}

impl Sender {
    fn new(push: Push, own: ThreadArgs) -> anyhow::Result<Self> {
        let blocking = own.blocking.then(|| push.blocking()).transpose()?;
        Ok(Self { push, blocking })
    }

    async fn send(&self, message: impl Payload) -> anyhow::Result<()> {
        match &self.blocking {
            Some(push) => push.blocking_send(message)?,
            None => self.push.send(message).await?,
        }
        Ok(())
    }

    async fn finish(&self) -> anyhow::Result<()> {
        self.push.finish(Duration::MAX).await?;
        Ok(())
    }
}

/// A puller with the form of calls that is measured.
struct Receiver {
    pull: Pull,
    blocking: Option<blocking::Pull>,
}

impl Receiver {
    fn new(pull: Pull, own: ThreadArgs) -> anyhow::Result<Self> {
        let blocking = own.blocking.then(|| pull.blocking()).transpose()?;
        Ok(Self { pull, blocking })
    }

    async fn recv(&self) -> anyhow::Result<Option<Delivery>> {
        Ok(match &self.blocking {
            Some(pull) => pull.blocking_recv()?,
            None => self.pull.recv().await?,
        })
    }
}

async fn round_trips(args: &LatencyArgs, busy: Duration) -> anyhow::Result<LatencyResult> {
    let own = args.own.own();
    let there = push(busy, args.own).build().await?;
    let back =
        Pull::builder().bind("tcp://127.0.0.1:0").expect(1).busy_poll(busy).io_thread(own).build().await?;
    let at =
        |endpoints: Vec<tidegate::Endpoint>| endpoints.first().map(ToString::to_string).unwrap_or_default();
    let options = [
        ("--connect", at(there.local_endpoints())),
        ("--back", at(back.local_endpoints())),
        ("--count", "0".to_owned()),
        ("--busy-poll", busy.as_micros().to_string()),
    ];
    let echo = BenchProcess::start_with("bench-echo", &args.own.flags().collect::<Vec<_>>(), &options)?;
    there.connected(1).await?;
    back.connected(1).await?;
    let (there, back) = (Sender::new(there, args.own)?, Receiver::new(back, args.own)?);
    let payload = Bytes::from(vec![7; args.size]);
    let mut times = histogram()?;
    let warm_up = args.count / WARM_UP_PART;
    for round in 0..args.count + warm_up {
        let started = clock();
        there.send(payload.clone()).await?;
        let delivery = back.recv().await?.context("the echo has ended its stream")?;
        let took = clock() - started;
        ensure!(delivery.payload() == payload, "the message that returned differs from what was sent");
        delivery.ack();
        if round >= warm_up {
            times.saturating_record(took);
        }
    }
    there.finish().await?;
    while back.recv().await?.is_some() {}
    let usage: Usage = echo.result().await?;
    Ok(LatencyResult {
        latency: Latency::of(&times),
        push: Usage::now(),
        pull: usage,
        tokio_echo: None,
        blocking_echo: None,
    })
}

/// The process that returns what it receives.
pub(crate) async fn echo_side(args: SideArgs) -> anyhow::Result<()> {
    let busy = Duration::from_micros(args.busy_poll);
    let pull =
        Pull::builder().connect(&args.connect).busy_poll(busy).io_thread(args.own.own()).build().await?;
    let back = args.back.as_ref().context("--back is missing")?;
    let push = Push::builder().connect(back).busy_poll(busy).io_thread(args.own.own()).build().await?;
    let (pull, push) = (Receiver::new(pull, args.own)?, Sender::new(push, args.own)?);
    while let Some(delivery) = pull.recv().await? {
        push.send(delivery.message()).await?;
        delivery.ack();
    }
    push.finish().await?;
    tell(&serde_json::to_string(&Usage::now())?)
}

/// The result of the process that receives a steady load.
#[derive(Deserialize, Serialize)]
struct OneWay {
    latency: Latency,
    usage: Usage,
}

async fn one_way(args: &LatencyArgs, rate: u64, busy: Duration) -> anyhow::Result<LatencyResult> {
    let push = push(busy, args.own).build().await?;
    let endpoint = push.local_endpoints().pop().context("a bound pusher without an endpoint")?;
    let options = [
        ("--connect", endpoint.to_string()),
        ("--count", (args.count / WARM_UP_PART).to_string()),
        ("--busy-poll", busy.as_micros().to_string()),
    ];
    let side = BenchProcess::start_with("bench-one-way", &args.own.flags().collect::<Vec<_>>(), &options)?;
    push.connected(1).await?;
    let push = Sender::new(push, args.own)?;
    let mut payload = vec![7; args.size];
    let began = clock();
    for n in 0..args.count + args.count / WARM_UP_PART {
        let due = began + n.saturating_mul(1_000_000_000) / rate;
        // Messages are due at fixed times. A late sender sends at once, and the message contains the time at
        // which it was due.
        while clock() < due {
            tokio::task::yield_now().await;
        }
        payload[..8].copy_from_slice(&due.to_le_bytes());
        push.send(payload.clone()).await?;
    }
    push.finish().await?;
    let OneWay { latency, usage } = side.result().await?;
    Ok(LatencyResult { latency, push: Usage::now(), pull: usage, tokio_echo: None, blocking_echo: None })
}

/// The process that receives a steady load.
pub(crate) async fn one_way_side(args: SideArgs) -> anyhow::Result<()> {
    let busy = Duration::from_micros(args.busy_poll);
    let pull =
        Pull::builder().connect(&args.connect).busy_poll(busy).io_thread(args.own.own()).build().await?;
    let mut times = histogram()?;
    let mut received = 0;
    let pull = Receiver::new(pull, args.own)?;
    while let Some(delivery) = pull.recv().await? {
        let now = clock();
        received += 1;
        let due = delivery.payload().first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        let due = due.context("a message without a time")?;
        if received > args.count {
            times.saturating_record(now.saturating_sub(due).max(1));
        }
        delivery.ack();
    }
    tell(&serde_json::to_string(&OneWay { latency: Latency::of(&times), usage: Usage::now() })?)
}
