//! The dead letters of a pusher: a rejected message is in exactly one file, even if nobody reads that file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
    time::Instant,
};

use tidegate_proto::{
    Role,
    wire::{Body, v1::Verdict},
};
use tidegate_tests::{
    daemons::{by, code, make_fifo, numbers, push, summary, tidegate, wait_for},
    hostile::raw::{Raw, ack, address, hello, outcome},
    process::LONG,
};

/// The number of rejections that `push -v` lists per second.
const MAX_LISTED: u64 = 20;

/// A named pipe that is open for reading and not read, so it is full after 64 KiB. It ends when its writer exits.
fn unread_fifo(path: &Path) -> File {
    make_fifo(path);
    let _both = File::options().read(true).write(true).open(path).unwrap();
    File::open(path).unwrap()
}

/// Waits until the file has this last line.
fn wait_for_line(path: &Path, last: &str) {
    let until = Instant::now() + LONG;
    loop {
        let now = fs::read_to_string(path).unwrap_or_default();
        if now.lines().any(|line| line == last) {
            return;
        }
        assert!(Instant::now() < until, "{} lines, and the last one is missing", now.lines().count());
        std::thread::yield_now();
    }
}

#[test]
fn a_moved_dead_letter_file_is_created_again_at_a_signal() {
    let dir = tempfile::tempdir().unwrap();
    let (dead, moved) = (dir.path().join("dead"), dir.path().join("dead.1"));
    let (mut push, at) = push(1, &["--dead-letter", dead.to_str().unwrap()]);
    let mut pull = tidegate(&["pull", "--connect", &at, "--exec", "exit 65"]);
    push.write_line("1");
    wait_for(&dead, b"1\n");
    for (word, signal) in [("2", "HUP"), ("3", "USR1")] {
        fs::rename(&dead, &moved).unwrap();
        push.signal(signal).unwrap();
        push.line_with_all(&[&format!("SIG{signal}"), "reopened --dead-letter"]).unwrap();
        push.write_line(word);
        wait_for(&dead, format!("{word}\n").as_bytes());
    }
    fs::remove_file(&dead).unwrap();
    push.write_line("4");
    wait_for(&dead, b"4\n");
    push.close_input();
    assert_eq!(code(&mut push), 3);
    pull.exit().unwrap();
}

#[test]
fn a_pusher_ends_although_its_dead_letters_are_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let (fifo, unsent) = (dir.path().join("fifo"), dir.path().join("unsent"));
    make_fifo(&fifo);
    // Open for reading, and never read, so it is full after 64 KiB.
    let mut unread = File::options().read(true).write(true).open(&fifo).unwrap();
    let more = ["--dead-letter", fifo.to_str().unwrap(), "--unsent", unsent.to_str().unwrap()];
    let (mut push, at) = push(1, &more);
    let mut pull = tidegate(&["pull", "--connect", &at, "--worker", "sed -u 's/.*/reject no/'"]);
    let record = "x".repeat(999) + "\n";
    push.feed(record.repeat(100).into_bytes());
    // The rest waits, so the pusher ends only after two signals.
    pull.exit().unwrap();
    push.signal("TERM").unwrap();
    push.signal("INT").unwrap();
    assert_eq!(code(&mut push), 1);
    push.line_with_all(&["error", "--dead-letter"]).unwrap();
    let saved = fs::read_to_string(unsent).unwrap();
    let in_pipe = 100 - saved.lines().count();
    assert!((1..100).contains(&in_pipe));
    let mut dead = vec![0; in_pipe * record.len()];
    unread.read_exact(&mut dead).unwrap();
    assert_eq!(dead, record.repeat(in_pipe).into_bytes(), "each message is in one of the two files");
}

