//! `tidegate-bench links` and `tidegate-bench stopped`: the memory of a pusher.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process, setrlimit};
use serde::Serialize;
use tidegate::{Pull, Push, TrySendError};
use tidegate_cli::shared::{BenchProcess, resident, tell};
use tidegate_load::load::Ring;

use crate::args::{LinksArgs, StoppedArgs};

/// The process of an idle pusher.
#[derive(Args, Clone, Debug)]
pub(crate) struct IdleArgs {
    #[arg(long)]
    bind: String,
    #[arg(long)]
    links: u32,
}

/// The memory of idle links.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LinksResult {
    pub(crate) links: u32,
    pub(crate) before_kib: u64,
    pub(crate) after_kib: u64,
    pub(crate) bytes_per_link: u64,
}

/// The memory of a pusher whose only puller is stopped.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct StoppedResult {
    pub(crate) size: usize,
    pub(crate) before_kib: u64,
    pub(crate) peak_kib: u64,
    /// The messages that it held then: queued ones, and un-acked ones within the credit of the puller.
    pub(crate) held_kib: u64,
    /// The rest of the increase.
    pub(crate) more_kib: u64,
    pub(crate) acked: u64,
}

/// Descriptors in use beside those of the links.
const OTHER_FILES: u64 = 200;

/// The limit on open files with which a socket accepts this many links: it leaves an eighth of the limit, at least 16
/// and at most 1,024, to the rest of its process.
fn limit_for(links: u32) -> u64 {
    let used = u64::from(links) + OTHER_FILES;
    used + used.div_ceil(7).clamp(16, 1_024)
}

/// How many links are opened at a time. While the processes are busy with the links that they have, a handshake takes
/// several turns of their runtimes; one link after another would take these turns for each link.
const OPENED_TOGETHER: usize = 64;

/// The heartbeat interval of both sides. With the default of 2 s, the heartbeats of 10,000 links keep a debug build so
/// busy that there is no time left for handshakes.
const HEARTBEAT: Duration = Duration::from_secs(20);

/// Raises the limit on open files to what each of the two processes needs. Child processes inherit it.
fn raise_file_limit(links: u32) -> anyhow::Result<()> {
    let wanted = limit_for(links);
    let mut limit = getrlimit(Resource::Nofile);
    if let Some(hard) = limit.maximum {
        // The pusher would refuse some of the links for ever.
        ensure!(
            wanted <= hard,
            "--links {links} needs {wanted} open files in a process; the hard limit is {hard} (ulimit -Hn)"
        );
    }
    if limit.current.is_some_and(|soft| soft < wanted) {
        limit.current = Some(wanted);
        setrlimit(Resource::Nofile, limit).context("cannot raise the limit on open files")?;
    }
    Ok(())
}

/// Opens idle links to a pusher and measures its memory.
///
/// # Errors
/// If the limit on open files is too low, or a process fails.
pub(crate) async fn links(args: &LinksArgs) -> anyhow::Result<LinksResult> {
    raise_file_limit(args.links)?;
    let dir = tempfile::tempdir()?;
    let endpoint = format!("unix://{}", dir.path().join("idle").display());
    let options = [("--bind", endpoint.clone()), ("--links", args.links.to_string())];
    let mut side = BenchProcess::start("bench-idle", &options)?;
    side.line().await?;
    let before_kib = side.resident().context("this system does not report the memory of a process")?;
    let (links, mut pulls) = (args.links as usize, Vec::new());
    while pulls.len() < links {
        let opened = pulls.len();
        for _ in 0..OPENED_TOGETHER.min(links - opened) {
            pulls.push(Pull::builder().connect(&endpoint).heartbeat(HEARTBEAT).build().await?);
        }
        for pull in pulls.iter().skip(opened) {
            pull.connected(1).await?;
        }
    }
    side.line().await.context("cannot open all links")?;
    let after_kib = side.resident().context("the pusher has ended")?;
    let bytes_per_link = after_kib.saturating_sub(before_kib) * 1024 / u64::from(args.links);
    Ok(LinksResult { links: args.links, before_kib, after_kib, bytes_per_link })
}

/// The process of an idle pusher. It reports when it is bound, and when it has all of its links.
pub(crate) async fn idle(args: IdleArgs) -> anyhow::Result<()> {
    let links = args.links as usize;
    let push = Push::builder().bind(&args.bind).max_links(links + 1).heartbeat(HEARTBEAT).build().await?;
    tell("bound")?;
    push.connected(links).await?;
    // Time for every link to send its first grant.
    tokio::time::sleep(Duration::from_millis(500)).await;
    tell("linked")?;
    std::future::pending().await
}

/// Stops a puller during its work, sends until no message is accepted any more, and continues the puller.
///
/// # Errors
/// If a process fails, or a message is not acked in the end.
pub(crate) async fn stopped(args: &StoppedArgs) -> anyhow::Result<StoppedResult> {
    let mut ring = Ring::new(args.size); // before there is a link
    let push =
        Push::builder().bind("tcp://127.0.0.1:0").high_water_mark(args.high_water_mark).build().await?;
    let endpoint = push.local_endpoints().pop().context("a bound pusher without an endpoint")?.to_string();
    let side = BenchProcess::start(
        "bench-soak-pull",
        &[("--connect", endpoint), ("--size", args.size.to_string())],
    )?;
    push.connected(1).await?;
    for _ in 0..args.warm_up {
        push.send(ring.payload()).await?;
    }
    let me = std::process::id();
    let before_kib = resident(me).context("this system does not report the memory of a process")?;
    let process = side.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let process = process.context("the puller has ended")?;
    kill_process(process, Signal::STOP).context("cannot stop the puller")?;
    let mut peak_kib = before_kib;
    let mut refused = 0;
    // Until no message has been accepted for half a second.
    while refused < 100 {
        match push.try_send(ring.payload()) {
            Ok(()) => {
                refused = 0;
                tokio::task::yield_now().await;
            }
            Err(TrySendError::Full(_)) => {
                refused += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(TrySendError::Failed(error)) => return Err(error.into()),
            Err(error) => return Err(error.into()),
        }
        peak_kib = peak_kib.max(if refused > 0 { resident(me).unwrap_or(0) } else { 0 });
    }
    let held_kib = push.stats().held_bytes / 1024;
    kill_process(process, Signal::CONT).context("cannot continue the puller")?;
    let stats = push.finish(Duration::MAX).await?;
    ensure!(stats.acked == stats.accepted, "{} of {} messages were acked", stats.acked, stats.accepted);
    let more_kib = peak_kib.saturating_sub(before_kib + held_kib);
    Ok(StoppedResult { size: args.size, before_kib, peak_kib, held_kib, more_kib, acked: stats.acked })
}
