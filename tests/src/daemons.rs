//! Starts the `tidegate` command, and produces and reads its input and output.

// Only tests use this module, and a test may panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)]

use std::{
    fs,
    io::BufRead,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use crate::process::{LONG, Process};

/// Starts `tidegate` with these arguments, all three standard streams piped.
#[must_use]
pub fn tidegate(args: &[&str]) -> Process {
    by(&[], args)
}

/// Like [`tidegate()`], but through a program that execs it, such as `["ip", "netns", "exec", "name"]`.
#[must_use]
pub fn by(starter: &[&str], args: &[&str]) -> Process {
    Process::spawn(command(starter, args).stdin(Stdio::piped()).stdout(Stdio::piped())).unwrap()
}

/// The command that [`by`] starts, for a test that changes it further.
#[must_use]
pub fn command(starter: &[&str], args: &[&str]) -> Command {
    // Cargo sets this variable only when it runs tests of this package.
    let program = std::env::var_os("CARGO_BIN_EXE_tidegate-under-test").expect("cargo runs this test");
    let Some((first, more)) = starter.split_first() else {
        let mut command = Command::new(program);
        command.args(args);
        return command;
    };
    let mut command = Command::new(first);
    command.args(more).arg(program).args(args);
    command
}

/// Starts a pusher that waits for `pullers` pullers, and returns it with its endpoint.
#[must_use]
pub fn push(pullers: usize, more: &[&str]) -> (Process, String) {
    let expect = pullers.to_string();
    let args = [&["push", "--bind", "tcp://127.0.0.1:0", "--expect", &expect], more].concat();
    let mut push = tidegate(&args);
    let at = push.endpoint().unwrap();
    (push, at)
}

/// Makes a named pipe.
pub fn make_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Waits until the file has exactly this content.
pub fn wait_for(path: &Path, content: &[u8]) {
    let until = Instant::now() + LONG;
    while fs::read(path).unwrap_or_default() != content {
        let now = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(Instant::now() < until, "{now:?}");
        std::thread::yield_now();
    }
}

/// The numbers below `count`, one per line.
#[must_use]
pub fn numbers(count: usize) -> Vec<u8> {
    (0..count).map(|i| format!("{i}\n")).collect::<String>().into_bytes()
}

/// The numbers in the lines of all these texts, sorted.
#[must_use]
pub fn sorted(texts: &[String]) -> Vec<usize> {
    let mut all: Vec<usize> = texts.iter().flat_map(|t| t.lines()).map(|l| l.parse().unwrap()).collect();
    all.sort_unstable();
    all
}

/// The next line, without its line end.
pub fn line(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// Waits for the process to exit and returns its exit code.
pub fn code(process: &mut Process) -> i32 {
    process.exit().unwrap().code().expect("it ended without a signal")
}

/// The summary that the process prints at exit with `--json`.
#[must_use]
pub fn summary(process: &mut Process) -> serde_json::Value {
    serde_json::from_str(&process.line_with("\"seconds\":").unwrap()).unwrap()
}
