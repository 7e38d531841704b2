//! TLS, tokens and SIGHUP with real daemons.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use tidegate_tests::{
    certs::Ca,
    daemons::{by, code, line, numbers, sorted, tidegate},
    process::Process,
};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A pusher that listens over TLS and asks for certificates, and its endpoint.
fn secured(ca: &Ca, dir: &Path, more: &[&str]) -> (Process, String) {
    let ca_file = ca.write(dir, "ca.crt");
    let (certificate, key) = ca.sign(&["127.0.0.1"]).write(dir, "push");
    let args = ["push", "--bind", "tls://127.0.0.1:0", "--require-tls", "--tls-verify-client"];
    let files = ["--tls-ca", text(&ca_file), "--tls-cert", text(&certificate), "--tls-key", text(&key)];
    let mut push = tidegate(&[&args[..], &files, more].concat());
    let at = push.endpoint().unwrap();
    assert!(at.starts_with("tls://127.0.0.1:"), "{at}");
    (push, at)
}

fn worker(ca: &Ca, trusted: &Ca, dir: &Path, name: &str, at: &str, more: &[&str]) -> Process {
    let ca_file = trusted.write(dir, &format!("{name}-ca.crt"));
    let (certificate, key) = ca.sign(&[name]).write(dir, name);
    let args = ["pull", "--connect", at, "--tls-ca", text(&ca_file), "--tls-cert", text(&certificate)];
    tidegate(&[&args[..], &["--tls-key", text(&key)], more].concat())
}

#[test]
fn daemons_deliver_every_message_over_mutual_tls_and_log_the_peers() {
    // TL-1, TL-4
    let (ca, dir) = (Ca::new("test"), tempfile::tempdir().unwrap());
    let (mut push, at) = secured(&ca, dir.path(), &["--expect", "2", "-v"]);
    let mut pulls: Vec<_> =
        ["worker-1", "worker-2"].iter().map(|name| worker(&ca, &ca, dir.path(), name, &at, &[])).collect();
    // All of these fit into one pipe, because the outputs are read one after the other.
    push.feed(numbers(5_000));
    let outputs: Vec<String> = pulls.iter_mut().map(|pull| pull.output().unwrap()).collect();
    assert_eq!(sorted(&outputs), (0..5_000).collect::<Vec<_>>());
    for name in ["worker-1", "worker-2"] {
        push.line_with(&format!("(certificate for {name})")).unwrap();
    }
    assert_eq!(code(&mut push), 0);
    assert!(pulls.iter_mut().all(|pull| code(pull) == 0));
}

#[test]
fn a_hangup_loads_new_files_and_drops_no_link() {
    // TL-8, HS-4
    let (old, new, dir) = (Ca::new("old"), Ca::new("new"), tempfile::tempdir().unwrap());
    let token = dir.path().join("token");
    fs::write(&token, "first\n").unwrap();
    let (mut push, at) = secured(&old, dir.path(), &["--token-file", text(&token), "-v"]);
    let with_token = ["--token-file", text(&token)];
    let mut first = worker(&old, &old, dir.path(), "first", &at, &with_token);
    let mut first_output = first.stdout().unwrap();
    push.write_line("1");
    assert_eq!(line(&mut first_output), "1");

    // A new CA, certificate and token for both sides, but the first worker gets no SIGHUP.
    new.write(dir.path(), "ca.crt");
    new.sign(&["127.0.0.1"]).write(dir.path(), "push");
    fs::write(&token, "second\n").unwrap();
    push.signal("HUP").unwrap();
    push.line_with("SIGHUP: reloaded the certificates and the token file").unwrap();
    let mut second = worker(&new, &new, dir.path(), "second", &at, &with_token);
    push.line_with("(certificate for second)").unwrap();
    let mut late = worker(&old, &new, dir.path(), "late", &at, &with_token);
    late.line_with("the server does not trust the CA of our certificate").unwrap();
    push.line_with("the client's certificate for late is signed by an unknown CA").unwrap();

    // Broken files are reported, and change nothing.
    push.forget_lines();
    fs::write(dir.path().join("push.key"), "nonsense").unwrap();
    push.signal("HUP").unwrap();
    let said = push.line_with("error: SIGHUP:").unwrap();
    for part in ["push.key", "no PEM at all", "the old files and tokens stay in use"] {
        assert!(said.contains(part), "{said}");
    }
    let mut third = worker(&new, &new, dir.path(), "third", &at, &with_token);
    push.line_with("(certificate for third)").unwrap();
    late.signal("KILL").unwrap();

    // All three links get messages; none was dropped.
    let rest: Vec<u8> = (2..3_000).flat_map(|n| format!("{n}\n").into_bytes()).collect();
    push.feed(rest);
    let outputs: Vec<String> =
        [&mut second, &mut third].iter_mut().map(|pull| pull.output().unwrap()).collect();
    let mut first_lines = String::new();
    std::io::Read::read_to_string(&mut first_output, &mut first_lines).unwrap();
    assert!(!first_lines.is_empty() && outputs.iter().all(|output| !output.is_empty()));
    assert_eq!(sorted(&[first_lines, outputs.concat()]), (2..3_000).collect::<Vec<_>>());
    assert_eq!(code(&mut push), 0);
    assert!([first, second, third].iter_mut().all(|pull| code(pull) == 0));
    assert!(
        !push.lines_seen().iter().any(|line| line.contains("the connection broke")),
        "{:?}",
        push.lines_seen()
    );
}

