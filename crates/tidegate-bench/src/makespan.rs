//! `tidegate-bench makespan`: how long unequal workers take for a list of jobs.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use tidegate::{Pull, Push, Window};
use tidegate_cli::shared::{BenchProcess, Usage, clock, tell, window, window_text};

use crate::args::MakespanArgs;

/// A worker process.
#[derive(Args, Clone, Debug)]
pub(crate) struct WorkerArgs {
    #[arg(long)]
    connect: String,
    #[arg(long)]
    speed: u32,
    #[arg(long, value_parser = window)]
    window: Window,
}

/// The result of a worker.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Worked {
    pub(crate) speed: u32,
    pub(crate) jobs: u64,
    /// The duration of its jobs, in seconds.
    pub(crate) busy: f64,
    pub(crate) released: u64,
    usage: Usage,
}

/// The result.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct MakespanResult {
    pub(crate) jobs: u64,
    pub(crate) seconds: f64,
    pub(crate) ideal_seconds: f64,
    pub(crate) ratio: f64,
    pub(crate) workers: Vec<Worked>,
}

/// The durations of the jobs, in microseconds for a worker of speed 1. The same arguments always give the
/// same list.
fn jobs(args: &MakespanArgs) -> Vec<u64> {
    let (shortest, longest) = (args.shortest.as_micros() as u64, args.longest.as_micros() as u64);
    let speeds: u64 = args.workers.iter().map(|speed| u64::from(*speed)).sum();
    let mut left = u64::from(args.seconds) * 1_000_000 * speeds;
    let mut all = Vec::new();
    let mut state = 0_u64;
    let mut next = move || {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    };
    while left > 0 {
        let plain = shortest + next() % (longest.saturating_sub(shortest) + 1);
        let long = (next() >> 11) as f64 / (1_u64 << 53) as f64;
        let job = if long < args.long_share { plain * u64::from(args.long_factor) } else { plain };
        all.push(job.max(1));
        left = left.saturating_sub(job.max(1));
    }
    all
}

/// The time of a dispatcher without latency, which gives the jobs in order to the first free worker.
fn ideal(jobs: &[u64], speeds: &[u32]) -> u64 {
    let mut free = vec![0; speeds.len()];
    for job in jobs {
        let first = (0..free.len()).min_by_key(|worker| free[*worker]).unwrap_or(0);
        free[first] += job / u64::from(speeds[first]);
    }
    free.into_iter().max().unwrap_or(0)
}

/// Runs the list.
///
/// # Errors
/// If a worker fails, or a job was not done.
pub(crate) async fn measure(args: &MakespanArgs) -> anyhow::Result<MakespanResult> {
    ensure!(args.shortest <= args.longest, "--shortest is longer than --longest");
    let push = Push::builder().bind("tcp://127.0.0.1:0").build().await?;
    let endpoint = push.local_endpoints().pop().context("a bound pusher without an endpoint")?;
    let mut sides = Vec::new();
    for speed in &args.workers {
        let options = [
            ("--connect", endpoint.to_string()),
            ("--speed", speed.to_string()),
            ("--window", window_text(args.window)),
        ];
        sides.push(BenchProcess::start("bench-work", &options)?);
    }
    push.connected(args.workers.len()).await?;
    let jobs = jobs(args);
    for _ in 0..args.quick {
        push.send(0_u64.to_le_bytes().to_vec()).await?;
    }
    // The list follows at once, so that it starts with the windows of the quick jobs. The time starts when
    // the last quick job has left the queue.
    let started = clock();
    for job in &jobs {
        push.send(job.to_le_bytes().to_vec()).await?;
    }
    let stats = push.finish(Duration::MAX).await?;
    let seconds = Duration::from_nanos(clock() - started).as_secs_f64();
    ensure!(stats.acked == args.quick + jobs.len() as u64, "{} jobs were done", stats.acked);
    let mut workers = Vec::new();
    for side in sides {
        workers.push(side.result::<Worked>().await?);
    }
    let ideal_seconds = ideal(&jobs, &args.workers) as f64 / 1e6;
    Ok(MakespanResult {
        jobs: jobs.len() as u64,
        seconds,
        ideal_seconds,
        ratio: seconds / ideal_seconds,
        workers,
    })
}

/// The process of a worker.
pub(crate) async fn work(args: WorkerArgs) -> anyhow::Result<()> {
    let pull = Pull::builder().connect(&args.connect).window(args.window).build().await?;
    let (mut jobs, mut busy) = (0, 0);
    while let Some(delivery) = pull.recv().await? {
        let micros = delivery.payload().first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        let micros = micros.context("a job without a time")? / u64::from(args.speed);
        if micros > 0 {
            // tokio's timers have a resolution of a millisecond, which is as long as a short job.
            let nap = move || std::thread::sleep(Duration::from_micros(micros));
            tokio::task::spawn_blocking(nap).await.context("the thread that sleeps has failed")?;
            jobs += 1;
            busy += micros;
        }
        delivery.ack();
    }
    let worked = Worked {
        speed: args.speed,
        jobs,
        busy: busy as f64 / 1e6,
        released: pull.stats().released,
        usage: Usage::now(),
    };
    tell(&serde_json::to_string(&worked)?)
}
