//! The inputs of a pusher. No message that it has read is lost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use tidegate_tests::daemons::{by, code, command, line, numbers, push, summary, tidegate};
use tidegate_tests::process::{LONG, Process};

fn make_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Waits until the file has exactly this content.
fn wait_for(path: &Path, content: &[u8]) {
    let until = Instant::now() + LONG;
    while fs::read(path).unwrap_or_default() != content {
        let now = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(Instant::now() < until, "{now:?}");
        std::thread::yield_now();
    }
}

#[test]
fn a_record_that_is_too_large_stops_the_input_and_nothing_that_was_read_is_lost() {
    for (framing, input, kept) in [
        (&[][..], &b"a\nxxxxx\nb\n"[..], &b"xxxxx\n"[..]),
        (&["--null"], b"a\0xxxxx\0b\0", b"xxxxx\0"),
        (&["--length-prefixed"], b"\0\0\0\x01a\0\0\0\x05xxxxx\0\0\0\x01b", b"\0\0\0\x05xxxxx"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let unsent = dir.path().join("unsent");
        let more = ["--max-message", "3", "--unsent", unsent.to_str().unwrap(), "--json"];
        let (mut push, at) = push(1, &[&more[..], framing].concat());
        let mut pull = tidegate(&["pull", "--connect", &at]);
        let mut output = pull.stdout().unwrap();
        push.feed(input.to_vec());
        push.line_with_all(&["record 2", "5 bytes", "--max-message", "--oversized"]).unwrap();
        assert_eq!((line(&mut output), line(&mut output)), ("a".to_owned(), "b".to_owned()));
        assert_eq!(code(&mut push), 1);
        assert_eq!(fs::read(unsent).unwrap(), kept);
        let summary = summary(&mut push);
        assert_eq!((&summary["acked"], &summary["not_sent"]), (&2.into(), &1.into()), "{summary}");
        assert_eq!(summary["accepted"], 3);
        pull.signal("TERM").unwrap();
    }
}

#[test]
fn a_record_that_is_too_large_can_be_skipped_or_kept_whatever_its_size() {
    let huge = 40 << 20;
    let mut input = b"a\n".to_vec();
    input.extend(std::iter::repeat_n(b'x', huge));
    input.extend(b"\nb\n");
    for oversized in ["skip", "dead-letter"] {
        let dir = tempfile::tempdir().unwrap();
        let dead = dir.path().join("dead");
        let more = ["--max-message", "1000", "--oversized", oversized, "--json"];
        let (mut push, at) = push(1, &[&more[..], &["--dead-letter", dead.to_str().unwrap()]].concat());
        let mut pull = tidegate(&["pull", "--connect", &at]);
        push.feed(input.clone());
        assert_eq!(pull.output().unwrap(), "a\nb\n");
        if oversized == "skip" {
            push.line_with_all(&["record 2", "41,943,040 bytes"]).unwrap();
        }
        assert!(push.peak_memory().is_none_or(|kib| kib < 35 << 10), "the record is in memory");
        assert_eq!((code(&mut push), code(&mut pull)), (3, 0));
        assert_eq!(summary(&mut push)["oversized"], 1);
        let kept = fs::read(dead).unwrap();
        assert_eq!(kept, if oversized == "skip" { &[][..] } else { &input[2..2 + huge + 1] });
    }
}

#[test]
fn the_beginning_of_a_record_is_saved_when_a_signal_comes_before_its_end() {
    for (framing, input, kept) in [
        (&[][..], &b"a\nhal"[..], &b"hal\n"[..]),
        (&["--null"], b"a\0ha\nl", b"ha\nl\0"),
        (&["--length-prefixed"], b"\0\0\0\x01a\0\0\0\x09hal", b"\0\0\0\x03hal"),
    ] {
        for signal in ["TERM", "HUP"] {
            let dir = tempfile::tempdir().unwrap();
            let unsent = dir.path().join("unsent");
            let more = ["--unsent", unsent.to_str().unwrap(), "--json"];
            // The tests may run with hangups ignored.
            let args = [&["push", "--bind", "tcp://127.0.0.1:0"], &more[..], framing].concat();
            let mut push = by(&["env", "--default-signal=HUP"], &args);
            let at = push.endpoint().unwrap();
            let mut pull = tidegate(&["pull", "--connect", &at]);
            let mut output = pull.stdout().unwrap();
            push.write(input);
            assert_eq!(line(&mut output), "a");
            push.signal(signal).unwrap();
            push.line_with("as the last record of --unsent").unwrap();
            assert_eq!(code(&mut push), 4);
            assert_eq!(fs::read(&unsent).unwrap(), kept);
            let got = kept.len() - if framing == ["--length-prefixed"] { 4 } else { 1 };
            assert_eq!(summary(&mut push)["incomplete"], got);
            pull.signal("TERM").unwrap();
        }
    }
}

#[test]
fn the_received_part_of_a_record_that_is_too_large_is_saved_at_a_signal() {
    let dir = tempfile::tempdir().unwrap();
    let (unsent, dead) = (dir.path().join("unsent"), dir.path().join("dead"));
    let files = ["--unsent", unsent.to_str().unwrap(), "--dead-letter", dead.to_str().unwrap()];
    let more = [&files[..], &["--max-message", "3", "--oversized", "dead-letter"]].concat();
    let (mut push, at) = push(1, &more);
    let mut pull = tidegate(&["pull", "--connect", &at]);
    let mut output = pull.stdout().unwrap();
    push.write(b"a\n");
    assert_eq!(line(&mut output), "a");
    push.write(b"too large");
    // The file that holds the record has no name, so this test does not wait until it was read. The record is saved if
    // it was read before the signal, and otherwise it is still in the pipe.
    push.signal("TERM").unwrap();
    assert_eq!(code(&mut push), 4);
    let saved = fs::read_to_string(unsent).unwrap();
    assert!(saved == "too large\n" || saved.is_empty(), "{saved:?}");
    assert_eq!(fs::read_to_string(dead).unwrap(), "");
    pull.signal("TERM").unwrap();
}

#[test]
fn without_an_unsent_file_the_loss_is_reported() {
    let (mut push, at) = push(1, &[]);
    let mut pull = tidegate(&["pull", "--connect", &at]);
    let mut output = pull.stdout().unwrap();
    push.write(b"a\nhal");
    assert_eq!(line(&mut output), "a");
    push.signal("TERM").unwrap();
    push.line_with_all(&["record 2", "3 bytes", "use --unsent FILE to keep"]).unwrap();
    push.line_with("the last record was incomplete (3 bytes)").unwrap();
    assert_eq!(code(&mut push), 4);
    pull.signal("TERM").unwrap();
}

#[test]
fn an_input_that_cannot_be_read_is_an_error_before_the_first_message() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    for (stdin, why) in [
        ("<&-", "it is closed"),
        (&*format!("0>{}", file.display()), "for writing only"),
        (&*format!("<{}", dir.path().display()), "a directory"),
    ] {
        let script = format!("exec \"$@\" {stdin}");
        let args = ["push", "--bind", "tcp://127.0.0.1:0"];
        let mut push = Process::spawn(
            command(&["sh", "-c", &script, "sh"], &args).stdin(Stdio::piped()).stdout(Stdio::piped()),
        )
        .unwrap();
        push.line_with_all(&["stdin is not readable", why]).unwrap();
        assert_eq!(code(&mut push), 1);
        assert!(push.lines_seen().iter().all(|line| !line.contains("listening")));
        // With another input, stdin is not needed.
        let args = [&args[..], &["/dev/null"]].concat();
        let mut push = Process::spawn(
            command(&["sh", "-c", &script, "sh"], &args).stdin(Stdio::piped()).stdout(Stdio::piped()),
        )
        .unwrap();
        assert_eq!(code(&mut push), 0);
    }
}

