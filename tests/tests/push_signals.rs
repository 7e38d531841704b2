//! The signals that end a pusher, and the files that it leaves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::fs;

use tidegate_tests::daemons::{by, code, line, make_fifo, push, tidegate};

/// The tests may run with hangups ignored, as under `nohup`, and a child process inherits that.
const NOT_IGNORED: [&str; 2] = ["env", "--default-signal=HUP"];

#[test]
fn hangup_and_quit_stop_a_pusher_gracefully_like_terminate() {
    for signal in ["HUP", "QUIT", "TERM", "INT"] {
        let dir = tempfile::tempdir().unwrap();
        let unsent = dir.path().join("unsent");
        let args = ["--bind", "tcp://127.0.0.1:0", "--unsent", unsent.to_str().unwrap(), "--linger", "100ms"];
        let mut push = by(&NOT_IGNORED, &[&["push"], &args[..]].concat());
        let at = push.endpoint().unwrap();
        let mut pull = by(&NOT_IGNORED, &["pull", "--connect", &at]);
        let mut output = pull.stdout().unwrap();
        push.write_line("done");
        assert_eq!(line(&mut output), "done");
        pull.signal(signal).unwrap();
        assert_eq!(code(&mut pull), 0, "a puller stops gracefully too");
        // Both lines are in one write, so both have been read when a command has the first of them.
        let hangs = ["pull", "--connect", &at, "--exec", "read -r n; echo $n; exec sleep 60"];
        let mut pull = tidegate(&hangs);
        let mut output = pull.stdout().unwrap();
        push.write(b"1\n2\n");
        assert_eq!(line(&mut output), "1");
        push.signal(signal).unwrap();
        push.line_with(&format!("SIG{signal}")).unwrap();
        assert_eq!(code(&mut push), 4);
        assert_eq!(fs::read_to_string(unsent).unwrap(), "1\n2\n");
    }
}

#[test]
fn the_default_linger_time_after_a_signal_is_shorter_than_the_10_seconds_before_a_kill() {
    for (more, time) in [(&[][..], "9s"), (&["--linger", "1s 500ms"], "1s 500ms")] {
        let (mut push, _) = push(0, more);
        push.write_line("1");
        push.signal("TERM").unwrap();
        push.line_with(&format!("SIGTERM: reading stopped; waiting up to {time} (--linger)")).unwrap();
        push.signal("TERM").unwrap();
        push.exit().unwrap();
    }
}

#[test]
fn a_hangup_lets_a_command_finish() {
    let dir = tempfile::tempdir().unwrap();
    let go = dir.path().join("go");
    make_fifo(&go);
    let (mut push, at) = push(1, &[]);
    let command = format!("read -r n; echo $n; read -r word < {}; echo end", go.display());
    let mut pull = by(&NOT_IGNORED, &["pull", "--connect", &at, "--exec", &command]);
    let mut output = pull.stdout().unwrap();
    push.feed(b"1\n".to_vec());
    assert_eq!(line(&mut output), "1");
    pull.signal("HUP").unwrap();
    pull.line_with("SIGHUP").unwrap();
    fs::write(&go, "go\n").unwrap();
    assert_eq!(line(&mut output), "end");
    assert_eq!((code(&mut pull), code(&mut push)), (0, 0));
}

#[test]
fn a_hangup_that_is_ignored_as_under_nohup_changes_nothing() {
    let ignored = ["env", "--ignore-signal=HUP"];
    let mut push = by(&ignored, &["push", "--bind", "tcp://127.0.0.1:0"]);
    let at = push.endpoint().unwrap();
    let mut pull = by(&ignored, &["pull", "--connect", &at]);
    let mut output = pull.stdout().unwrap();
    // Wait until both are running, and no longer `env`.
    push.write_line("up");
    assert_eq!(line(&mut output), "up");
    for word in ["one", "two"] {
        push.signal("HUP").unwrap();
        pull.signal("HUP").unwrap();
        push.write_line(word);
        assert_eq!(line(&mut output), word);
    }
    push.close_input();
    assert_eq!((code(&mut push), code(&mut pull)), (0, 0));
}

#[test]
fn a_user_signal_without_files_to_open_again_changes_nothing() {
    let (mut push, at) = push(1, &[]);
    push.signal("USR1").unwrap();
    push.line_with("SIGUSR1").unwrap();
    let mut pull = tidegate(&["pull", "--connect", &at]);
    push.feed(b"1\n".to_vec());
    assert_eq!(pull.output().unwrap(), "1\n");
    assert_eq!((code(&mut push), code(&mut pull)), (0, 0));
}

#[test]
fn a_moved_or_removed_output_file_is_created_again() {
    let dir = tempfile::tempdir().unwrap();
    let (log, moved) = (dir.path().join("log"), dir.path().join("log.1"));
    let (mut push, at) = push(1, &["--json"]);
    let mut pull = tidegate(&["pull", "--connect", &at, "--output", log.to_str().unwrap()]);
    let mut pass = |word: &str, expected: &str| {
        push.write_line(word);
        let until = std::time::Instant::now() + tidegate_tests::process::LONG;
        while fs::read_to_string(&log).unwrap_or_default() != expected {
            assert!(std::time::Instant::now() < until, "{:?}", fs::read_to_string(&log));
            std::thread::yield_now();
        }
    };
    pass("1", "1\n");
    for (n, signal) in ["HUP", "USR1"].into_iter().enumerate() {
        fs::rename(&log, &moved).unwrap();
        pull.signal(signal).unwrap();
        pull.line_with_all(&[&format!("SIG{signal}"), "reopened --output"]).unwrap();
        pass(&format!("after {n}"), &format!("after {n}\n"));
    }
    fs::remove_file(&log).unwrap();
    pass("removed", "removed\n");
    pull.signal("TERM").unwrap();
    assert_eq!(code(&mut pull), 0);
    push.close_input();
    assert_eq!(code(&mut push), 0);
}

#[test]
fn a_pusher_continues_while_an_endpoint_works_that_had_refused_an_earlier_token() {
    // RD-7
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let at = |name: &str| format!("unix://{}", file(name));
    for (name, token) in [("own", "a\n"), ("token-a", "a\n"), ("token-b", "b\n")] {
        fs::write(file(name), token).unwrap();
    }
    let puller = |name: &str| {
        let token = file(&format!("token-{name}"));
        let mut pull = tidegate(&["pull", "-v", "--bind", &at(name), "--token-file", &token]);
        pull.endpoint().unwrap();
        pull
    };
    let (mut first, mut second) = (puller("a"), puller("b"));
    let args = ["push", "--connect", &at("a"), "--connect", &at("b"), "--token-file", &file("own")];
    let mut push = tidegate(&args);
    first.line_with("is open").unwrap();
    push.line_with_all(&[&at("b"), "refused us"]).unwrap();
    fs::write(file("own"), "b\n").unwrap();
    push.signal("HUP").unwrap();
    second.line_with("is open").unwrap();
    // The first puller restarts, and does not accept the new token.
    first.signal("KILL").unwrap();
    first.exit().unwrap();
    let _first = puller("a");
    push.line_with_all(&[&at("a"), "refused us"]).unwrap();
    let mut output = second.stdout().unwrap();
    push.write_line("1");
    assert_eq!(line(&mut output), "1");
    push.close_input();
    assert_eq!(code(&mut push), 0);
}
