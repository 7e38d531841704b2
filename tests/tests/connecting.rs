//! Messages of the daemons when no peer can be reached, or an address cannot be bound.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::fs;
use std::path::Path;

use tidegate_tests::daemons::{code, line, push, tidegate};

const UNREACHABLE: &str = "tcp://127.0.0.1:1";

#[test]
fn an_unreachable_endpoint_causes_an_immediate_warning_with_the_reason() {
    for command in ["push", "pull"] {
        let mut refused = tidegate(&[command, "--connect", UNREACHABLE]);
        refused.line_with_all(&["WARN", UNREACHABLE, "Connection refused"]).unwrap();
        let mut unknown = tidegate(&[command, "--connect", "tcp://no-such-host.invalid:1"]);
        let reason = "cannot connect to tcp://no-such-host.invalid:1: failed to lookup address information: ";
        unknown.line_with_all(&["WARN", reason]).unwrap();
    }
}

#[test]
fn a_daemon_without_a_peer_exits_after_the_connect_timeout_with_the_reason() {
    for (command, other) in [("push", "no puller"), ("pull", "no pusher")] {
        let mut daemon = tidegate(&[command, "--connect", UNREACHABLE, "--connect-timeout", "200ms"]);
        daemon.line_with_all(&["error: --connect-timeout", other, "200ms", "Connection refused"]).unwrap();
        assert_eq!(code(&mut daemon), 1);
        // No part of a name has more than 63 bytes, so no server is asked for this one.
        let unknown = format!("tcp://{}.invalid:1", "x".repeat(64));
        let mut daemon = tidegate(&[command, "--connect", &unknown, "--connect-timeout", "500ms"]);
        let reason = format!("500ms; cannot connect to {unknown}: failed to lookup address information: ");
        daemon.line_with_all(&["error: --connect-timeout", other, &reason]).unwrap();
        assert_eq!(code(&mut daemon), 1);
        let bind = ["--bind", "tcp://127.0.0.1:0", "--connect-timeout", "50ms"];
        let mut daemon = tidegate(&[&[command], &bind[..]].concat());
        daemon.line_with_all(&["error: --connect-timeout", other]).unwrap();
        assert_eq!(code(&mut daemon), 1);
    }
}

#[test]
fn pullers_with_subsets_share_out_the_pushers() {
    let dir = tempfile::tempdir().unwrap();
    let at = ["a", "b"].map(|name| format!("unix://{}", dir.path().join(name).display()));
    let pull = |index| {
        let args =
            ["pull", "--connect", &at[0], "--connect", &at[1], "--subset", "1", "--subset-index", index];
        tidegate(&args)
    };
    let mut pullers = [pull("0"), pull("1")];
    let mut lines = Vec::new();
    for name in &at {
        let mut push = tidegate(&["push", "--bind", name]);
        push.feed(format!("{name}\n").into_bytes());
        assert_eq!(code(&mut push), 0);
    }
    for pull in &mut pullers {
        let mut output = pull.stdout().unwrap();
        lines.push(line(&mut output));
        assert_eq!(line(&mut output), "", "only one of the pushers");
        assert_eq!(code(pull), 0);
    }
    lines.sort();
    assert_eq!(lines, at);
}

/// The names of a client's token file, of two server token files and of two sockets, in `dir`.
fn two_guarded_places(dir: &Path) -> (String, [String; 2], [String; 2]) {
    let file = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    for (name, token) in [("own", "a\n"), ("token-a", "a\n"), ("token-b", "b\n")] {
        fs::write(file(name), token).unwrap();
    }
    let at = |name: &str| format!("unix://{}", file(name));
    (file("own"), [file("token-a"), file("token-b")], [at("a"), at("b")])
}

