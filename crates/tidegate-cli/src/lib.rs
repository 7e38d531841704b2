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
mod program;
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

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};

use crate::args::{Cli, Command};
use crate::exit::Exit;
use crate::program::{block_on, polling};

/// What the program of `crates/tidegate-bench` shares with this command.
#[doc(hidden)]
pub mod shared {
    pub use crate::args::values::{duration, size};
    pub use crate::args::{LoadArgs, TuneArgs, Verbosity, window};
    pub use crate::bench::{
        BenchProcess, Rate, Side, Usage, clock, flow_rate, resident, show, tcp_rate, tell, window_text,
        window_value,
    };
    pub use crate::exit::Exit;
    pub use crate::numbers::thousands;
    pub use crate::own::serve;
    pub use crate::program::{block_on, run};
}

/// Runs the command line of this process and returns its exit code.
///
/// A program that calls this as its `main` is a complete `tidegate`: subcommands that need further processes
/// start the running program again.
#[must_use]
pub fn main() -> ExitCode {
    if let Some(code) = own::serve(internal::run) {
        return code;
    }
    let cli = Cli::parse();
    if let Err(wrong) = cli.check() {
        Cli::command().error(ErrorKind::ValueValidation, wrong).exit();
    }
    program::run(cli.verbosity, || run(cli))
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