#[test]
fn rejected_messages_that_wait_for_a_stalled_pipe_are_saved_at_a_signal_and_a_kill_loses_none() {
    // While another message is being processed, and after everything has been settled; with an input that continues,
    // and with one that has ended.
    for (last, ends) in [("hold", false), ("reject", false), ("hold", true), ("reject", true)] {
        let dir = tempfile::tempdir().unwrap();
        let (fifo, unsent) = (dir.path().join("fifo"), dir.path().join("unsent"));
        let mut unread = unread_fifo(&fifo);
        let files = ["--dead-letter", fifo.to_str().unwrap(), "--unsent", unsent.to_str().unwrap()];
        let (mut push, at) = push(1, &[&files[..], &["--linger", "forever"]].concat());
        let worker = "while read -r x; do case $x in hold*) echo last >&2; exec sleep 60;; \
                      reject*) echo last >&2;; esac; echo reject no; done";
        let mut pull = tidegate(&["pull", "--connect", &at, "--worker", worker]);
        let mut records: Vec<String> = (0..99).map(|n| format!("{n:0999}")).collect();
        records.push(format!("{last:_<999}"));
        push.write((records.join("\n") + "\n").as_bytes());
        if ends {
            push.close_input();
        }
        pull.line_with("last").unwrap();
        push.signal("TERM").unwrap();
        push.line_with("a second signal stops at once").unwrap();
        wait_for_line(&unsent, &records[98]);
        assert!(push.is_running(), "it did not wait for --linger ({last}, {ends})");
        push.signal("KILL").unwrap();
        push.exit().unwrap();
        let saved = fs::read_to_string(&unsent).unwrap();
        let saved: Vec<_> = saved.lines().map(str::to_owned).collect();
        let mut dead = String::new();
        unread.read_to_string(&mut dead).unwrap();
        let before = dead.lines().take(100 - saved.len()).map(str::to_owned);
        let all: Vec<_> = before.chain(saved).collect();
        assert!(all == records, "{} of 100 records are in one of the two files ({last}, {ends})", all.len());
    }
}

#[test]
fn rejected_messages_that_a_pipe_accepts_later_are_not_in_unsent() {
    let dir = tempfile::tempdir().unwrap();
    let (fifo, unsent) = (dir.path().join("fifo"), dir.path().join("unsent"));
    let mut unread = unread_fifo(&fifo);
    let files = ["--dead-letter", fifo.to_str().unwrap(), "--unsent", unsent.to_str().unwrap()];
    let (mut push, at) = push(1, &[&files[..], &["--linger", "forever", "--json"]].concat());
    let worker = "while read -r x; do case $x in last*) echo last >&2;; esac; echo reject no; done";
    let mut pull = tidegate(&["pull", "--connect", &at, "--worker", worker]);
    let mut records: Vec<String> = (0..99).map(|n| format!("{n:0999}")).collect();
    records.push(format!("{:_<999}", "last"));
    push.write((records.join("\n") + "\n").as_bytes());
    pull.line_with("last").unwrap();
    push.signal("TERM").unwrap();
    wait_for_line(&unsent, &records[99]);
    let mut dead = vec![0; 100 * 1_000];
    unread.read_exact(&mut dead).unwrap();
    assert_eq!(code(&mut push), 4, "its input had not ended");
    assert!(String::from_utf8(dead).unwrap().lines().eq(&records));
    assert_eq!(fs::read_to_string(&unsent).unwrap(), "");
    let summary = summary(&mut push);
    assert_eq!((&summary["rejected"], &summary["not_sent"]), (&100.into(), &0.into()));
    pull.signal("TERM").unwrap();
}

#[test]
fn a_record_that_is_too_large_is_written_once_to_a_pipe_that_stalls_and_saved_at_a_signal() {
    let dir = tempfile::tempdir().unwrap();
    let (fifo, unsent) = (dir.path().join("fifo"), dir.path().join("unsent"));
    make_fifo(&fifo);
    let files = ["--dead-letter", fifo.to_str().unwrap(), "--unsent", unsent.to_str().unwrap()];
    let more = ["--oversized", "dead-letter", "--max-message", "1000", "--linger", "forever"];
    let args = [&["push", "--bind", "tcp://127.0.0.1:0"][..], &files, &more].concat();
    let mut push = tidegate(&args);
    let mut reader = File::open(&fifo).unwrap();
    let large = "x".repeat(300_000) + "\n";
    push.write(b"1\n");
    push.write(large.as_bytes());
    let mut dead = vec![0; 1];
    reader.read_exact(&mut dead).unwrap();
    push.signal("TERM").unwrap();
    wait_for(&unsent, format!("1\n{large}").as_bytes());
    // The record is still being written. When it has been read it is no longer saved, and it is not written a second
    // time.
    let mut rest = vec![0; large.len() - 1];
    reader.read_exact(&mut rest).unwrap();
    dead.append(&mut rest);
    wait_for(&unsent, b"1\n");
    push.signal("TERM").unwrap();
    assert_eq!(code(&mut push), 5);
    reader.read_to_end(&mut dead).unwrap();
    assert!(dead == large.as_bytes(), "{} bytes", dead.len());
    assert_eq!(fs::read_to_string(&unsent).unwrap(), "1\n");
}

