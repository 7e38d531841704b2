//! The daemons as the first process of a container (PID 1), which inherits orphaned processes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::fs;

use tidegate_tests::{
    chaos::have,
    daemons::{by, code, numbers, push, summary, tidegate},
};

const FIRST: [&str; 4] = ["unshare", "--pid", "--fork", "--mount-proc"];

/// The child processes of `parent`, including those that it has not yet reaped.
fn children(parent: u32) -> Vec<u32> {
    let stat = |pid: u32| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let is_child = |pid: &u32| {
        let stat = stat(*pid);
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().nth(1);
        fields.is_some_and(|field| field == parent.to_string())
    };
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_child).collect()
}

#[test]
fn a_puller_reaps_orphans_and_keeps_the_exit_status_of_its_own_commands() {
    if !have(&["unshare"]) {
        return;
    }
    let (mut push, at) = push(1, &["--json"]);
    // Each command leaves an orphan behind; the last one ends when no zombies are left.
    let command = r#"read -r n; (sleep 0.05 &); [ "$TIDEGATE_ATTEMPT" = 1 ] && [ "$n" = 7 ] && exit 3
        [ "$n" = 29 ] || exit 0
        while grep -q '^State:.Z' /proc/[0-9]*/status 2>/dev/null; do sleep 0.05; done; echo clean"#;
    let mut pull = by(&FIRST, &["pull", "--connect", &at, "--jobs", "4", "--exec", command]);
    push.feed(numbers(30));
    assert_eq!(pull.output().unwrap(), "clean\n");
    assert_eq!((code(&mut push), code(&mut pull)), (0, 0));
    let sum = summary(&mut push);
    assert_eq!((&sum["acked"], &sum["nacked"]), (&30.into(), &1.into()), "{sum}");
}

#[test]
fn a_pusher_reaps_orphans() {
    if !have(&["unshare"]) {
        return;
    }
    let script = r#"(sleep 0.05 &) ; sleep 0.05 & exec "$@""#;
    let starter = [&FIRST[..], &["sh", "-c", script, "sh"]].concat();
    let mut push = by(&starter, &["push", "--bind", "tcp://127.0.0.1:0"]);
    let at = push.endpoint().unwrap();
    let [first] = children(push.id())[..] else { panic!("unshare has one child") };
    while !children(first).is_empty() {
        std::thread::yield_now();
    }
    let mut pull = tidegate(&["pull", "--connect", &at]);
    push.feed(numbers(5));
    assert_eq!(pull.output_bytes().unwrap(), numbers(5));
    assert_eq!((code(&mut push), code(&mut pull)), (0, 0));
}
