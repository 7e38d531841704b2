//! `tidegate pull`: messages to stdout, to a file, to commands or to workers.

mod answer;
mod child;
mod envelope;
mod exec;
mod job_result;
mod jobs;
mod lines;
mod output;
mod process;
mod separators;
mod shortage;
mod sink;
mod source;
mod stopper;
mod tee;
mod worker;

use std::sync::Arc;
use std::time::Instant;

use tidegate::{Pull, Window};

use crate::args::{PullArgs, SeparatorInPayload};
use crate::exit::Exit;
use crate::reload::{Reload, Reopen};
use crate::socket::{Access, with_socket_options};
use crate::summary::PullSummary;
use crate::{reaper, socket, text};
use envelope::Rendering;
use exec::Exec;
use jobs::Jobs;
use output::Output;
use separators::Separators;
use shortage::Shortage;
use source::Source;
use stopper::Stopper;
use worker::Worker;

/// Maximum size of the messages that wait for all commands or workers together, in bytes. Their number is
/// limited separately.
const JOBS_BUDGET: u64 = 64 << 20;

/// Runs the daemon to its end.
///
/// # Errors
/// If it cannot start. Later failures are reported at once, and make the exit code 1.
pub(crate) async fn run(args: PullArgs, quiet: bool) -> anyhow::Result<Exit> {
    let output_file = args.output.as_deref().filter(|path| !output::is_stdout(path));
    let reloads = socket::reads_files(&args.socket) || output_file.is_some();
    let mut stopper = Stopper::new(args.linger, quiet, !reloads)?;
    let reload = Reload::new(reloads)?;
    let rendering = Rendering { json: args.json, framing: args.framing.framing() };
    let mut jobs = jobs(&args, rendering)?;
    let output = match &jobs {
        Some(_) => None,
        None => tokio::select! {
            biased;
            opened = Output::open(output_file, rendering.framing, quiet) => Some(opened?),
            // A named pipe may have no reader for a long time.
            () = stopper.requested() => return Ok(Exit::Success),
        },
    };
    let separators = Separators::new(args.separator_in_payload.unwrap_or(SeparatorInPayload::Warn));
    reaper::start();

    let access = tokio::select! {
        access = Access::read(&args.socket, quiet) => access?,
        () = stopper.requested() => return Ok(Exit::Success),
    };
    // Resolving names may take long.
    let pull = tokio::select! {
        built = build(&args, &access) => built?,
        () = stopper.requested() => return Ok(Exit::Success),
    };
    let reloading = pull.clone();
    let reopen = output.as_ref().and_then(Output::reopen).into_iter().collect::<Vec<Reopen>>();
    reload.watch(access, move |tokens| reloading.set_tokens(tokens), reopen, quiet);
    socket::announce(&pull.local_endpoints(), quiet);
    let started = Instant::now();
    let mut source = Source::new(&pull, &args);
    let stopped = match (&mut jobs, &output) {
        (Some(jobs), _) => jobs.run(&mut source, &mut stopper, args.count).await,
        (None, Some(output)) => {
            sink::run(output, rendering, &separators, &mut source, &mut stopper, args.count).await
        }
        (None, None) => Ok(None),
    };
    let (given_up, mut failed) = match stopped {
        Ok(given_up) => (given_up, false),
        Err(error) => {
            // Reported at once, because stopping may take a while.
            report(&error);
            (None, true)
        }
    };
    let mut exit = match given_up {
        Some(exit) => exit,
        None => jobs::wind_up(&pull, &mut stopper, jobs.as_mut()).await.unwrap_or_else(|error| {
            if !failed {
                report(&error);
            }
            failed = true;
            Exit::Error
        }),
    };
    if let Some(jobs) = &mut jobs {
        jobs.kill().await;
    }

    let stats = pull.stats();
    if exit == Exit::Success && stats.rejected > 0 {
        exit = Exit::Rejected;
    }
    if failed {
        exit = Exit::Error;
    }
    PullSummary {
        received: stats.received,
        acked: stats.acked,
        nacked: stats.nacked,
        rejected: stats.rejected,
        released: stats.released,
        dropped: stats.dropped,
        redelivered: stats.redelivered,
        repeats: stats.duplicates_suppressed,
        seconds: started.elapsed().as_secs_f64(),
        exit: exit.code(),
    }
    .say(args.json, quiet);
    Ok(exit)
}

fn report(error: &anyhow::Error) {
    text::say(format_args!("error: {}", text::causes(error)));
}

fn jobs(args: &PullArgs, rendering: Rendering) -> anyhow::Result<Option<Jobs>> {
    let jobs = args.jobs();
    let shortage = Arc::new(Shortage::new(jobs));
    if let Some(command) = &args.exec {
        let exec = Exec::new(command, rendering, jobs, args.timeout, Arc::clone(&shortage))?;
        return Ok(Some(Jobs::exec(Arc::new(exec), jobs, shortage)));
    }
    Ok(args.worker.as_ref().map(|command| {
        let worker = Worker::new(command, rendering, args.timeout, Arc::clone(&shortage));
        Jobs::worker(Arc::new(worker), jobs, shortage)
    }))
}

async fn build(args: &PullArgs, access: &Access) -> anyhow::Result<Pull> {
    let mut builder = with_socket_options!(Pull::builder().keep(args.keep), &args.socket, access);
    if let Some(n) = args.expect {
        builder = builder.expect(n as usize);
    }
    builder = builder.memory(args.memory);
    if let Some(messages) = args.window {
        builder = builder.window(Window::messages(messages));
    } else if args.exec.is_some() || args.worker.is_some() {
        // No more credit than the jobs can use: messages that wait here could be processed elsewhere.
        let jobs = u64::from(args.jobs());
        builder = builder.window(Window::messages(jobs)).budget(jobs, JOBS_BUDGET);
    }
    Ok(builder.build().await?)
}
