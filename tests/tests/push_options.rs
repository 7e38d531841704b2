//! Checks each option of `tidegate push` with real processes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::fs;

use tidegate_tests::{
    daemons::{by, code, line, make_fifo, numbers, push, sorted, summary, tidegate},
    process::Process,
};

/// Starts a puller that processes messages 0, 1, 2 and so on. It starts message `hang` and does not end it. Returns
/// when that message has started.
fn pull_until(at: &str, hang: usize, feed: impl FnOnce()) -> Process {
    let command =
        format!("read -r n; echo $n; [ $n -lt {hang} ] || exec sleep 60; [ $((n % 3)) != 1 ] || exit 65");
    let mut pull = tidegate(&["pull", "--connect", at, "--exec", &command]);
    feed();
    let mut output = pull.stdout().unwrap();
    for n in 0..=hang {
        assert_eq!(line(&mut output), n.to_string());
    }
    pull
}

fn abort(push: &mut Process, signal: &str) {
    push.signal(signal).unwrap();
    push.line_with(&format!("SIG{signal}")).unwrap();
    push.signal(signal).unwrap();
    assert_eq!(code(push), 5);
}

#[test]
fn after_an_abort_unsent_holds_exactly_the_messages_left_and_the_counts_agree() {
    for (signal, high_water_mark) in [("INT", "1000"), ("TERM", "2")] {
        let dir = tempfile::tempdir().unwrap();
        let (unsent, dead) = (dir.path().join("unsent"), dir.path().join("dead"));
        let files = ["--unsent", unsent.to_str().unwrap(), "--dead-letter", dead.to_str().unwrap()];
        let more = [&files[..], &["--json", "--high-water-mark", high_water_mark]].concat();
        let (mut push, at) = push(1, &more);
        let _pull = pull_until(&at, 5, || push.feed(numbers(10)));
        abort(&mut push, signal);
        assert_eq!(
            fs::read_to_string(unsent).unwrap(),
            "5\n6\n7\n8\n9\n",
            "the order differs from the input"
        );
        assert_eq!(sorted(&[fs::read_to_string(dead).unwrap()]), [1, 4]);
        let summary = summary(&mut push);
        let number = |name: &str| summary[name].as_u64().unwrap();
        assert_eq!((number("acked"), number("rejected")), (3, 2), "{summary}");
        assert_eq!((number("not_acked"), number("not_sent")), (1, 4), "{summary}");
        let settled = number("acked") + number("rejected");
        assert_eq!(number("accepted"), settled + number("not_acked") + number("not_sent"), "{summary}");
        assert_eq!(number("exit"), 5);
    }
}

#[test]
fn after_the_linger_time_unsent_holds_exactly_the_messages_left() {
    let dir = tempfile::tempdir().unwrap();
    let unsent = dir.path().join("unsent");
    let (mut push, at) = push(1, &["--unsent", unsent.to_str().unwrap(), "--linger", "50ms", "--json"]);
    let _pull = pull_until(&at, 3, || (0..8).for_each(|n| push.write_line(&n.to_string())));
    // The linger time starts at the end of the input, not before.
    push.close_input();
    assert_eq!(code(&mut push), 4);
    assert_eq!(fs::read_to_string(unsent).unwrap(), "3\n4\n5\n6\n7\n");
    let summary = summary(&mut push);
    assert_eq!(
        (&summary["accepted"], &summary["acked"], &summary["rejected"]),
        (&8.into(), &2.into(), &1.into())
    );
    assert_eq!((&summary["not_acked"], &summary["not_sent"]), (&1.into(), &4.into()));
    assert_eq!(summary["input_complete"], true);
}

#[test]
fn a_linger_without_any_puller_leaves_everything_and_appends_it() {
    let dir = tempfile::tempdir().unwrap();
    let unsent = dir.path().join("unsent");
    fs::write(&unsent, "from before\n").unwrap();
    let (mut push, _) = push(0, &["--unsent", unsent.to_str().unwrap(), "--linger", "50ms"]);
    push.feed(numbers(5));
    assert_eq!(code(&mut push), 4);
    assert_eq!(fs::read_to_string(unsent).unwrap(), "from before\n0\n1\n2\n3\n4\n");
}