#[test]
fn a_stdin_in_non_blocking_mode_is_read_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let at = format!("unix://{}", dir.path().join("work").display());
    let script = "import os,sys; os.set_blocking(0, False); os.execv(sys.argv[1], sys.argv[1:])";
    let mut starter = command(&["python3", "-c", script], &["push", "--bind", &at]);
    let mut push = Process::spawn(starter.stdin(Stdio::piped()).stdout(Stdio::piped())).unwrap();
    let mut pull = tidegate(&["pull", "--connect", &at]);
    let mut output = pull.stdout().unwrap();
    push.endpoint().unwrap();
    for word in ["one", "two"] {
        push.write_line(word);
        assert_eq!(line(&mut output), word);
    }
    push.close_input();
    assert_eq!((code(&mut push), code(&mut pull)), (0, 0));
}

#[test]
fn a_named_pipe_ends_with_its_last_writer_unless_it_is_followed() {
    for follow in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        make_fifo(&fifo);
        let more = [&[fifo.to_str().unwrap()][..], if follow { &["--follow"] } else { &[] }].concat();
        let (mut push, at) = push(1, &more);
        let mut pull = tidegate(&["pull", "--connect", &at]);
        let mut output = pull.stdout().unwrap();
        push.line_with("waiting for a writer to open this named pipe").unwrap();
        fs::write(&fifo, "one\n").unwrap();
        assert_eq!(line(&mut output), "one");
        if follow {
            fs::write(&fifo, "two\n").unwrap();
            assert_eq!(line(&mut output), "two");
            push.signal("TERM").unwrap();
            pull.signal("TERM").unwrap();
        }
        assert_eq!((code(&mut push), code(&mut pull)), (if follow { 4 } else { 0 }, 0));
    }
}

