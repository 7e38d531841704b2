//! Messages from pushers to pullers, each in its own process: the measurement of `throughput`, `fanout` and
//! `fanin`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use tidegate::{Pull, Push, Window, blocking};
use tidegate_load::load::{Pattern, Ring};

use super::certs;
use super::usage::{Usage, clock};
use super::{BenchProcess, tell, window_text};
use crate::args::{ThreadArgs, TuneArgs, window};

/// The arguments of both sides.
#[derive(Args, Clone, Debug)]
pub struct SideArgs {
    /// Listens at a port that the system selects, and reports it.
    #[arg(long)]
    bind: bool,
    #[arg(long)]
    connect: Option<String>,
    #[arg(long)]
    size: usize,
    /// For a pusher: how many messages to send. For a puller: how many messages come first and are not
    /// measured.
    #[arg(long)]
    count: u64,
    /// The number of processes on the other side.
    #[arg(long)]
    peers: usize,
    /// There is one process on this side.
    #[arg(long)]
    alone: bool,
    #[arg(long, value_parser = window)]
    window: Window,
    #[arg(long)]
    high_water_mark: Option<usize>,
    #[arg(long)]
    pub(crate) threads: u16,
    #[arg(long)]
    tasks: u16,
    #[arg(long)]
    batch: u32,
    #[arg(long)]
    borrowed: bool,
    #[command(flatten)]
    own: ThreadArgs,
    /// The directory of the certificate and the CA, if TLS is used.
    #[arg(long)]
    tls: Option<PathBuf>,
}

impl SideArgs {
    fn any_port(&self) -> &'static str {
        if self.tls.is_some() { "tls://127.0.0.1:0" } else { "tcp://127.0.0.1:0" }
    }
}

/// The result of a pusher.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Pushed {
    acked: u64,
    usage: Usage,
}

/// The result of a puller.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Pulled {
    /// The times of the first measured message and of the last one.
    first: u64,
    last: u64,
    /// Messages after the first measured one.
    measured: u64,
    /// Messages that the application received. Messages that were returned before it received them are not
    /// counted.
    pub(crate) received: u64,
    /// The window at the end.
    pub(crate) window: u64,
    pub(crate) service_rate: u64,
    usage: Usage,
}

/// The result of a flow.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    pub(crate) seconds: f64,
    /// Messages in that time.
    pub(crate) measured: u64,
    pub(crate) pulled: Vec<Pulled>,
    pub(crate) push: Usage,
    pub(crate) pull: Usage,
}

/// Runs `pushers` and `pullers` until `count` messages are acked, and returns the measurements of the
/// pullers.
///
/// # Errors
/// If a process fails, or a message was not acked.
pub(crate) async fn measure(
    size: usize,
    count: u64,
    (pushers, pullers): (u16, u16),
    tune: &TuneArgs,
) -> anyhow::Result<Flow> {
    let warm_up = tune.warm_up.unwrap_or(count / 10);
    ensure!(warm_up + 1 < count, "--warm-up {warm_up} leaves none of the {count} messages to measure");
    let dir = if tune.tls { Some(certs::make()?) } else { None };
    let tls = dir.as_ref().map(|dir| dir.path().display().to_string());
    let options = |count: u64, peers: u16| {
        let mut options = vec![
            ("--size", size.to_string()),
            ("--count", count.to_string()),
            ("--peers", peers.to_string()),
            ("--window", window_text(tune.window)),
            ("--threads", tune.threads.to_string()),
            ("--tasks", tune.tasks.to_string()),
            ("--batch", tune.batch.to_string()),
        ];
        options.extend(tls.clone().map(|dir| ("--tls", dir)));
        options.extend(tune.high_water_mark.map(|mark| ("--high-water-mark", mark.to_string())));
        options
    };
    // The side with one process listens.
    let (few, many) = if pushers == 1 { ("bench-push", "bench-pull") } else { ("bench-pull", "bench-push") };
    let of = |side: &str, index: u16| {
        if side == "bench-push" {
            let n = u64::from(pushers);
            options(count / n + u64::from(u64::from(index) < count % n), pullers)
        } else {
            options(warm_up / u64::from(pullers), pushers)
        }
    };
    let flags = |first: Option<&'static str>| {
        let borrowed = tune.borrowed.then_some("--borrowed");
        first.into_iter().chain(borrowed).chain(tune.own.flags()).collect::<Vec<_>>()
    };
    let alone = flags((pushers == 1 && pullers == 1).then_some("--alone"));
    let mut one = BenchProcess::start_with(few, &flags(Some("--bind")), &of(few, 0))?;
    let endpoint = one.line().await?;
    let mut others = Vec::new();
    for index in 0..pushers.max(pullers) {
        let mut options = of(many, index);
        options.push(("--connect", endpoint.clone()));
        others.push(BenchProcess::start_with(many, &alone, &options)?);
    }
    let (mut pushed, mut pulled) = (Vec::<Pushed>::new(), Vec::<Pulled>::new());
    for (name, side) in std::iter::once((few, one)).chain(others.into_iter().map(|side| (many, side))) {
        if name == "bench-push" {
            pushed.push(side.result().await?);
        } else {
            pulled.push(side.result().await?);
        }
    }
    let acked: u64 = pushed.iter().map(|side| side.acked).sum();
    ensure!(acked == count, "{acked} of {count} messages were acked");
    // A puller that received only warm-up messages has measured nothing.
    let active = || pulled.iter().filter(|side| side.measured > 0);
    let first = active().map(|side| side.first).min().unwrap_or(0);
    let last = active().map(|side| side.last).max().unwrap_or(0);
    Ok(Flow {
        seconds: Duration::from_nanos(last - first).as_secs_f64(),
        measured: active().map(|side| side.measured).sum(),
        push: Usage::sum(pushed.iter().map(|side| side.usage)),
        pull: Usage::sum(pulled.iter().map(|side| side.usage)),
        pulled,
    })
}

