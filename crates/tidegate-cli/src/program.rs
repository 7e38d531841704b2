//! What the `main` of a program needs: the log, a runtime, and the exit code.

use std::future::Future;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::args::Verbosity;
use crate::exit::Exit;
use crate::{log, stderr, text};

/// Starts the log, does the work, prints its error, and returns the exit code.
pub fn run(verbosity: Verbosity, work: impl FnOnce() -> anyhow::Result<Exit>) -> ExitCode {
    let exit = log::start(verbosity).and_then(|()| work()).unwrap_or_else(|error| {
        text::say(format_args!("error: {}", text::causes(&error)));
        Exit::Error
    });
    stderr::finish();
    exit.into()
}

/// Runs a future on a runtime with one thread.
///
/// # Errors
/// Those of the future, or if the runtime cannot be started.
pub fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    run_on(&mut tokio::runtime::Builder::new_current_thread(), work)
}

/// Runs a future on a runtime with `threads` threads.
pub(crate) fn on_threads<T>(
    threads: u16,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    if threads == 1 {
        return block_on(work);
    }
    run_on(tokio::runtime::Builder::new_multi_thread().worker_threads(threads.into()), work)
}

/// Runs a future as [`block_on`] does. With busy polling, the runtime checks its sockets after every task.
pub(crate) fn polling<T>(busy_poll: u64, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    if busy_poll == 0 {
        return block_on(work);
    }
    run_on(tokio::runtime::Builder::new_current_thread().event_interval(1), work)
}

fn run_on<T>(
    builder: &mut tokio::runtime::Builder,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let runtime = builder.enable_all().build().context("cannot start the runtime")?;
    let result = runtime.block_on(work);
    // A thread that is stuck in a read or a write must not keep the process alive.
    runtime.shutdown_background();
    result
}
