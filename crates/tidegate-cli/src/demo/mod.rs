//! `tidegate demo`: a pipeline of real processes, one of which is killed half-way.
//!
//! ```text
//! tidegate push --null  ──paths──►  3 × demo-worker  ──results──►  this process, the sink
//! ```
//!
//! A worker acks a path only after the sink has acked its result. So if a worker is killed, another worker
//! hashes its paths.

mod files;
mod outcome;
mod processes;
mod progress;
mod table;
mod tally;
pub(crate) mod worker;

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tidegate::Pull;

use crate::args::DemoArgs;
use crate::exit::Exit;
use crate::signals::Signals;
use crate::summary::seconds;
use crate::text::{self, count};
use files::Files;
use outcome::{FileResult, FileResults};
use processes::Processes;
use progress::ProgressDisplay;
use tally::Tally;

/// The maximum time between two results.
const MAX_STALL: Duration = Duration::from_secs(60);

/// Runs the demo and checks its result.
///
/// # Errors
/// If a process fails, a result is lost, or the results differ from those of a sequential pass.
pub(crate) async fn run(args: DemoArgs, quiet: bool) -> anyhow::Result<Exit> {
    let mut signals = Signals::new(true)?;
    tokio::select! {
        // Dropping the other future kills all processes.
        name = signals.next() => {
            text::say(format_args!("{name}: the demo was stopped"));
            Ok(Exit::Aborted)
        }
        shown = show(args, quiet) => shown.map(|()| Exit::Success),
    }
}

async fn show(args: DemoArgs, quiet: bool) -> anyhow::Result<()> {
    let files = Files::find(args.dir.as_deref())?;
    text::note(quiet, format_args!("hashing {}", files.describe()));
    let started = Instant::now();
    let tally = pipeline(&files, quiet).await?;
    let piped = started.elapsed();

    let mut out = Vec::new();
    write!(out, "{}", table::render(&tally))?;
    let started = Instant::now();
    let sequential = sequential(&files, quiet).await;
    let (digest, expected) = (tally.outcomes().digest(), sequential.digest());
    if digest != expected {
        std::io::stdout().write_all(&out).context("cannot write to stdout")?;
        bail!(
            "the results differ from those of the sequential pass: {} (a file that changed meanwhile differs too)",
            tally.outcomes().differences(&sequential)
        );
    }
    writeln!(
        out,
        "the pipeline took {}, the sequential pass (no pauses, one process) {}",
        seconds(piped.as_secs_f64()),
        seconds(started.elapsed().as_secs_f64())
    )?;
    writeln!(out, "nothing lost: {}, each counted once", count(files.paths.len() as u64, "file"))?;
    writeln!(out, "the digest {digest} equals that of the sequential pass")?;
    std::io::stdout().write_all(&out).context("cannot write to stdout")
}

/// Sends every path through the processes, kills one of them half-way, and returns the results.
async fn pipeline(files: &Files, quiet: bool) -> anyhow::Result<Tally> {
    let sink = Pull::builder().bind("tcp://127.0.0.1:0/results").name("demo-sink").build().await?;
    let results = sink.local_endpoints().pop().context("a bound puller without an endpoint")?;
    let mut processes = Processes::start(&files.paths, &results.to_string()).await?;
    let mut tally = Tally::new(&files.paths);
    let half = files.paths.len().div_ceil(2);
    let progress = ProgressDisplay::new(files.paths.len(), "piped", quiet);
    let mut killed = false;
    loop {
        tokio::select! {
            biased;
            received = sink.recv() => {
                let delivery = received?.context("the sink ended before its pushers")?;
                tally.add(&delivery)?;
                delivery.ack();
                progress.set(tally.outcomes().len());
                if !killed && tally.outcomes().len() >= half {
                    killed = true;
                    let name = processes.kill_one().await?;
                    tally.killed(name);
                    progress.say(&format!(
                        "killed {name} (SIGKILL) after {} of {}",
                        tally.outcomes().len(),
                        count(files.paths.len() as u64, "result")
                    ));
                }
            }
            // The daemon exits when every path is acked, and a path is acked after its result: no result can
            // follow.
            ended = processes.push_ended() => {
                ended?;
                break;
            }
            () = tokio::time::sleep(MAX_STALL) => {
                bail!(
                    "no result arrived for {}; {} of {} have arrived",
                    seconds(MAX_STALL.as_secs_f64()),
                    tally.outcomes().len(),
                    files.paths.len()
                );
            }
        }
    }
    progress.finish();
    processes.finish().await?;
    tally.check()?;
    Ok(tally)
}

/// Hashes every file, one after another, in this process.
async fn sequential(files: &Files, quiet: bool) -> FileResults {
    let progress = ProgressDisplay::new(files.paths.len(), "hashed again, one after another", quiet);
    let mut outcomes = FileResults::default();
    for path in &files.paths {
        outcomes.insert(path, FileResult::of(path).await);
        progress.set(outcomes.len());
    }
    progress.finish();
    outcomes
}
