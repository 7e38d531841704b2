//! Daemons with many connections: silent connections, and more links than there are file descriptors.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once
#![cfg(target_os = "linux")] // every program may use the addresses 127.0.0.x, and prlimit exists

use std::{net::SocketAddr, process::Command};

use tidegate_proto::Role;
use tidegate_tests::{
    daemons::{code, line, numbers, push, sorted, tidegate},
    hostile::raw::{Raw, address, hello},
    process::Process,
};

async fn connections(at: SocketAddr, of_each: usize) -> Vec<Raw> {
    let mut held = Vec::new();
    for last in 2..7 {
        for _ in 0..of_each {
            held.push(Raw::connect_from(at, last).await.unwrap());
        }
    }
    held
}

#[tokio::test]
async fn a_newcomer_connects_although_five_addresses_hold_64_silent_connections_each() {
    // HS-12, HS-13
    let (mut push, at) = push(1, &[]);
    let held = connections(address(&at), 64).await;
    // The last connections displace others, which may connect again.
    push.line_with("HS-12: a newer connection has taken the place").unwrap();
    let mut pull = tidegate(&["pull", "--connect", &at]);
    push.feed(numbers(100));
    assert_eq!(sorted(&[pull.output().unwrap()]), (0..100).collect::<Vec<_>>());
    assert_eq!((code(&mut push), code(&mut pull)), (0, 0));
    drop(held);
}

/// Limits the file descriptors of a process to numbers below `end`.
fn limit_files(process: &Process, end: usize) {
    let limit = format!("--nofile={end}:{end}");
    let status = Command::new("prlimit").args(["--pid", &process.id().to_string(), &limit]).status().unwrap();
    assert!(status.success());
}

#[test]
fn links_leave_file_descriptors_for_commands_and_those_beyond_are_refused() {
    // HS-12
    const LIMIT: usize = 128;
    let mut pull = tidegate(&["pull", "--bind", "tcp://127.0.0.1:0", "--exec", "cat; echo", "--jobs", "1"]);
    let at = pull.endpoint().unwrap();
    let mut push = tidegate(&["push", "--connect", &at]);
    push.write_line("0");
    let mut output = pull.stdout().unwrap();
    assert_eq!(line(&mut output), "0");
    limit_files(&pull, LIMIT);
    let mut links = Vec::new();
    let refused = loop {
        assert!(links.len() < LIMIT, "more links than file descriptors");
        let mut raw = Raw::connect(address(&at)).unwrap();
        match raw.greet(hello(Role::Pusher, u8::try_from(links.len()).unwrap())) {
            Ok(()) => links.push(raw),
            Err(error) => break error.to_string(),
        }
    };
    assert!(refused.starts_with("BUSY: HS-12: ") && refused.contains("file descriptors"), "{refused}");
    assert!(links.len() > LIMIT / 2, "only {} links", links.len());
    let said = pull.line_with("refused ").unwrap();
    for part in ["128 file descriptors", "of which 16 are reserved", "ulimit -n"] {
        assert!(said.contains(part), "{said}");
    }
    // Commands can still be started.
    for number in 1..20 {
        push.write_line(&number.to_string());
        assert_eq!(line(&mut output), number.to_string());
    }
    // A link that ends makes room for another.
    links.truncate(links.len() - 5);
    let mut second = tidegate(&["push", "--connect", &at]);
    second.write_line("another");
    assert_eq!(line(&mut output), "another");
    for mut process in [push, second] {
        process.close_input();
        assert_eq!(code(&mut process), 0);
    }
}
