//! What the daemons say when nobody can be reached, or nothing can be bound.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use tidegate_tests::daemons::{code, push, tidegate};

const NOBODY: &str = "tcp://127.0.0.1:1";

#[test]
fn an_endpoint_that_cannot_be_reached_is_warned_about_at_once_with_the_reason() {
    for command in ["push", "pull"] {
        let mut refused = tidegate(&[command, "--connect", NOBODY]);
        refused.line_with_all(&["WARN", NOBODY, "Connection refused"]).unwrap();
        let mut unknown = tidegate(&[command, "--connect", "tcp://no-such-host.invalid:1"]);
        unknown.line_with_all(&["WARN", "cannot connect to tcp://no-such-host.invalid:1"]).unwrap();
    }
}

#[test]
fn a_daemon_that_nobody_comes_to_ends_after_the_connect_timeout_and_says_why() {
    for (command, other) in [("push", "no puller"), ("pull", "no pusher")] {
        let mut daemon = tidegate(&[command, "--connect", NOBODY, "--connect-timeout", "200ms"]);
        daemon.line_with_all(&["error: --connect-timeout", other, "200ms", "Connection refused"]).unwrap();
        assert_eq!(code(&mut daemon), 1);
        let bind = ["--bind", "tcp://127.0.0.1:0", "--connect-timeout", "50ms"];
        let mut daemon = tidegate(&[&[command], &bind[..]].concat());
        daemon.line_with_all(&["error: --connect-timeout", other]).unwrap();
        assert_eq!(code(&mut daemon), 1);
    }
}

#[test]
fn the_connect_timeout_is_over_once_somebody_has_connected() {
    let mut push = tidegate(&["push", "--bind", "tcp://127.0.0.1:0", "--connect-timeout", "30s"]);
    let at = push.endpoint().unwrap();
    let mut pull = tidegate(&["pull", "--connect", &at, "--connect-timeout", "30s"]);
    push.feed(b"1\n".to_vec());
    assert_eq!(pull.output().unwrap(), "1\n");
    assert_eq!((code(&mut push), code(&mut pull)), (0, 0));
}

#[test]
fn a_bind_error_gives_its_reason_once() {
    let (_first, at) = push(0, &[]);
    for command in ["push", "pull"] {
        let mut second = tidegate(&[command, "--bind", &at]);
        let line = second.line_with("error: ").unwrap();
        assert_eq!(line.matches("in use").count(), 1, "{line}");
        assert!(line.contains(&at), "{line}");
        assert_eq!(code(&mut second), 1);
    }
}

#[test]
fn an_endpoint_that_is_no_place_is_a_usage_error_that_says_what_to_write() {
    for (endpoint, hint) in [
        ("tcp://[fe80::5]:1", "[fe80::5%eth0]"),
        ("tcp://user:pw@host:9", "credentials do not belong in an endpoint"),
        ("tcp://*:8433", "write 0.0.0.0 or [::] for all addresses"),
    ] {
        for option in ["--bind", "--connect"] {
            let mut push = tidegate(&["push", option, endpoint]);
            push.line_with_all(&[hint]).unwrap();
            assert_eq!(code(&mut push), 2);
        }
    }
}