#[test]
fn the_connect_timeout_continues_when_one_endpoint_refuses_and_another_does_not_answer() {
    for (command, other) in [("push", "pull"), ("pull", "push")] {
        let dir = tempfile::tempdir().unwrap();
        let (own, [_, wrong], [at, _]) = two_guarded_places(dir.path());
        let mut peer = tidegate(&[other, "--bind", &at, "--token-file", &wrong]);
        peer.endpoint().unwrap();
        let args =
            ["--connect", &at, "--connect", UNREACHABLE, "--token-file", &own, "--connect-timeout", "1s"];
        let mut daemon = tidegate(&[&[command], &args[..]].concat());
        daemon.line_with_all(&[&at, "refused us"]).unwrap();
        daemon.line_with_all(&["error: --connect-timeout", "1s"]).unwrap();
        assert_eq!(code(&mut daemon), 1);
    }
}

#[test]
fn a_pusher_that_expects_pullers_waits_for_them_while_one_endpoint_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let (own, [right, wrong], [first, second]) = two_guarded_places(dir.path());
    let mut refusing = tidegate(&["pull", "--bind", &first, "--token-file", &wrong]);
    refusing.endpoint().unwrap();
    let args = ["--connect", &first, "--connect", &second, "--token-file", &own, "--expect", "1"];
    let mut push = tidegate(&[&["push"], &args[..]].concat());
    push.line_with_all(&[&first, "refused us"]).unwrap();
    let mut pull = tidegate(&["pull", "--bind", &second, "--expect", "1", "--token-file", &right]);
    push.feed(b"1\n".to_vec());
    assert_eq!(pull.output().unwrap(), "1\n");
    assert_eq!((code(&mut push), code(&mut pull)), (0, 0));
}

#[test]
fn a_puller_continues_while_an_endpoint_works_that_had_refused_an_earlier_token() {
    // RD-7
    let dir = tempfile::tempdir().unwrap();
    let (own, tokens, [at_a, at_b]) = two_guarded_places(dir.path());
    let pusher = |n: usize| {
        let at = [&at_a, &at_b][n];
        let mut push = tidegate(&["push", "-v", "--bind", at, "--token-file", &tokens[n]]);
        push.endpoint().unwrap();
        push
    };
    let (mut first, mut second) = (pusher(0), pusher(1));
    let mut pull = tidegate(&["pull", "--connect", &at_a, "--connect", &at_b, "--token-file", &own]);
    let mut output = pull.stdout().unwrap();
    first.line_with("is open").unwrap();
    pull.line_with_all(&["error: ", &at_b, "continuing with the other endpoints"]).unwrap();
    fs::write(&own, "b\n").unwrap();
    pull.signal("HUP").unwrap();
    second.line_with("is open").unwrap();
    // The first pusher restarts, and does not accept the new token.
    first.signal("KILL").unwrap();
    first.exit().unwrap();
    let mut first = pusher(0);
    pull.line_with_all(&["error: ", &at_a, "continuing with the other endpoints"]).unwrap();
    second.write_line("1");
    assert_eq!(line(&mut output), "1");
    // Now it accepts the token, and the earlier refusal has no effect.
    fs::write(&tokens[0], "b\n").unwrap();
    first.signal("HUP").unwrap();
    first.line_with("SIGHUP").unwrap();
    pull.signal("HUP").unwrap();
    first.line_with("is open").unwrap();
    for push in [&mut first, &mut second] {
        push.close_input();
        assert_eq!(code(push), 0);
    }
    assert_eq!(code(&mut pull), 0);
}

#[test]
fn the_connect_timeout_ends_with_the_first_connection() {
    let mut push = tidegate(&["push", "--bind", "tcp://127.0.0.1:0", "--connect-timeout", "30s"]);
    let at = push.endpoint().unwrap();
    let mut pull = tidegate(&["pull", "--connect", &at, "--connect-timeout", "30s"]);
    push.feed(b"1\n".to_vec());
    assert_eq!(pull.output().unwrap(), "1\n");
    assert_eq!((code(&mut push), code(&mut pull)), (0, 0));
}

#[test]
fn a_bind_error_states_its_reason_once() {
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
fn an_invalid_endpoint_is_a_usage_error_with_the_correct_form() {
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
