//! Runs the examples as a reader would, and expects them to succeed.

use std::{
    env,
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// Long enough for a machine that is busy with something else.
const TOO_LONG: Duration = Duration::from_secs(60);

/// An example that runs; killed when the test is over, whatever happened.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(example: &str, arguments: &[&str]) -> (Running, BufReader<ChildStdout>) {
    // Cargo builds the examples next to the directory of this test.
    let here = env::current_exe().unwrap();
    let directory: PathBuf = here.ancestors().nth(2).unwrap().join("examples");
    let mut command = Command::new(directory.join(example));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| {
        panic!("{example}: {error}; `cargo test -p tidegate-examples` builds the examples first")
    });
    let output = BufReader::new(child.stdout.take().unwrap());
    (Running(child), output)
}

/// What the example printed from here on, once it has succeeded.
fn end(mut example: Running, mut output: BufReader<ChildStdout>) -> String {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        let read = output.read_to_string(&mut text);
        let _ = sender.send(read.map(|_| text));
    });
    let text = receiver.recv_timeout(TOO_LONG).expect("the example hangs").unwrap();
    let status = example.0.wait().unwrap();
    assert!(status.success(), "{status}: {text}");
    text
}

fn run(example: &str) -> String {
    let (running, output) = start(example, &[]);
    end(running, output)
}

#[test]
fn tracked_send_tells_outcomes() {
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
fn a_pusher_and_two_workers_do_everything_once() {
    let (pusher, mut output) = start("pusher", &["tcp://127.0.0.1:0"]);
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let endpoint = line.trim().strip_prefix("listening on ").expect(&line).to_owned();
    let workers = ["worker"; 2].map(|example| start(example, &[&endpoint]));
    let text = end(pusher, output);
    assert!(text.contains("1000 accepted, 1000 acked, 0 rejected"), "{text}");
    let acked = workers.map(|(worker, output)| {
        let text = end(worker, output);
        text.split(' ').next().and_then(|number| number.parse::<u32>().ok()).unwrap_or_default()
    });
    assert_eq!(acked.iter().sum::<u32>(), 1000, "{acked:?}");
}