#[test]
fn a_signal_ends_a_pusher_that_waits_for_a_named_pipe() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    make_fifo(&fifo);
    let path = fifo.to_str().unwrap();
    for (args, waits) in [
        (&["--unsent", path][..], "--unsent"),
        (&["--dead-letter", path], "--dead-letter"),
        (&[path], "input"),
        (&["--token-file", path], "--token-file"),
    ] {
        let args = [&["push", "--bind", "tcp://127.0.0.1:0"][..], args].concat();
        let mut push = tidegate(&args);
        push.line_with_all(&[waits, "waiting for"]).unwrap();
        push.signal("TERM").unwrap();
        assert_eq!(code(&mut push), 4);
    }
    // A pipe with a reader is written.
    let (mut push, _) = {
        let reading = std::thread::spawn({
            let fifo = fifo.clone();
            move || fs::read_to_string(fifo).unwrap()
        });
        let (mut push, at) = push(0, &["--unsent", path, "--linger", "10ms"]);
        push.feed(b"1\n2\n".to_vec());
        assert_eq!(code(&mut push), 4);
        assert_eq!(reading.join().unwrap(), "1\n2\n");
        (push, at)
    };
    assert_eq!(code(&mut push), 4);
}

#[test]
fn a_file_that_cannot_be_followed_is_an_error_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "1\n").unwrap();
    let path = file.to_str().unwrap();
    let mut one = tidegate(&["push", "--bind", "tcp://127.0.0.1:0", "--follow", path]);
    one.line_with_all(&["--follow", "tail -F"]).unwrap();
    let mut two = tidegate(&["push", "--bind", "tcp://127.0.0.1:0", "--follow", path, path]);
    two.line_with_all(&["--follow", "only one FILE"]).unwrap();
    assert_eq!((code(&mut one), code(&mut two)), (1, 1));
}

#[test]
fn a_carriage_return_is_part_of_a_message_unless_crlf_is_given() {
    for (crlf, expected) in [(&[][..], "one\r\n\r\ntwo\n"), (&["--crlf"], "one\n\ntwo\n")] {
        let (mut push, at) = push(1, crlf);
        let mut pull = tidegate(&["pull", "--connect", &at]);
        push.feed(b"one\r\n\r\ntwo\n".to_vec());
        assert_eq!(pull.output().unwrap(), expected);
        assert_eq!((code(&mut push), code(&mut pull)), (0, 0));
    }
}

#[test]
fn unsent_messages_are_saved_at_a_signal_so_that_a_kill_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let unsent = dir.path().join("unsent");
    fs::write(&unsent, "before\n").unwrap();
    let (mut push, at) = push(1, &["--unsent", unsent.to_str().unwrap()]);
    let command = "read -r n; echo $n; [ $n -lt 2 ] || exec sleep 60";
    let mut pull = tidegate(&["pull", "--connect", &at, "--exec", command]);
    let mut output = pull.stdout().unwrap();
    push.write(&numbers(500));
    for n in 0..3 {
        assert_eq!(line(&mut output), n.to_string());
    }
    push.signal("TERM").unwrap();
    let left: String = (2..500).map(|n| format!("{n}\n")).collect();
    wait_for(&unsent, format!("before\n{left}").as_bytes());
    push.signal("KILL").unwrap();
    push.exit().unwrap();
    assert_eq!(fs::read_to_string(&unsent).unwrap(), format!("before\n{left}"));
    pull.signal("KILL").unwrap();
}

