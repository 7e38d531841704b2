//! Standard streams that are closed, or open in the wrong direction: an error before the first message.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use tidegate_tests::daemons::{by, code, numbers, push, tidegate};

/// Starts a daemon with a shell redirection.
fn redirected(how: &str, args: &[&str]) -> tidegate_tests::process::Process {
    by(&["sh", "-c", &format!(r#"exec "$@" {how}"#), "sh"], args)
}

#[test]
fn a_stdout_that_is_closed_or_read_only_is_an_error_before_the_first_message() {
    let (mut push, at) = push(1, &["--json"]);
    push.feed(numbers(5));
    for (how, names, what) in [
        (">&-", &[][..], "stdout is closed"),
        (">&-", &["--output", "-"], "stdout is closed"),
        (">&-", &["--output", "/dev/stdout"], "stdout is closed"),
        (">&- <&- ", &["--json"], "stdout is closed"),
        ("1</dev/null", &[], "stdout was opened for reading only"),
    ] {
        let mut pull = redirected(how, &[&["pull", "--connect", &at], names].concat());
        pull.line_with(what).unwrap();
        assert_eq!(code(&mut pull), 1, "{how} {names:?}");
    }
    let mut other = tidegate(&["pull", "--connect", &at, "--json"]);
    assert_eq!(other.output().unwrap().matches("\"attempt\":1").count(), 5, "a message was taken");
    assert_eq!((code(&mut push), code(&mut other)), (0, 0));
}

#[test]
fn a_closed_stream_by_its_name_is_an_error_before_the_first_message() {
    for option in ["--unsent", "--dead-letter"] {
        let args = ["push", "--bind", "tcp://127.0.0.1:0", option, "/dev/stdout", "/dev/null"];
        let mut push = redirected(">&-", &args);
        push.line_with(&format!("{option} /dev/stdout: it is closed")).unwrap();
        assert_eq!(code(&mut push), 1);
    }
    let args = ["pull", "--bind", "tcp://127.0.0.1:0", "--output", "/dev/stderr"];
    assert_eq!(code(&mut redirected("2>&-", &args)), 1);
}

#[test]
fn messages_may_be_dropped_on_purpose() {
    for how in [">/dev/null", "1<>/dev/null"] {
        let (mut push, at) = push(1, &[]);
        let mut pull = redirected(how, &["pull", "--connect", &at]);
        push.feed(numbers(5));
        assert_eq!((code(&mut push), code(&mut pull)), (0, 0), "{how}");
    }
}
