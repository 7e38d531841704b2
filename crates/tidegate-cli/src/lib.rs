//! The `tidegate` command: push and pull daemons, benchmarks and a demo.
//!
//! There is one file for each subcommand and each concern. Data goes to stdout, and all messages for the user
//! go to stderr. `exit.rs` has the exit codes. Every daemon runs on a runtime with one thread, which is the
//! fastest for this work.
//!
//! It needs a Unix system. Linux is tested; macOS is built.

#![forbid(unsafe_code)]

#[cfg(not(unix))]
compile_error!("tidegate-cli needs a Unix system: it uses process groups, signals and file descriptors");

mod append;
mod args;
mod bench;
mod completions;
mod connecting;
mod demo;
mod exit;
mod internal;
mod limits;
mod log;
mod man;
mod numbers;
mod own;
mod pull;
mod push;
mod ready;
mod reaper;
#[doc(hidden)] // for the fuzzer
pub mod records;
mod reload;
mod signals;
mod socket;
mod stderr;
mod stdio;
mod summary;
mod text;
mod throttle;
mod timer;
mod token_file;

use std::future::Future;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};

use crate::args::{Cli, Command};
use crate::exit::Exit;

/// Runs the command line of this process and returns its exit code.
///
/// A program that calls this as its `main` is a complete `tidegate`: subcommands that need further processes
/// start the running program again.
#[must_use]
pub fn main() -> ExitCode {
    if internal::is_asked_for() {
        return internal::main();
    }
    let cli = Cli::parse();
    if let Err(wrong) = cli.check() {
        Cli::command().error(ErrorKind::ValueValidation, wrong).exit();
    }
    if let Err(error) = log::start(cli.verbosity) {
        return failed(&error);
    }
    match run(cli) {
        Ok(exit) => ended(exit),
        Err(error) => failed(&error),
    }
}

fn run(cli: Cli) -> anyhow::Result<Exit> {
    let quiet = cli.verbosity.quiet;
    if matches!(cli.command, Command::Push(_) | Command::Pull(_)) {
        limits::raise();
    }
    match cli.command {
        Command::Push(args) => block_on(push::run(*args, quiet)),
        Command::Pull(args) => block_on(pull::run(*args, quiet)),
        Command::Bench(args) => polling(args.busy_poll(), bench::run(args)),
        Command::Demo(args) => block_on(demo::run(args, quiet)),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    }
}

/// Runs a future on a runtime with one thread.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(work);
    // A thread that is stuck in a read or a write must not keep the process alive.
    runtime.shutdown_background();
    result
}

/// Runs a future on a runtime with `threads` threads.
fn on_threads<T>(threads: u16, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    if threads == 1 {
        return block_on(work);
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime =
        builder.worker_threads(threads.into()).enable_all().build().context("cannot start the runtime")?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}

/// Runs a future as [`block_on`] does. With busy polling, the runtime checks its sockets after every task.
fn polling<T>(busy_poll: u64, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    if busy_poll == 0 {
        return block_on(work);
    }
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.event_interval(1).enable_all().build().context("cannot start the runtime")?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}

fn failed(error: &anyhow::Error) -> ExitCode {
    text::say(format_args!("error: {}", text::causes(error)));
    ended(Exit::Error)
}

/// Writes out stderr and returns the exit code.
fn ended(exit: Exit) -> ExitCode {
    stderr::finish();
    exit.into()
}