#[test]
fn a_hangup_with_a_good_certificate_and_a_bad_token_changes_neither() {
    // TL-8, HS-4
    let (old, new, dir) = (Ca::new("old"), Ca::new("new"), tempfile::tempdir().unwrap());
    let token = dir.path().join("token");
    fs::write(&token, "first\n").unwrap();
    let (mut push, at) = secured(&old, dir.path(), &["--token-file", text(&token), "-v"]);
    let own = dir.path().join("own-token");
    fs::write(&own, "first\n").unwrap();
    let with_token = ["--token-file", text(&own)];
    new.write(dir.path(), "ca.crt");
    new.sign(&["127.0.0.1"]).write(dir.path(), "push");
    for bad in ["x".repeat(5_000), "# nothing but this\n".to_owned()] {
        push.forget_lines();
        fs::write(&token, bad).unwrap();
        push.signal("HUP").unwrap();
        let said = push.line_with("error: SIGHUP: --token-file").unwrap();
        assert!(said.contains("the old files and tokens stay in use"), "{said}");
        assert!(!said.contains("xxx"), "{said}");
    }
    // The old certificate and the old token are still valid, and the new certificate is not presented.
    let mut pull = worker(&old, &old, dir.path(), "worker", &at, &with_token);
    push.line_with("(certificate for worker)").unwrap();
    // The other way round: a good token and an invalid certificate.
    push.forget_lines();
    fs::write(&token, "second\n").unwrap();
    fs::write(dir.path().join("push.crt"), "nonsense").unwrap();
    push.signal("HUP").unwrap();
    push.line_with("the old files and tokens stay in use").unwrap();
    let mut late = worker(&old, &old, dir.path(), "late", &at, &with_token);
    push.line_with("(certificate for late)").unwrap();
    push.close_input();
    assert_eq!((code(&mut push), code(&mut pull), code(&mut late)), (0, 0, 0));
}

#[test]
fn secrets_that_other_users_can_read_cause_a_warning() {
    // HS-4
    let (ca, dir) = (Ca::new("test"), tempfile::tempdir().unwrap());
    let token = dir.path().join("token");
    fs::write(&token, "hush\n").unwrap();
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    set(&token, 0o640);
    let (certificate, key) = ca.sign(&["127.0.0.1"]).write(dir.path(), "push");
    set(&key, 0o644);
    let args =
        ["push", "--bind", "tls://127.0.0.1:0", "--tls-cert", text(&certificate), "--tls-key", text(&key)];
    let with_token = ["--token-file", text(&token)];
    let mut push = tidegate(&[&args[..], &with_token].concat());
    push.line_with("token: its group can read or change this file (mode 640)").unwrap();
    push.forget_lines();
    let mut push = tidegate(&[&args[..], &with_token].concat());
    push.line_with("push.key: every user of this machine can read or change this file (mode 644)").unwrap();
    set(&token, 0o600);
    set(&key, 0o600);
    let mut push = tidegate(&[&args[..], &with_token, &["--linger", "0s"]].concat());
    push.endpoint().unwrap();
    push.close_input();
    push.exit().unwrap();
    assert!(!push.lines_seen().iter().any(|line| line.contains("this file")), "{:?}", push.lines_seen());
    let mut open = by(&["env", "TIDEGATE_TOKEN=hush"], &["push", "--bind", "tcp://127.0.0.1:0"]);
    let said = open.line_with("TIDEGATE_TOKEN").unwrap();
    assert!(said.contains("--token-file is safer") && !said.contains("hush"), "{said}");
}

