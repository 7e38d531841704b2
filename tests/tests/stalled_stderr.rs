//! A log that is not read loses lines, and has no other effect.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

use tidegate_tests::daemons::{code, command, line, numbers, push, sorted, summary, tidegate};
use tidegate_tests::process::{LONG, Process};

/// The capacity of a pipe.
const PIPE: usize = 65_536;

/// A standard error that is full already, and its other end.
fn full_pipe() -> (Stdio, impl Read) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&vec![b'.'; PIPE]).unwrap();
    (writer.into(), reader)
}

/// A daemon whose standard error is full, killed at the end.
struct Stalled(Child);

impl Stalled {
    fn start(args: &[&str], stderr: Stdio) -> Self {
        let mut command: Command = command(&[], args);
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr).spawn();
        Self(started.unwrap())
    }

    fn terminate(&mut self) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_puller_whose_log_is_not_read_continues_and_obeys_signals() {
    let (mut push, at) = push(1, &["--json"]);
    let (stderr, _unread) = full_pipe();
    // This logs a line for each failure, among others.
    let fails_once = r#"read -r n; [ "$TIDEGATE_ATTEMPT" -gt 1 ] && echo "$n""#;
    let args = ["pull", "-vvv", "--connect", &at, "--exec", fails_once];
    let mut pull = Stalled::start(&args, stderr);
    (0..20).for_each(|n| push.write_line(&n.to_string()));
    let mut output = BufReader::new(pull.0.stdout.take().unwrap());
    let lines: Vec<String> = (0..20).map(|_| line(&mut output)).collect();
    assert_eq!(sorted(&lines), (0..20).collect::<Vec<_>>());
    pull.terminate();
    assert_eq!(pull.0.wait().unwrap().code(), Some(0));
    push.close_input();
    assert_eq!(code(&mut push), 0);
}

#[test]
fn a_pusher_whose_log_is_not_read_sends_everything_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let at = format!("unix://{}", dir.path().join("work").display());
    let (stderr, mut unread) = full_pipe();
    let mut push = Stalled::start(&["push", "-vvv", "--bind", &at], stderr);
    let mut stdin = push.0.stdin.take().unwrap();
    let feeding = thread::spawn(move || stdin.write_all(&numbers(2_000)));
    let mut pull = tidegate(&["pull", "--connect", &at]);
    assert_eq!(pull.output().unwrap().as_bytes(), numbers(2_000));
    feeding.join().unwrap().unwrap();
    assert_eq!((push.0.wait().unwrap().code(), code(&mut pull)), (Some(0), 0));
    // Lines that were not read in time are lost, and the other lines are intact.
    let mut text = String::new();
    unread.read_to_string(&mut text).unwrap();
    assert!(text.bytes().take(PIPE).all(|byte| byte == b'.'));
}

#[test]
fn a_late_reader_of_the_log_gets_it_with_the_summary() {
    let dir = tempfile::tempdir().unwrap();
    let at = format!("unix://{}", dir.path().join("work").display());
    let (stderr, mut late) = full_pipe();
    let mut push = Stalled::start(&["push", "--bind", &at], stderr);
    let mut stdin = push.0.stdin.take().unwrap();
    let mut pull = tidegate(&["pull", "--connect", &at]);
    let mut output = pull.stdout().unwrap();
    stdin.write_all(b"1\n").unwrap();
    assert_eq!(line(&mut output), "1");
    let reading = thread::spawn(move || {
        let mut text = Vec::new();
        late.read_to_end(&mut text).unwrap();
        String::from_utf8(text.split_off(PIPE)).unwrap()
    });
    drop(stdin);
    assert_eq!(push.0.wait().unwrap().code(), Some(0));
    let text = reading.join().unwrap();
    assert!(text.contains(&format!("listening on {at}\n")) && text.contains("1 acked"), "{text}");
}

#[test]
fn what_was_dropped_is_counted_in_the_log_where_it_is_missing() {
    /// More than the daemon keeps for a reader, which is 1 MiB.
    const WRITTEN: usize = 3_000_000;
    /// The daemon passes the stderr of a command on in parts of this size at most, and each counts as a line.
    const MAX_PART: usize = 8_192;
    let (mut push, at) = push(1, &[]);
    let (stderr, late) = full_pipe();
    let command = format!("read -r n; [ $n = 2 ] || yes | head -c {WRITTEN} >&2; echo $n");
    let mut pull = Stalled::start(&["pull", "--connect", &at, "--exec", &command], stderr);
    let mut output = BufReader::new(pull.0.stdout.take().unwrap());
    push.write(b"1\n2\n");
    // The second command starts when all that the first one has written to stderr is passed on.
    assert_eq!([line(&mut output), line(&mut output)], ["1", "2"]);
    let (counted, count) = mpsc::channel();
    thread::spawn(move || {
        let mut kept = 0;
        let dropped = BufReader::new(late).lines().map(Result::unwrap).find_map(|line| {
            kept += line.len() + 1;
            let count = line.strip_suffix(" lines dropped here because stderr was not read")?;
            count.rsplit(' ').next()?.replace(',', "").parse::<usize>().ok()
        });
        counted.send((kept, dropped.unwrap())).unwrap();
    });
    let (kept, dropped) = count.recv_timeout(LONG).expect("the log has no count");
    assert!(kept - PIPE + dropped * MAX_PART >= WRITTEN, "{kept} bytes were kept, {dropped} parts dropped");
    assert!(kept < WRITTEN, "{kept} bytes were kept");
}

#[test]
fn a_log_in_a_non_blocking_pipe_is_written_completely() {
    // Another process has set the pipe to non-blocking mode. The rest of a partial write has to be written later.
    let dir = tempfile::tempdir().unwrap();
    let at = format!("unix://{}", dir.path().join("work").display());
    let mut starter = Command::new("python3");
    starter
        .args(["-c", "import os,sys; os.set_blocking(2, False); os.execv(sys.argv[1], sys.argv[1:])"])
        .arg(std::env::var_os("CARGO_BIN_EXE_tidegate-under-test").unwrap())
        .args(["push", "--bind", &at, "--json"]);
    let mut push = Process::spawn(starter.stdin(Stdio::piped()).stdout(Stdio::null())).unwrap();
    push.endpoint().unwrap();
    let mut pull = tidegate(&["pull", "--connect", &at]);
    push.feed(numbers(10));
    assert_eq!(pull.output().unwrap().as_bytes(), numbers(10));
    assert_eq!((code(&mut push), code(&mut pull)), (0, 0));
    push.line_with("\"acked\":10").unwrap();
}

#[test]
fn a_background_process_that_writes_to_stderr_without_end_does_not_hold_its_message() {
    let (mut push, at) = push(1, &["--json"]);
    let mut pull = tidegate(&["pull", "--connect", &at, "--exec", "(timeout 30 yes >&2) & true"]);
    let begun = std::time::Instant::now();
    push.feed(numbers(1));
    assert_eq!((code(&mut push), code(&mut pull)), (0, 0));
    assert!(begun.elapsed().as_secs() < 25);
    assert_eq!(summary(&mut push)["acked"], 1);
}
