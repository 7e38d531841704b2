//! `pull --worker`: processes that exit, hang, or send wrong answers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::fs;

use tidegate_tests::daemons::{by, code, numbers, push, sorted, summary, tidegate};

#[test]
fn a_worker_that_exits_while_a_child_holds_its_stdout_is_replaced_and_its_message_retried() {
    let dir = tempfile::tempdir().unwrap();
    let (once, done) = (dir.path().join("once"), dir.path().join("done"));
    let (mut push, at) = push(1, &["--json"]);
    // The first process leaves a child behind and exits without an answer; the next one works.
    let worker = format!(
        r#"[ -e {0} ] || {{ touch {0}; sleep 1000 & read -r x; exit 1; }}; while read -r x; do echo "$x" >> {1}; echo ok; done"#,
        once.display(),
        done.display()
    );
    let mut pull = tidegate(&["pull", "--connect", &at, "--worker", &worker]);
    push.feed(numbers(3));
    pull.line_with_all(&["it ended (exit status: 1)", "restarted"]).unwrap();
    assert_eq!((code(&mut push), code(&mut pull)), (0, 0));
    let sum = summary(&mut push);
    assert_eq!((&sum["acked"], &sum["nacked"]), (&3.into(), &1.into()), "{sum}");
    assert_eq!(sorted(&[fs::read_to_string(done).unwrap()]), [0, 1, 2]);
}

#[test]
fn an_answer_before_the_exit_counts_although_the_stdout_stays_open_or_the_newline_is_missing() {
    for answer in ["echo ok", "printf ok"] {
        let (mut push, at) = push(1, &["--json"]);
        let worker = format!("sleep 1000 & read -r x; {answer}; exit 3");
        let mut pull = tidegate(&["pull", "--connect", &at, "--worker", &worker]);
        push.feed(numbers(5));
        assert_eq!((code(&mut push), code(&mut pull)), (0, 0), "{answer}");
        let sum = summary(&mut push);
        assert_eq!((&sum["acked"], &sum["nacked"]), (&5.into(), &0.into()), "{answer}: {sum}");
    }
}

#[test]
fn workers_that_closed_their_stdin_finish_their_work_although_others_have_taken_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let (go, done) = (dir.path().join("go"), dir.path().join("done"));
    let (mut push, at) = push(1, &["--json"]);
    let worker = format!(
        r#"read -r x; exec <&-; echo ok; until [ -e {} ]; do sleep 0.05; done; echo "$x" >> {}"#,
        go.display(),
        done.display()
    );
    let mut pull = tidegate(&["pull", "--connect", &at, "--worker", &worker]);
    push.feed(numbers(4));
    assert_eq!(code(&mut push), 0);
    assert_eq!(summary(&mut push)["acked"], 4);
    fs::write(go, "").unwrap();
    assert_eq!(code(&mut pull), 0);
    assert_eq!(sorted(&[fs::read_to_string(done).unwrap()]), [0, 1, 2, 3], "no worker was killed");
}

#[test]
fn a_worker_that_answers_too_often_is_restarted_and_no_message_is_acked_unprocessed() {
    let dir = tempfile::tempdir().unwrap();
    let done = dir.path().join("done");
    let (mut push, at) = push(1, &["--json"]);
    // Each process gives three answers to its first message, and processes no other.
    let worker =
        format!(r#"read -r x; echo "$x" >> {}; printf 'ok\nok\nok\n'; exec sleep 1000"#, done.display());
    let mut pull = tidegate(&["pull", "--connect", &at, "--worker", &worker]);
    push.feed(numbers(4));
    pull.line_with("answered more often than it was asked").unwrap();
    assert_eq!(code(&mut push), 0);
    assert_eq!(summary(&mut push)["acked"], 4);
    assert_eq!(sorted(&[fs::read_to_string(done).unwrap()]), [0, 1, 2, 3], "a message was not processed");
    pull.signal("TERM").unwrap();
    pull.signal("TERM").unwrap();
    pull.exit().unwrap();
}

#[test]
fn a_worker_that_answers_without_reading_processes_nothing_and_stops_the_daemon() {
    let (mut push, at) = push(1, &["--json"]);
    push.feed(numbers(3));
    let mut pull = tidegate(&["pull", "--connect", &at, "--worker", "while :; do echo ok; sleep 0.01; done"]);
    pull.line_with_all(&["error: ", "failures in a row", "before it had read"]).unwrap();
    assert_eq!(code(&mut pull), 1);
    assert!(pull.line_with("0 acked").is_ok());
    let mut other = tidegate(&["pull", "--connect", &at]);
    assert_eq!(sorted(&[other.output().unwrap()]), [0, 1, 2]);
    assert_eq!((code(&mut push), code(&mut other)), (0, 0));
}

#[test]
fn a_message_that_kills_its_worker_does_not_stop_the_daemon_once_another_was_processed() {
    let dir = tempfile::tempdir().unwrap();
    let dead = dir.path().join("dead");
    for end in ["exit 1", "exit 127", "kill -9 $$"] {
        let (mut push, at) = push(1, &["--max-attempts", "6", "--dead-letter", dead.to_str().unwrap()]);
        let worker = format!(r#"while read -r x; do [ "$x" = poison ] && {end}; echo ok; done"#);
        let mut pull = tidegate(&["pull", "--connect", &at, "--worker", &worker]);
        push.feed(b"good\npoison\ngood\n".to_vec());
        assert_eq!((code(&mut push), code(&mut pull)), (3, 0), "{end}");
        assert_eq!(fs::read_to_string(&dead).unwrap(), "poison\n");
        fs::remove_file(&dead).unwrap();
    }
}

#[test]
fn a_worker_that_does_not_answer_in_time_is_stopped_and_replaced() {
    let (mut push, at) = push(1, &["--max-attempts", "2", "--json"]);
    let worker = r#"sleep 1000 & while read -r x; do [ "$x" = 1 ] && sleep 1000; echo ok; done"#;
    let mut pull = tidegate(&["pull", "--connect", &at, "--timeout", "200ms", "--worker", worker]);
    push.feed(numbers(3));
    pull.line_with("not answered within --timeout 200ms").unwrap();
    assert_eq!((code(&mut push), code(&mut pull)), (3, 0));
    let sum = summary(&mut push);
    assert_eq!((&sum["acked"], &sum["nacked"], &sum["rejected"]), (&2.into(), &2.into(), &1.into()), "{sum}");
}

#[test]
fn idle_workers_make_room_while_others_wait_for_descriptors() {
    let (mut push, at) = push(1, &["--json"]);
    let worker = "while read -r x; do sleep 0.1; echo ok; done";
    let limited = ["sh", "-c", r#"ulimit -n 48; exec "$@""#, "sh"];
    let mut pull = by(&limited, &["pull", "--connect", &at, "--jobs", "100", "--worker", worker]);
    push.feed(numbers(100));
    pull.line_with("cannot start").unwrap();
    assert_eq!((code(&mut push), code(&mut pull)), (0, 0));
    let sum = summary(&mut push);
    assert_eq!((&sum["acked"], &sum["nacked"]), (&100.into(), &0.into()), "{sum}");
}
