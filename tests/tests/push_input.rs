//! The inputs of a pusher. No message that it has read is lost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::{fs, process::Stdio};

use tidegate_tests::{
    daemons::{code, command, line, make_fifo, push, summary, tidegate},
    process::Process,
};

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