#[test]
fn a_record_that_is_too_large_is_saved_at_a_signal_if_its_pipe_stalls() {
    for is_read in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let (fifo, unsent) = (dir.path().join("fifo"), dir.path().join("unsent"));
        make_fifo(&fifo);
        let files = ["--dead-letter", fifo.to_str().unwrap(), "--unsent", unsent.to_str().unwrap()];
        let more = ["--oversized", "dead-letter", "--max-message", "1000", "--linger", "forever", "--json"];
        let mut push = tidegate(&[&["push", "--bind", "tcp://127.0.0.1:0"][..], &files, &more].concat());
        let mut reader = File::open(&fifo).unwrap();
        let large = "x".repeat(300_000) + "\n";
        push.write(large.as_bytes());
        let mut dead = vec![0; 1];
        reader.read_exact(&mut dead).unwrap();
        push.signal("TERM").unwrap();
        wait_for(&unsent, large.as_bytes());
        if is_read {
            reader.read_to_end(&mut dead).unwrap();
            assert!(dead == large.as_bytes(), "{} bytes", dead.len());
        } else {
            push.signal("TERM").unwrap();
            push.line_with_all(&["error", "--dead-letter", "gave up waiting for a stalled write"]).unwrap();
        }
        assert_eq!(code(&mut push), if is_read { 4 } else { 1 });
        assert_eq!(fs::read_to_string(&unsent).unwrap(), if is_read { "" } else { &large });
        let summary = summary(&mut push);
        let counts = if is_read { (1, 0) } else { (0, 1) };
        assert_eq!((&summary["oversized"], &summary["not_sent"]), (&counts.0.into(), &counts.1.into()));
    }
}

#[test]
fn a_record_that_cannot_be_a_dead_letter_goes_to_unsent() {
    // Once without a directory for temporary files, and once without space for the dead letter.
    for (tmpdir, dead) in [("TMPDIR=/nonexistent", "/dev/null"), ("TMPDIR=/tmp", "/dev/full")] {
        let dir = tempfile::tempdir().unwrap();
        let unsent = dir.path().join("unsent");
        let files = ["--unsent", unsent.to_str().unwrap(), "--dead-letter", dead];
        let more = ["--max-message", "3", "--oversized", "dead-letter", "--json"];
        let args = [&["push", "--bind", "tcp://127.0.0.1:0"][..], &more, &files].concat();
        let mut push = by(&["env", tmpdir], &args);
        push.feed(b"too large\n".to_vec());
        assert_eq!(code(&mut push), 1);
        assert_eq!(fs::read_to_string(&unsent).unwrap(), "too large\n", "{tmpdir}");
        assert_eq!(summary(&mut push)["not_sent"], 1);
    }
}

/// The number of rejections that a line of the log says are not listed.
fn suppressed(line: &str) -> Option<u64> {
    let (before, _) = line.split_once(" more ")?;
    before.rsplit([' ', '(']).next()?.replace(',', "").parse().ok()
}

#[test]
fn a_range_of_rejected_messages_is_listed_in_a_few_lines_and_the_others_are_counted() {
    // OC-7: a few bytes from a puller reject all of them.
    let begun = Instant::now();
    let (mut push, at) = push(1, &["-v"]);
    let mut raw = Raw::connect(address(&at)).unwrap();
    raw.greet(hello(Role::Puller, 1)).unwrap();
    let limits = (20_000, 1 << 30);
    raw.send(ack(Vec::new(), limits)).unwrap();
    push.feed(numbers(20_000));
    let mut received = 0;
    while received < 20_000 {
        let length = |body: &Body| match body {
            Body::Deliver(batch) => Some(batch.cursor.len()),
            _ => None,
        };
        received += raw.until(length).unwrap();
    }
    raw.send(ack(vec![outcome(0, 20_000, Verdict::Reject)], limits)).unwrap();
    raw.closed().unwrap();
    drop(raw);
    assert_eq!(code(&mut push), 3);
    push.line_with("pushed 20,000 messages").unwrap();
    // Each second that the pusher took allows more lines.
    let most = MAX_LISTED * (begun.elapsed().as_secs() + 1);
    let with = |text| push.lines_seen().iter().filter(move |line| line.contains(text)).count() as u64;
    let (warned, listed) = (with("a rejected message was dropped"), with("a message was rejected"));
    let counted: u64 = push.lines_seen().iter().filter_map(|line| suppressed(line)).sum();
    assert!(listed <= most, "{listed} lines");
    assert_eq!((warned, listed + counted), (1, 19_999), "{counted} are counted");
}
