//! The output of `pull`: named pipes, rotated files, and payloads that look like several records.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::Stdio,
};

use tidegate_tests::daemons::{code, command, make_fifo, numbers, push, sorted, summary, tidegate};

#[test]
fn the_daemon_waits_for_a_reader_of_a_named_pipe_and_obeys_signals_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    make_fifo(&path);
    let (mut push, at) = push(1, &["--json"]);
    push.feed(numbers(100));
    let args = ["pull", "--connect", &at, "--output", path.to_str().unwrap()];
    for signal in ["TERM", "INT"] {
        let mut pull = tidegate(&args);
        pull.line_with_all(&["--output", "waiting for a reader"]).unwrap();
        pull.signal(signal).unwrap();
        assert_eq!(code(&mut pull), 0);
    }
    let mut pull = tidegate(&args);
    pull.line_with("waiting for a reader").unwrap();
    let mut text = String::new();
    File::open(&path).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text.as_bytes(), numbers(100));
    assert_eq!((code(&mut push), code(&mut pull)), (0, 0));
    assert_eq!(summary(&mut push)["redelivered"], 0, "no message was taken before there was a reader");
}

#[test]
fn a_named_pipe_that_is_not_read_does_not_block_signals() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    make_fifo(&path);
    let (mut push, at) = push(1, &["--json"]);
    let mut pull = tidegate(&["pull", "--connect", &at, "--output", path.to_str().unwrap()]);
    let mut reader = BufReader::new(File::open(&path).unwrap());
    // More than the pipe holds: when a part of it can be read, the write is in progress and cannot complete.
    push.feed([vec![b'x'; 1 << 20], b"\n".to_vec()].concat());
    reader.read_exact(&mut [0]).unwrap();
    pull.signal("TERM").unwrap();
    pull.line_with("SIGTERM").unwrap();
    pull.signal("TERM").unwrap();
    assert_eq!(code(&mut pull), 5, "stopped at once");
}

#[test]
fn a_named_pipe_that_is_not_read_keeps_no_token_from_being_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let (path, tokens) = (dir.path().join("pipe"), dir.path().join("tokens"));
    make_fifo(&path);
    fs::write(&tokens, "secret\n").unwrap();
    fs::set_permissions(&tokens, fs::Permissions::from_mode(0o600)).unwrap();
    let token = ["--token-file", tokens.to_str().unwrap()];
    let (mut push, at) = push(1, &token);
    let output = ["pull", "--connect", &at, "--output", path.to_str().unwrap()];
    let mut pull = tidegate(&[&output[..], &token].concat());
    let mut reader = BufReader::new(File::open(&path).unwrap());
    push.feed([vec![b'x'; 1 << 20], b"\n".to_vec()].concat());
    reader.read_exact(&mut [0]).unwrap();
    pull.signal("HUP").unwrap();
    pull.line_with_all(&["SIGHUP: reloaded", "token file"]).unwrap();
    // The pipe cannot be opened again before it is read: that keeps no later signal waiting.
    fs::remove_file(&tokens).unwrap();
    pull.signal("HUP").unwrap();
    pull.line_with_all(&["error: SIGHUP", "token"]).unwrap();
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert_eq!(rest.len(), 1 << 20);
    assert_eq!((code(&mut push), code(&mut pull)), (0, 0));
}

#[test]
fn a_stdout_in_non_blocking_mode_loses_nothing() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let (mut push, at) = push(1, &[]);
    // Another process sets this mode on the pipe, which both share.
    let mode = "import os, sys; os.set_blocking(1, False); os.execvp(sys.argv[1], sys.argv[1:])";
    let mut pull = command(&["python3", "-c", mode], &["pull", "--connect", &at])
        .stdin(Stdio::null())
        .stdout(writer)
        .spawn()
        .unwrap();
    push.feed(numbers(100_000));
    let mut text = Vec::new();
    reader.read_to_end(&mut text).unwrap();
    assert_eq!(text, numbers(100_000));
    assert!(pull.wait().unwrap().success());
    assert_eq!(code(&mut push), 0);
}