#[test]
fn after_the_maximum_number_of_attempts_a_message_becomes_a_dead_letter() {
    let dir = tempfile::tempdir().unwrap();
    let dead = dir.path().join("dead");
    let (mut push, at) = push(1, &["--max-attempts", "3", "--dead-letter", dead.to_str().unwrap(), "--json"]);
    let command = r#"read -r n; echo "$n $TIDEGATE_ATTEMPT"; [ $((n % 5)) != 0 ]"#;
    let mut pull = tidegate(&["pull", "--connect", &at, "--exec", command]);
    push.feed(numbers(20));
    assert_eq!(code(&mut push), 3, "some rejected");
    assert_eq!(sorted(&[fs::read_to_string(dead).unwrap()]), [0, 5, 10, 15]);
    let summary = summary(&mut push);
    let number = |name: &str| summary[name].as_u64().unwrap();
    assert_eq!((number("accepted"), number("acked"), number("rejected")), (20, 16, 4), "{summary}");
    assert_eq!(number("redelivered"), 4 * 2, "{summary}");
    let text = pull.output().unwrap();
    assert_eq!(code(&mut pull), 0, "the pusher rejected, not the puller");
    for n in 0..20 {
        let tries: Vec<_> = text.lines().filter_map(|line| line.strip_prefix(&format!("{n} "))).collect();
        assert_eq!(tries, if n % 5 == 0 { &["1", "2", "3"][..] } else { &["1"] }, "{n}");
    }
}

#[test]
fn dead_letters_have_the_framing_of_the_input() {
    let dir = tempfile::tempdir().unwrap();
    let dead = dir.path().join("dead");
    let (mut push, at) = push(1, &["--length-prefixed", "--dead-letter", dead.to_str().unwrap()]);
    let mut pull = tidegate(&["pull", "--connect", &at, "--exec", "exit 65"]);
    let framed = b"\0\0\0\x03a\nb\0\0\0\0\0\0\0\x02\xff\0".to_vec();
    push.feed(framed.clone());
    assert_eq!(code(&mut push), 3);
    assert_eq!(fs::read(dead).unwrap(), framed, "one after another, so in order");
    assert_eq!(code(&mut pull), 3);
}

#[test]
fn an_unreadable_input_is_reported_before_the_pusher_waits_for_sent_messages() {
    let dir = tempfile::tempdir().unwrap();
    let (there, typo) = (dir.path().join("there"), dir.path().join("typo"));
    fs::write(&there, "0\n").unwrap();
    let (mut push, at) = push(0, &[there.to_str().unwrap(), typo.to_str().unwrap(), "--linger", "forever"]);
    // No puller is connected, so the message waits.
    push.line_with_all(&["typo", "cannot open it"]).unwrap();
    push.forget_lines();
    let pull = tidegate(&["pull", "--connect", &at]);
    assert_eq!(code(&mut push), 1);
    push.line_with("1 acked").unwrap();
    assert!(push.lines_seen().iter().all(|line| !line.contains("typo")), "it is reported once");
    pull.signal("TERM").unwrap();
}

#[test]
fn a_signal_after_the_whole_input_was_read_is_no_failure_if_all_is_acked() {
    // A high-water mark of 1 keeps most of the input in the read-ahead buffer.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, numbers(20)).unwrap();
    let (mut push, at) = push(1, &[file.to_str().unwrap(), "--high-water-mark", "1"]);
    let pull = ["pull", "--connect", &at, "--exec", "read -r n; echo $n; [ $n != 0 ] || read -r _ < go"];
    let go = dir.path().join("go");
    make_fifo(&go);
    let mut command = tidegate_tests::daemons::command(&[], &pull);
    command.current_dir(dir.path()).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut pull = Process::spawn(&mut command).unwrap();
    let mut output = pull.stdout().unwrap();
    assert_eq!(line(&mut output), "0");
    push.signal("TERM").unwrap();
    push.line_with("SIGTERM").unwrap();
    fs::write(&go, "\n").unwrap();
    assert_eq!(code(&mut push), 0);
    push.line_with("20 acked").unwrap();
    pull.signal("TERM").unwrap();
}

#[test]
fn a_pusher_raises_its_limit_on_descriptors_for_its_links() {
    let limited = ["sh", "-c", r#"ulimit -S -n 40; ulimit -H -n 50; exec "$@""#, "sh"];
    let mut push = by(&limited, &["push", "--bind", "tcp://127.0.0.1:0"]);
    push.endpoint().unwrap();
    let limits = fs::read_to_string(format!("/proc/{}/limits", push.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().skip(3).collect::<Vec<_>>(), ["50", "50", "files"]);
}
