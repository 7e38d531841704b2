//! Daemons that run out of a resource: disk space, a reader of their output, file descriptors.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, Read},
    net::TcpStream,
    process::Command,
    time::Duration,
};

use tidegate_tests::{
    chaos::{Account, Disk, Fleet, Sighting, records},
    daemons::{by, code, numbers, push, sorted, summary, tidegate},
    process::Process,
};

#[test]
fn a_full_disk_ends_a_puller_that_acked_only_the_messages_written() {
    // OC-1: an ack means processed
    const COUNT: usize = 2_000;
    let Some(disk) = Disk::new(64) else { return };
    let (mut push, at) = push(2, &["--json"]);
    let mut fleet = Fleet::default();
    fleet.pull(&at, &["--window", "20"]);
    let path = disk.path("out").display().to_string();
    let args = ["pull", "--connect", &at, "--json", "--window", "20", "--output", &path];
    let mut full = by(&disk.starter(), &args);
    push.feed(records(0..COUNT));
    let error = full.line_with("error: ").unwrap();
    assert!(error.contains(&format!("cannot write to --output {path}")), "{error}");
    assert!(error.contains("No space left on device"), "{error}");
    assert_eq!(code(&mut full), 1);
    let its_own = summary(&mut full);
    let content = disk.content("out").unwrap();
    assert!(content.ends_with('\n'), "an incomplete record would be joined with the next one");
    let on_disk: Vec<_> = content.lines().map(|line| Sighting::read(9, line).unwrap()).collect();
    fleet.see_the_rest();
    let elsewhere: BTreeSet<_> = fleet.account.by(0).map(|s| s.number).collect();
    on_disk.iter().cloned().for_each(|sighting| fleet.account.note(sighting));
    fleet.account.complete(COUNT);
    let acked = its_own["acked"].as_u64().unwrap() as usize;
    assert_eq!(acked + elsewhere.len(), COUNT, "each message is acked by one puller: {its_own}");
    assert!(acked > 0 && acked == on_disk.len(), "{acked} acked, {} written", on_disk.len());
    let sum = summary(&mut push);
    assert_eq!((&sum["acked"], &sum["nacked"]), (&COUNT.into(), &its_own["nacked"]), "{sum}");
    let again = fleet.account.again().map(|s| s.by).collect::<Vec<_>>();
    assert!(
        !again.is_empty() && again.iter().all(|&by| by == 0),
        "the other puller gets the rest: {again:?}"
    );
    assert!(code(&mut push) == 0 && code(&mut fleet.pulls[0]) == 0);
}

#[test]
fn a_closed_output_pipe_ends_a_puller_and_unwritten_messages_go_to_another() {
    // OC-1
    const COUNT: usize = 20_000;
    let (mut push, at) = push(2, &["--json"]);
    let mut fleet = Fleet::default();
    fleet.pull(&at, &["--window", "20"]);
    let mut left = tidegate(&["pull", "--connect", &at, "--json", "--window", "20"]);
    let mut output = left.stdout().unwrap();
    push.feed(numbers(COUNT));
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    drop(output);
    let error = left.line_with("error: ").unwrap();
    assert!(error.contains("cannot write to stdout") && error.contains("Broken pipe"), "{error}");
    assert_eq!(code(&mut left), 1);
    fleet.see_the_rest();
    // Output that the reader had not read when it closed the pipe was written and acked: a writer cannot know more.
    let its_own = summary(&mut left);
    let acked = its_own["acked"].as_u64().unwrap() as usize;
    assert_eq!(acked + fleet.account.by(0).count(), COUNT, "{its_own}");
    assert_eq!(fleet.account.distinct(), COUNT - acked);
    let sum = summary(&mut push);
    assert_eq!((&sum["acked"], &sum["nacked"]), (&COUNT.into(), &its_own["nacked"]), "{sum}");
    assert!(code(&mut push) == 0 && code(&mut fleet.pulls[0]) == 0);
}

#[test]
fn a_dead_letter_file_on_a_full_disk_ends_the_pusher_and_loses_no_message() {
    // OC-9
    const COUNT: usize = 100;
    let dir = tempfile::tempdir().unwrap();
    let unsent = dir.path().join("unsent");
    let args = ["--json", "--dead-letter", "/dev/full", "--unsent", unsent.to_str().unwrap()];
    let (mut push, at) = push(1, &args);
    let worker =
        r#"while read n; do case $n in *7) echo "reject odd" ;; *) echo "$n" >&2; echo ok ;; esac; done"#;
    let mut pull = tidegate(&["pull", "--connect", &at, "--worker", worker, "--connect-timeout", "1min"]);
    push.feed(numbers(COUNT));
    let error = push.line_with("--dead-letter /dev/full").unwrap();
    assert!(error.contains("No space left on device"), "{error}");
    assert_eq!(code(&mut push), 1);
    let sum = summary(&mut push);
    let kept = sorted(&[fs::read_to_string(unsent).unwrap()]);
    assert_eq!(
        sum["acked"].as_u64().unwrap() as usize + kept.len(),
        COUNT,
        "each message is acked or kept: {sum}, {kept:?}"
    );
    pull.signal("TERM").unwrap();
    pull.exit().unwrap();
}