#[test]
fn a_connecting_daemon_presents_its_new_certificate_at_its_next_attempt() {
    // TL-7, TL-8: a refusal is not final, because certificates are renewed.
    let (ca, other, dir) = (Ca::new("test"), Ca::new("other"), tempfile::tempdir().unwrap());
    let (mut push, at) = secured(&ca, dir.path(), &[]);
    let mut pull = worker(&other, &ca, dir.path(), "worker", &at, &[]);
    pull.line_with("does not trust the CA of our certificate (unknown_ca); trying again").unwrap();
    ca.sign(&["worker"]).write(dir.path(), "worker");
    pull.signal("HUP").unwrap();
    pull.line_with("SIGHUP: reloaded the certificates").unwrap();
    push.feed(numbers(10));
    assert_eq!(sorted(&[pull.output().unwrap()]), (0..10).collect::<Vec<_>>());
    assert_eq!((code(&mut push), code(&mut pull)), (0, 0));
}

#[test]
fn allow_restricts_a_pipeline_to_the_given_names() {
    // TL-5
    let (ca, dir) = (Ca::new("test"), tempfile::tempdir().unwrap());
    let (mut push, at) = secured(&ca, dir.path(), &["--allow", "=worker-1,worker-2"]);
    let mut other = worker(&ca, &ca, dir.path(), "worker-3", &at, &[]);
    other.line_with("NO_PIPELINE: HS-5: the pipeline does not exist, or this peer may not use it").unwrap();
    assert_eq!(code(&mut other), 1);
    let mut pull = worker(&ca, &ca, dir.path(), "worker-2", &at, &[]);
    push.feed(numbers(3));
    assert_eq!(sorted(&[pull.output().unwrap()]), [0, 1, 2]);
    assert_eq!((code(&mut push), code(&mut pull)), (0, 0));
}

#[test]
fn an_open_port_causes_a_warning_and_unusable_files_are_an_error_at_startup() {
    // On all interfaces, until the warning is printed; nothing connects.
    let mut open = tidegate(&["push", "--bind", "tcp://0.0.0.0:0"]);
    open.line_with("is open to every host that can reach it").unwrap();
    open.close_input();
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    fs::write(&token, "hush").unwrap();
    for more in
        [&["--bind", "tcp://127.0.0.1:0"][..], &["--bind", "tcp://0.0.0.0:0", "--token-file", text(&token)]]
    {
        let mut quiet = tidegate(&[&["push", "--linger", "0"], more].concat());
        quiet.endpoint().unwrap();
        quiet.feed(Vec::new());
        assert_eq!(code(&mut quiet), 0);
        assert!(!quiet.lines_seen().iter().any(|line| line.contains("open to every host")), "{more:?}");
    }
    let (certificate, _) = Ca::new("test").sign(&["a"]).write(dir.path(), "a");
    let (_, key) = Ca::new("test").sign(&["b"]).write(dir.path(), "b");
    let mut wrong = tidegate(&[
        "push",
        "--bind",
        "tls://127.0.0.1:0",
        "--tls-cert",
        text(&certificate),
        "--tls-key",
        text(&key),
    ]);
    let said = wrong.line_with("error:").unwrap();
    assert!(said.contains("b.key") && said.contains("does not match the certificate in"), "{said}");
    assert_eq!(code(&mut wrong), 1);
}

#[test]
fn without_files_to_reload_a_hangup_stops_the_process_gracefully() {
    // The tests may run with hangups ignored, as under `nohup`, and a child process inherits that.
    let mut push = by(&["env", "--default-signal=HUP"], &["push", "--bind", "tcp://127.0.0.1:0"]);
    push.endpoint().unwrap();
    push.signal("HUP").unwrap();
    assert_eq!(code(&mut push), 4, "its input had not ended");
}

#[test]
fn a_puller_counts_the_pushers_that_it_expects_by_their_certificates() {
    // ST-6, TL-4
    let (ca, dir) = (Ca::new("test"), tempfile::tempdir().unwrap());
    let ca_file = ca.write(dir.path(), "ca.crt");
    let (certificate, key) = ca.sign(&["127.0.0.1"]).write(dir.path(), "pull");
    let args = ["pull", "--bind", "tls://127.0.0.1:0", "--tls-verify-client", "--expect", "2"];
    let files = ["--tls-ca", text(&ca_file), "--tls-cert", text(&certificate), "--tls-key", text(&key)];
    let mut pull = tidegate(&[&args[..], &files].concat());
    let at = pull.endpoint().unwrap();
    let mut output = pull.stdout().unwrap();
    // The first pusher ends three streams, each under a new instance.
    for name in ["first", "first", "first", "second"] {
        let (certificate, key) = ca.sign(&[name]).write(dir.path(), name);
        let args = ["push", "--connect", &at, "--tls-ca", text(&ca_file), "--tls-cert", text(&certificate)];
        let mut push = tidegate(&[&args[..], &["--tls-key", text(&key)]].concat());
        push.feed(format!("{name}\n").into_bytes());
        assert_eq!(line(&mut output), name);
        assert_eq!(code(&mut push), 0);
    }
    assert_eq!(code(&mut pull), 0);
}
