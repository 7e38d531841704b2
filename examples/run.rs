//! Runs the examples as a reader would, and expects them to succeed.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may panic at the first failure"
)]

use std::{
    env,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// The time limit for a line, long enough for a busy machine.
const MAX_TIME: Duration = Duration::from_secs(60);

/// A running example. It is killed at the end of the test, whatever the result.
struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Running {
    fn start(example: &str, arguments: &[&str]) -> Self {
        // Cargo builds the examples next to the directory of this test.
        let here = env::current_exe().unwrap();
        let directory: PathBuf = here.ancestors().nth(2).unwrap().join("examples");
        let mut command = Command::new(directory.join(example));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!("{example}: {error}; `cargo test -p tidegate-examples` builds the examples first")
        });
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// The next line of its output; `None` after its end.
    fn line(&self) -> Option<String> {
        match self.lines.recv_timeout(MAX_TIME) {
            Ok(line) => Some(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("the example hangs"),
        }
    }

    /// The rest of its output, after it has exited with success.
    fn end(mut self) -> String {
        let mut text = String::new();
        while let Some(line) = self.line() {
            text += &line;
            text.push('\n');
        }
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {text}");
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(example: &str) -> String {
    Running::start(example, &[]).end()
}

#[test]
fn tracked_send_prints_outcomes() {
    let text = run("tracked_send");
    assert!(text.contains("3 apples: processed\n"), "{text}");
    assert!(text.contains("-1 pears: ") && text.contains("the number is negative"), "{text}");
    assert!(text.contains("100 more: processed\n"), "{text}");
}

#[test]
fn drain_loses_nothing() {
    let text = run("drain");
    assert!(text.contains("out of time: "), "{text}");
    assert!(text.contains("the worker has done 20 of 20 jobs\n"), "{text}");
}

#[test]
fn many_workers_share_the_work() {
    let text = run("many_workers");
    assert_eq!(text.matches("a worker did ").count(), 8, "{text}");
    assert!(text.contains("3000 jobs in all\n"), "{text}");
}

#[test]
fn blocking_needs_no_async() {
    let text = run("blocking");
    assert!(text.contains("the last job is done\n"), "{text}");
    assert!(text.contains("20 sent, 20 acked\n"), "{text}");
    assert_eq!(text.matches("job ").count(), 20 + 1, "each job once: {text}");
    assert_eq!(text.matches("a worker did ").count(), 2, "{text}");
}

#[test]
fn a_pusher_and_two_workers_process_each_job_once() {
    let pusher = Running::start("pusher", &["tcp://127.0.0.1:0"]);
    let line = pusher.line().unwrap();
    let endpoint = line.strip_prefix("listening on ").expect(&line);
    let workers = ["worker"; 2].map(|example| Running::start(example, &[endpoint]));
    let text = pusher.end();
    assert!(text.contains("1000 accepted, 1000 acked, 0 rejected"), "{text}");
    let acked = workers.map(|worker| {
        let text = worker.end();
        text.split(' ').next().and_then(|number| number.parse::<u32>().ok()).unwrap_or_default()
    });
    assert_eq!(acked.iter().sum::<u32>(), 1000, "{acked:?}");
}