/// The maximum size of messages: the library's default, unless that is too small.
fn largest(size: usize) -> usize {
    size.max(16 << 20)
}

/// The sending process.
pub(crate) async fn push(args: SideArgs) -> anyhow::Result<()> {
    // Created before the link: on a busy machine it takes so long that a link could miss heartbeats.
    let ring = Ring::new(args.size);
    let mut builder = Push::builder().max_message(largest(args.size)).io_thread(args.own.own());
    if let Some(mark) = args.high_water_mark {
        builder = builder.high_water_mark(mark);
    }
    builder = match &args.connect {
        Some(endpoint) => builder.connect(endpoint),
        None => builder.bind(args.any_port()),
    };
    if let Some(dir) = &args.tls {
        builder = builder.tls(certs::load(dir)?);
    }
    let push = builder.build().await?;
    if args.bind {
        tell_endpoint(push.local_endpoints().pop())?;
    }
    push.connected(args.peers).await?;
    let tasks = u64::from(args.tasks);
    if args.own.blocking {
        blocking_send(&push.blocking()?, ring, args.count, args.borrowed)?;
    } else {
        // Spawned, because the future of `block_on` runs on a thread of its own in a runtime with several threads.
        let all = (0..tasks).map(|task| {
            let (push, ring, batch, borrowed) = (push.clone(), ring.clone(), args.batch, args.borrowed);
            let count = args.count / tasks + u64::from(task < args.count % tasks);
            tokio::spawn(async move { send(&push, ring, count, batch, borrowed).await })
        });
        for task in all.collect::<Vec<_>>() {
            task.await??;
        }
    }
    let stats = push.finish(Duration::MAX).await?;
    tell(&serde_json::to_string(&Pushed { acked: stats.acked, usage: Usage::now() })?)
}

async fn send(push: &Push, mut ring: Ring, count: u64, batch: u32, borrowed: bool) -> anyhow::Result<()> {
    if batch == 1 && borrowed {
        for _ in 0..count {
            push.send(ring.slice()).await?;
        }
        return Ok(());
    }
    if batch == 1 {
        for _ in 0..count {
            push.send(ring.payload()).await?;
        }
        return Ok(());
    }
    let mut left = count;
    while left > 0 {
        let now = left.min(batch.into());
        push.send_all((0..now).map(|_| ring.payload())).await?;
        left -= now;
    }
    Ok(())
}

fn blocking_send(push: &blocking::Push, mut ring: Ring, count: u64, borrowed: bool) -> anyhow::Result<()> {
    for _ in 0..count {
        if borrowed {
            push.blocking_send(ring.slice())?;
        } else {
            push.blocking_send(ring.payload())?;
        }
    }
    Ok(())
}

