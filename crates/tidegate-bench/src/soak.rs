//! `tidegate-bench soak`: a long run during which pullers are killed and replaced.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use tidegate::{Pull, Push};
use tidegate_cli::shared::{BenchProcess, Usage, resident, tell};
use tidegate_load::load::{Pattern, Ring};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::args::SoakArgs;

/// A puller process.
#[derive(Args, Clone, Debug)]
pub(crate) struct SoakPullArgs {
    #[arg(long)]
    connect: String,
    #[arg(long)]
    size: usize,
}

/// The measurements of one second.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Sample {
    pub(crate) second: u64,
    pub(crate) acked_per_s: u64,
    pub(crate) push_kib: u64,
    /// The sum of all pullers.
    pub(crate) pull_kib: u64,
}

/// The result.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SoakResult {
    pub(crate) seconds: f64,
    pub(crate) acked: u64,
    pub(crate) redelivered: u64,
    pub(crate) killed: u64,
    pub(crate) push: Usage,
    pub(crate) samples: Vec<Sample>,
}

/// The result of a puller.
#[derive(Debug, Deserialize, Serialize)]
struct ReceivedCounts {
    received: u64,
}

/// Runs the benchmark.
///
/// # Errors
/// If a message was not acked, or a process failed that was not killed.
pub(crate) async fn measure(args: &SoakArgs) -> anyhow::Result<SoakResult> {
    let ring = Ring::new(args.size); // before there is a link
    let push = Push::builder().bind("tcp://127.0.0.1:0").max_message(args.size.max(16 << 20)).build().await?;
    let endpoint = push.local_endpoints().pop().context("a bound pusher without an endpoint")?.to_string();
    let start = || {
        BenchProcess::start(
            "bench-soak-pull",
            &[("--connect", endpoint.clone()), ("--size", args.size.to_string())],
        )
    };
    let mut pullers = (0..args.pullers).map(|_| start()).collect::<anyhow::Result<Vec<_>>>()?;
    push.connected(pullers.len()).await?;
    let began = Instant::now();
    let until = began + args.duration;
    let sender = {
        let (push, mut ring) = (push.clone(), ring);
        tokio::spawn(async move {
            while Instant::now() < until {
                // The clock is read once for several messages.
                for _ in 0..64 {
                    push.send(ring.payload()).await?;
                }
            }
            anyhow::Ok(())
        })
    };
    let mut seconds = interval_at(began + Duration::from_secs(1), Duration::from_secs(1));
    let mut kills = interval_at(began + args.kill_every, args.kill_every.max(Duration::from_millis(100)));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    kills.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut samples, mut killed, mut acked) = (Vec::new(), 0, 0);
    while !sender.is_finished() {
        tokio::select! {
            _ = seconds.tick() => {
                let stats = push.stats();
                samples.push(Sample {
                    second: began.elapsed().as_secs(),
                    acked_per_s: stats.acked - acked,
                    push_kib: resident(std::process::id()).unwrap_or(0),
                    pull_kib: pullers.iter().filter_map(BenchProcess::resident).sum(),
                });
                acked = stats.acked;
            }
            _ = kills.tick(), if Instant::now() < until => {
                // The oldest puller, during its work.
                pullers.remove(0).kill().await?;
                killed += 1;
                pullers.push(start()?);
            }
        }
    }
    sender.await.context("the task that sends has failed")??;
    let stats = push.finish(Duration::MAX).await?;
    ensure!(stats.acked == stats.accepted, "{} of {} messages were acked", stats.acked, stats.accepted);
    for puller in pullers {
        puller.result::<ReceivedCounts>().await?;
    }
    Ok(SoakResult {
        seconds: began.elapsed().as_secs_f64(),
        acked: stats.acked,
        redelivered: stats.redelivered,
        killed,
        push: Usage::now(),
        samples,
    })
}

/// The process of a puller.
pub(crate) async fn pull(args: SoakPullArgs) -> anyhow::Result<()> {
    let pull = Pull::builder().connect(&args.connect).max_message(args.size.max(16 << 20)).build().await?;
    let pattern = Pattern::new(args.size);
    let mut received = 0;
    while let Some(delivery) = pull.recv().await? {
        ensure!(
            pattern.check_any(delivery.payload()),
            "message {} differs from what was sent",
            delivery.id()
        );
        received += 1;
        delivery.ack();
    }
    tell(&serde_json::to_string(&ReceivedCounts { received })?)
}