#[test]
fn messages_saved_early_are_removed_from_unsent_when_they_are_acked() {
    let dir = tempfile::tempdir().unwrap();
    let (unsent, go) = (dir.path().join("unsent"), dir.path().join("go"));
    make_fifo(&go);
    let (mut push, at) = push(1, &["--unsent", unsent.to_str().unwrap(), "--linger", "forever"]);
    let command = format!("read -r n; echo $n; [ $n != 0 ] || read -r _ < {}", go.display());
    let mut pull = tidegate(&["pull", "--connect", &at, "--exec", &command]);
    let mut output = pull.stdout().unwrap();
    push.write(b"0\n1\n");
    assert_eq!(line(&mut output), "0");
    push.signal("TERM").unwrap();
    push.line_with("SIGTERM").unwrap();
    fs::write(&go, "\n").unwrap();
    assert_eq!(code(&mut push), 4, "its input had not ended");
    assert_eq!(fs::read_to_string(&unsent).unwrap(), "");
    pull.signal("TERM").unwrap();
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
fn an_unsent_file_that_another_pusher_uses_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let unsent = dir.path().join("unsent");
    let path = unsent.to_str().unwrap();
    let (_first, _) = push(0, &["--unsent", path]);
    let mut second = tidegate(&["push", "--bind", "tcp://127.0.0.1:0", "--unsent", path]);
    second.line_with_all(&["--unsent", "another pusher uses it"]).unwrap();
    assert_eq!(code(&mut second), 1);
    let mut both =
        tidegate(&["push", "--bind", "tcp://127.0.0.1:0", "--unsent", path, "--dead-letter", path]);
    both.line_with("name the same file").unwrap();
    assert_eq!(code(&mut both), 2);
}

#[test]
fn a_file_that_cannot_be_replaced_is_written_at_the_end_and_the_user_is_warned() {
    let dir = tempfile::tempdir().unwrap();
    let (unsent, link) = (dir.path().join("unsent"), dir.path().join("link"));
    fs::write(&unsent, "").unwrap();
    fs::hard_link(&unsent, &link).unwrap();
    let (mut push, at) = push(1, &["--unsent", unsent.to_str().unwrap(), "--linger", "forever"]);
    let mut pull = tidegate(&["pull", "--connect", &at, "--exec", "read -r n; echo $n; exec sleep 60"]);
    push.write(b"1\n");
    assert_eq!(line(&mut pull.stdout().unwrap()), "1");
    push.signal("TERM").unwrap();
    push.line_with_all(&["WARN", "--unsent", "written only at the end"]).unwrap();
    push.signal("TERM").unwrap();
    assert_eq!(code(&mut push), 5);
    assert_eq!(fs::read_to_string(&link).unwrap(), "1\n");
}

#[test]
fn a_file_with_two_uses_is_refused_under_any_of_its_names() {
    let dir = tempfile::tempdir().unwrap();
    let (input, link) = (dir.path().join("in"), dir.path().join("link"));
    fs::write(&input, "1\n").unwrap();
    std::os::unix::fs::symlink(&input, &link).unwrap();
    let (path, link) = (input.to_str().unwrap(), link.to_str().unwrap());
    for (args, says) in [
        (&["--unsent", link, "--dead-letter", path][..], &["--unsent", "--dead-letter", "same file"][..]),
        (&["--unsent", link, path], &["--unsent", "is also an input"]),
        (&["--dead-letter", path, path], &["--dead-letter", "is also an input"]),
    ] {
        let mut push = tidegate(&[&["push", "--bind", "tcp://127.0.0.1:0"][..], args].concat());
        push.line_with_all(says).unwrap();
        assert_eq!(code(&mut push), 1);
    }
    assert_eq!(fs::read_to_string(&input).unwrap(), "1\n");
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

#[test]
fn after_an_input_error_a_kill_loses_nothing_that_was_read() {
    let dir = tempfile::tempdir().unwrap();
    let unsent = dir.path().join("unsent");
    let (mut push, _) = push(0, &["--unsent", unsent.to_str().unwrap(), "--max-message", "3"]);
    push.feed(b"1\n2\nxxxxx\n".to_vec());
    wait_for(&unsent, b"1\n2\nxxxxx\n");
    push.signal("KILL").unwrap();
    push.exit().unwrap();
}

#[test]
fn a_full_disk_is_reported_as_soon_as_unsent_messages_cannot_be_saved() {
    let (mut push, _) = push(0, &["--unsent", "/dev/full", "--linger", "10ms"]);
    push.feed(b"1\n2\n".to_vec());
    push.line_with_all(&["error", "2 messages", "could not be saved", "--unsent /dev/full"]).unwrap();
    assert_eq!(code(&mut push), 1);
}
