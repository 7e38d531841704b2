//! `--unix-mode` of both daemons: the socket has its mode before any process can connect.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::{fs, os::unix::fs::PermissionsExt};

use tidegate_tests::daemons::{code, numbers, tidegate};

#[test]
fn the_file_of_a_unix_socket_has_the_requested_mode() {
    let dir = tempfile::tempdir().unwrap();
    for (listens, connects, mode) in [("push", "pull", "660"), ("pull", "push", "0o600")] {
        let path = dir.path().join(format!("{listens}.sock"));
        let at = format!("unix://{}", path.display());
        let mut listener = tidegate(&[listens, "--bind", &at, "--unix-mode", mode]);
        listener.line_with("listening").unwrap();
        let wanted = u32::from_str_radix(mode.trim_start_matches("0o"), 8).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, wanted, "{listens}");
        let mut connector = tidegate(&[connects, "--connect", &at]);
        let (push, pull) =
            if listens == "push" { (&mut listener, &mut connector) } else { (&mut connector, &mut listener) };
        push.feed(numbers(10));
        assert_eq!(code(push), 0);
        if listens == "pull" {
            pull.signal("TERM").unwrap(); // more pushers may come
        }
        assert_eq!(code(pull), 0);
    }
}

#[test]
fn an_invalid_mode_is_a_usage_error_that_names_the_option() {
    for args in [
        &["pull", "--bind", "unix:///tmp/x", "--unix-mode", "888"][..],
        &["pull", "--bind", "unix:///tmp/x", "--unix-mode", "077"],
        &["push", "--bind", "tcp://127.0.0.1:0", "--unix-mode", "660"],
        &["push", "--connect", "unix:///tmp/x", "--unix-mode", "660"],
    ] {
        let mut daemon = tidegate(args);
        assert_eq!(code(&mut daemon), 2, "{args:?}");
        daemon.line_with("unix").unwrap();
    }
}