#[test]
fn a_puller_with_a_log_on_a_full_disk_still_reconnects() {
    let (mut first, at) = push(1, &[]);
    let onto_a_full_disk = ["sh", "-c", r#"exec "$@" 2>/dev/full"#, "sh"];
    let mut pull = by(&onto_a_full_disk, &["pull", "--connect", &at, "-vvv"]);
    let mut output = pull.stdout().unwrap();
    let mut line = String::new();
    first.write_line("before");
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "before\n");
    first.signal("KILL").unwrap();
    first.exit().unwrap();
    a_new_pusher_is_served(&at, &mut pull, &mut output);
}

/// A puller connects to the next pusher, and ends with it.
fn a_new_pusher_is_served(at: &str, pull: &mut Process, output: &mut impl Read) {
    let mut push = tidegate(&["push", "--bind", at]);
    push.endpoint().unwrap();
    push.feed(b"after\n".to_vec());
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(text, "after\n");
    assert_eq!((code(&mut push), code(pull)), (0, 0));
}

/// Limits the file descriptors of a process to numbers below `end`. Open files stay open.
fn limit_files(process: &Process, end: usize) {
    let status = Command::new("prlimit")
        .args(["--pid", &process.id().to_string(), &format!("--nofile={end}:")])
        .status()
        .unwrap();
    assert!(status.success());
}

/// Only the standard streams, which are open, so that no descriptor is left.
const NONE: usize = 3;
const ENOUGH: usize = 1_000;

#[test]
fn a_pusher_without_file_descriptors_keeps_its_links_and_accepts_again_when_it_has_some() {
    // HS-12, ER-1
    let (mut push, at) = push(1, &["--json", "-v"]);
    let mut fleet = Fleet::default();
    fleet.pull(&at, &[]);
    push.write_line("0");
    fleet.see(1);
    limit_files(&push, NONE);
    // A connection without a handshake, and a puller. The operating system completes both connections.
    let stranger = TcpStream::connect(at.strip_prefix("tcp://").unwrap()).unwrap();
    fleet.pull(&at, &["-v"]);
    let (mut number, mut told) = (1, Vec::new());
    let before = push.processor_time().unwrap();
    // The existing link continues while each accept fails. The 1st, 2nd, 4th, 8th and 16th failure are reported.
    while told.len() < 5 {
        for _ in 0..100 {
            push.write_line(&number.to_string());
            number += 1;
        }
        fleet.see(number);
        told.push(push.line_with("cannot accept").unwrap());
        push.forget_lines();
    }
    let used = push.processor_time().unwrap() - before;
    for (line, tries) in told.iter().zip([1, 2, 4, 8, 16]) {
        assert!(line.contains("Too many open files"), "{line}");
        assert!(line.ends_with(&format!("failed attempts: {tries}")), "{line}");
    }
    assert!(used < Duration::from_secs(2), "{used:?} for {number} messages: the accept loop spins");
    assert_eq!(fleet.account.by(1).count(), 0);
    limit_files(&push, ENOUGH);
    push.line_with("accepting again").unwrap();
    drop(stranger);
    fleet.pulls[1].line_with("is open").unwrap();
    while fleet.account.by(1).count() == 0 {
        push.write_line(&number.to_string());
        number += 1;
        fleet.see(number);
    }
    push.close_input();
    fleet.see_the_rest();
    fleet.account.complete(number);
    assert_eq!(fleet.account.again().count(), 0);
    assert_eq!(summary(&mut push)["acked"], number);
    assert!(code(&mut push) == 0 && fleet.pulls.iter_mut().all(|pull| code(pull) == 0));
}

#[test]
fn a_puller_without_file_descriptors_retries_until_it_has_one() {
    // RD-6
    let (mut first, at) = push(1, &[]);
    let mut pull = tidegate(&["pull", "--connect", &at, "-vv"]);
    let mut output = pull.stdout().unwrap();
    first.write_line("before");
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "before\n");
    limit_files(&pull, NONE);
    first.signal("TERM").unwrap();
    assert_eq!(code(&mut first), 4, "its input had not ended");
    pull.line_with("Too many open files").unwrap();
    limit_files(&pull, ENOUGH);
    a_new_pusher_is_served(&at, &mut pull, &mut output);
}

#[test]
fn commands_wait_for_file_descriptors_and_no_attempt_is_counted() {
    // OC-8
    const COUNT: usize = 50;
    let (mut push, at) = push(1, &["--json"]);
    let mut poor = tidegate(&["pull", "--connect", &at, "--exec", "cat", "--json"]);
    push.write_line("0");
    let mut line = String::new();
    let mut output = poor.stdout().unwrap();
    output.read_line(&mut line).unwrap();
    limit_files(&poor, NONE);
    for number in 1..COUNT {
        push.write_line(&number.to_string());
    }
    push.close_input();
    let told = poor.line_with("cannot start --exec cat").unwrap();
    assert!(told.contains("Too many open files") && told.contains("--jobs 1"), "{told}");
    limit_files(&poor, ENOUGH);
    let mut account = Account::default();
    account.note(Sighting::read(0, &line).unwrap());
    for line in output.lines() {
        account.note(Sighting::read(0, &line.unwrap()).unwrap());
    }
    account.complete(COUNT);
    assert_eq!(account.again().count(), 0, "an attempt was counted in vain");
    assert_eq!(summary(&mut push)["acked"], COUNT);
    assert_eq!((code(&mut push), code(&mut poor)), (0, 0));
}