#[test]
fn a_file_is_opened_again_after_a_signal_and_a_removed_or_replaced_one_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (path, moved) = (dir.path().join("log"), dir.path().join("log.1"));
    let (mut push, at) = push(1, &[]);
    let mut pull = tidegate(&["pull", "--connect", &at, "--output", path.to_str().unwrap()]);
    let mut written = Vec::new();
    let mut next = 0;
    let mut write = |push: &mut tidegate_tests::process::Process, to: &Path| {
        push.write_line(&next.to_string());
        while !fs::read_to_string(to).is_ok_and(|text| text.lines().last() == Some(&next.to_string())) {
            std::thread::yield_now();
        }
        next += 1;
    };
    write(&mut push, &path);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    for signal in ["HUP", "USR1"] {
        fs::rename(&path, &moved).unwrap();
        write(&mut push, &moved);
        pull.signal(signal).unwrap();
        pull.line_with_all(&[&format!("SIG{signal}"), "reopened"]).unwrap();
        write(&mut push, &path);
        written.push(fs::read_to_string(&moved).unwrap());
    }
    // If the file is removed, it is created again.
    written.push(fs::read_to_string(&path).unwrap());
    fs::remove_file(&path).unwrap();
    write(&mut push, &path);
    // A rotation replaces the file with a new one.
    let before = fs::metadata(&path).unwrap().ino();
    fs::rename(&path, &moved).unwrap();
    fs::write(&path, "").unwrap();
    assert_ne!(fs::metadata(&path).unwrap().ino(), before);
    write(&mut push, &path);
    written.push(fs::read_to_string(&moved).unwrap());
    push.close_input();
    assert_eq!((code(&mut push), code(&mut pull)), (0, 0));
    written.push(fs::read_to_string(&path).unwrap());
    assert_eq!(sorted(&written), (0..7).collect::<Vec<_>>(), "{written:?}");
}

#[test]
fn a_file_whose_directory_is_gone_is_an_error_and_acks_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let sub = dir.path().join("sub");
    fs::create_dir(&sub).unwrap();
    let path = sub.join("log");
    let (mut push, at) = push(1, &["--json"]);
    let mut pull = tidegate(&["pull", "--connect", &at, "--json", "--output", path.to_str().unwrap()]);
    while !path.exists() {
        std::thread::yield_now();
    }
    fs::remove_dir_all(&sub).unwrap();
    push.feed(numbers(1));
    pull.line_with(&format!("cannot write to --output {}", path.display())).unwrap();
    assert_eq!(code(&mut pull), 1);
    assert_eq!(summary(&mut pull)["acked"], 0);
    let mut other = tidegate(&["pull", "--connect", &at]);
    assert_eq!(other.output().unwrap(), "0\n");
    assert_eq!((code(&mut push), code(&mut other)), (0, 0));
}

#[test]
fn a_payload_that_contains_a_separator_causes_one_warning_or_is_rejected() {
    let input = b"a\nb\0c\0d\ne\0".to_vec();
    let run = |more: &[&str]| {
        let (mut push, at) = push(1, &["--null"]);
        let mut pull = tidegate(&[&["pull", "--connect", &at], more].concat());
        push.feed(input.clone());
        let text = pull.output().unwrap();
        let codes = (code(&mut push), code(&mut pull));
        let end = if more.contains(&"--json") { "\"received\":3" } else { "pulled 3 messages" };
        pull.line_with(end).unwrap();
        let told =
            pull.lines_seen().iter().filter(|line| line.contains("a newline, which ends a record")).count();
        (text, codes, told)
    };
    assert_eq!(run(&[]), ("a\nb\nc\nd\ne\n".to_owned(), (0, 0), 1));
    assert_eq!(run(&["--separator-in-payload", "warn"]), ("a\nb\nc\nd\ne\n".to_owned(), (0, 0), 1));
    assert_eq!(run(&["--separator-in-payload", "reject"]), ("c\n".to_owned(), (3, 3), 1));
    assert_eq!(run(&["--worker", "while read -r x; do echo ok; done"]), (String::new(), (3, 3), 1));
    assert_eq!(run(&["--null"]), ("a\nb\0c\0d\ne\0".to_owned(), (0, 0), 0));
    let json = run(&["--json", "--separator-in-payload", "reject", "--count", "3"]);
    assert_eq!((json.0.lines().count(), json.1, json.2), (3, (0, 0), 0));
}

#[test]
fn options_that_do_not_fit_the_output_are_usage_errors() {
    for more in [
        &["--worker", "cat", "--separator-in-payload", "warn"][..],
        &["--exec", "cat", "--separator-in-payload", "reject"],
        &["--timeout", "1s"],
    ] {
        let mut pull = tidegate(&[&["pull", "--connect", "tcp://127.0.0.1:1"], more].concat());
        assert_eq!(code(&mut pull), 2, "{more:?}");
    }
}

#[test]
fn a_message_for_a_closed_pipe_is_not_acked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    make_fifo(&path);
    let (mut push, at) = push(1, &[]);
    let mut pull = tidegate(&["pull", "--connect", &at, "--json", "--output", path.to_str().unwrap()]);
    let reader = File::open(&path).unwrap();
    push.write_line("0");
    let mut reader = BufReader::new(reader);
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    drop(reader);
    push.write_line("1");
    pull.line_with("Broken pipe").unwrap();
    assert_eq!(code(&mut pull), 1);
    assert_eq!(summary(&mut pull)["acked"], 1);
    let mut other = tidegate(&["pull", "--connect", &at]);
    push.close_input();
    assert_eq!(other.output().unwrap(), "1\n");
    assert_eq!((code(&mut push), code(&mut other)), (0, 0));
}