/// The receiving process.
pub(crate) async fn pull(args: SideArgs) -> anyhow::Result<()> {
    let mut builder =
        Pull::builder().max_message(largest(args.size)).window(args.window).io_thread(args.own.own());
    builder = match &args.connect {
        Some(endpoint) => builder.connect(endpoint),
        None => builder.bind(args.any_port()).expect(args.peers),
    };
    if let Some(dir) = &args.tls {
        builder = builder.tls(certs::load(dir)?);
    }
    let pull = builder.build().await?;
    if args.bind {
        tell_endpoint(pull.local_endpoints().pop())?;
    }
    // With one pusher and one puller, messages arrive in order.
    let ordered = args.peers == 1 && args.tasks == 1 && !args.bind && args.alone;
    let tasks = u64::from(args.tasks);
    let work = |pull| {
        receive(
            pull,
            Check { pattern: Pattern::new(args.size), ordered },
            args.count / tasks,
            args.batch as usize,
            args.own.blocking,
        )
    };
    let mut sum = Pulled::default();
    let all: Vec<_> = (0..tasks).map(|_| tokio::spawn(work(pull.clone()))).collect();
    for task in all {
        sum = sum.with(task.await??);
    }
    sum.usage = Usage::now();
    tell(&serde_json::to_string(&sum)?)
}

impl Pulled {
    /// The sum of both results.
    fn with(self, other: Self) -> Self {
        let first = match (self.first, other.first) {
            (0, first) | (first, 0) => first,
            (one, two) => one.min(two),
        };
        let (last, measured) = (self.last.max(other.last), self.measured + other.measured);
        let (window, service_rate) = if other.window > 0 {
            (other.window, other.service_rate)
        } else {
            (self.window, self.service_rate)
        };
        let received = self.received + other.received;
        Self { first, last, measured, received, window, service_rate, ..self }
    }
}

/// How messages are checked.
struct Check {
    pattern: Pattern,
    ordered: bool,
}

impl Check {
    fn take(&mut self, payload: &[u8]) -> anyhow::Result<()> {
        let holds = if self.ordered { self.pattern.check(payload) } else { self.pattern.check_any(payload) };
        ensure!(holds, "a message differs from what was sent");
        Ok(())
    }
}

/// How often the clock is read, in messages: reading it for each message would be much of the work. Messages
/// after the last reading are not counted.
const MESSAGES_PER_LOOK: u64 = 64;

async fn receive(
    pull: Pull,
    mut check: Check,
    skip: u64,
    batch: usize,
    blocking: bool,
) -> anyhow::Result<Pulled> {
    let mut pulled = Pulled::default();
    let (mut received, mut first_at) = (0_u64, 0);
    let mut many = Vec::new();
    let from_thread = blocking.then(|| pull.blocking()).transpose()?;
    // Number of messages per call.
    let step = batch as u64;
    loop {
        if batch == 1 {
            let next = match &from_thread {
                Some(pull) => pull.blocking_recv()?,
                None => pull.recv().await?,
            };
            let Some(delivery) = next else { break };
            received += 1;
            check.take(delivery.payload())?;
            delivery.ack();
        } else if pull.recv_many(&mut many, batch).await? == 0 {
            break;
        }
        for delivery in many.drain(..) {
            received += 1;
            check.take(delivery.payload())?;
            delivery.ack();
        }
        if pulled.first == 0 && received > skip {
            (pulled.first, first_at) = (clock(), received);
        } else if received % MESSAGES_PER_LOOK < step {
            (pulled.last, pulled.measured) = (clock(), received - first_at);
            if received & 0xffff < MESSAGES_PER_LOOK.max(step) {
                // Read during the run, because there are no links at the end.
                let stats = pull.stats();
                (pulled.window, pulled.service_rate) = (stats.window, stats.service_rate);
            }
        }
    }
    if pulled.first == 0 {
        pulled.measured = 0;
    }
    pulled.received = received;
    Ok(pulled)
}

fn tell_endpoint(endpoint: Option<tidegate::Endpoint>) -> anyhow::Result<()> {
    tell(&endpoint.context("a bound socket without an endpoint")?.to_string())
}
