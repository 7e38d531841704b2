//! The file of a pusher for messages without an outcome: whatever ends the pusher, they are in it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::{
    fs::{self, File},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
};

use tidegate_tests::daemons::{by, code, line, make_fifo, numbers, push, summary, tidegate, wait_for};

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
fn only_the_owner_can_read_the_unsent_file_also_after_it_was_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let unsent = dir.path().join("unsent");
    let (mut push, _) = push(0, &["--unsent", unsent.to_str().unwrap(), "--linger", "50ms"]);
    let first = File::open(&unsent).unwrap(); // while it is open, no other file gets its number
    push.feed(numbers(3));
    assert_eq!(code(&mut push), 4);
    assert_eq!(fs::read(&unsent).unwrap(), numbers(3));
    let (before, after) = (first.metadata().unwrap(), fs::metadata(&unsent).unwrap());
    assert_ne!(before.ino(), after.ino(), "it was not replaced");
    assert_eq!([before, after].map(|data| data.permissions().mode() & 0o777), [0o600; 2]);
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
