//! The daemons as real processes: the behaviour that operators rely on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, Read, Write},
    net::TcpStream,
};

use tidegate_proto::Rule;
use tidegate_tests::daemons::{code, line, make_fifo, numbers, push, sorted, tidegate};
use tidegate_tests::process::Process;

#[test]
// The output of each puller fits into its pipe, so the pipes can be read one after the other.
fn three_pullers_share_the_input_exactly_and_push_ends_after_the_last_ack() {
    let (mut push, at) = push(3, &[]);
    let mut pulls: Vec<_> = (0..3).map(|_| tidegate(&["pull", "--connect", &at])).collect();
    push.feed(numbers(15_000));
    let texts: Vec<_> = pulls.iter_mut().map(|pull| pull.output().unwrap()).collect();
    assert!(texts.iter().all(|text| !text.is_empty()), "a puller got no messages");
    assert_eq!(sorted(&texts), (0..15_000).collect::<Vec<_>>(), "a line is missing or repeated");
    assert_eq!(code(&mut push), 0);
    assert!(pulls.iter_mut().all(|pull| code(pull) == 0));
}

#[test]
fn a_killed_puller_loses_nothing_and_repeats_at_most_its_window() {
    let (mut push, at) = push(2, &[]);
    // The first job of the killed puller runs longer than the test, so its messages are un-acked when it is killed. The
    // job ends by itself.
    let victim = tidegate(&["pull", "--connect", &at, "--window", "5", "--exec", "cat; exec sleep 60"]);
    let mut pull = tidegate(&["pull", "--connect", &at, "--json"]);
    push.feed(numbers(2_000));
    let mut seen = BTreeMap::<String, u64>::new();
    let mut repeats = 0;
    for (index, line) in pull.stdout().unwrap().lines().enumerate() {
        let value: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        let attempt = value["attempt"].as_u64().unwrap();
        repeats += u64::from(attempt > 1);
        assert!(
            seen.insert(value["payload"].as_str().unwrap().to_owned(), attempt).is_none(),
            "a message ran twice"
        );
        if index == 1_000 {
            victim.signal("KILL").unwrap();
        }
    }
    assert_eq!(seen.len(), 2_000, "the outputs together cover the input");
    assert!((1..=5).contains(&repeats), "{repeats} repeated, from a window of 5");
    assert_eq!(code(&mut push), 0);
}

#[test]
fn a_command_that_fails_twice_for_every_tenth_message_processes_all_of_them() {
    let (mut push, at) = push(1, &[]);
    let command =
        r#"read n; if [ $((n % 10)) = 0 ] && [ "$TIDEGATE_ATTEMPT" -lt 3 ]; then exit 75; fi; echo $n"#;
    let mut pull = tidegate(&["pull", "--connect", &at, "--exec", command, "--jobs", "4"]);
    push.feed(numbers(100));
    assert_eq!(sorted(&[pull.output().unwrap()]), (0..100).collect::<Vec<_>>());
    assert!(push.line_with("20 failed attempts").is_ok());
    assert_eq!(code(&mut push), 0);
}

#[test]
fn exactly_the_messages_that_a_worker_rejects_become_dead_letters() {
    let dir = tempfile::tempdir().unwrap();
    let dead = dir.path().join("dead");
    let (mut push, at) = push(1, &["--dead-letter", dead.to_str().unwrap()]);
    let worker = r#"while read n; do case $n in *7) echo "reject odd" ;; *) echo ok ;; esac; done"#;
    let mut pull = tidegate(&["pull", "--connect", &at, "--worker", worker, "--jobs", "2"]);
    push.feed(numbers(100));
    assert_eq!(code(&mut push), 3, "some messages were rejected");
    pull.exit().unwrap();
    let expected: Vec<_> = (0..100).filter(|n| n % 10 == 7).collect();
    assert_eq!(sorted(&[fs::read_to_string(dead).unwrap()]), expected);
}

#[test]
fn strangers_are_refused_and_named_at_constant_memory_while_a_link_keeps_working() {
    // FR-1, FR-3, FR-4, ER-1
    let (mut push, at) = push(1, &[]);
    let mut pull = tidegate(&["pull", "--connect", &at]);
    let mut output = pull.stdout().unwrap();
    let mut pass = |push: &mut Process, name: &str| {
        // The pusher's input stays open, so that the link is used before, between and after the attacks.
        let mut line = String::new();
        push.write_line(name);
        output.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), name);
    };
    pass(&mut push, "before");
    let before = push.peak_memory().unwrap();
    let local = tidegate_proto::handshake::Local {
        role: tidegate_proto::Role::Puller,
        instance: tidegate_proto::InstanceId([9; 16]),
        name: "stranger".into(),
        pipeline: String::new(),
        token: None,
        max_message: 16 << 20,
        heartbeat: std::time::Duration::from_secs(2),
        offered: Vec::new(),
        required: Vec::new(),
    };
    let hello = tidegate_proto::handshake::greet(&local, None, 1).to_vec();
    let random: Vec<u8> =
        (0..1u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 | 0x80).collect();
    let huge = u32::MAX.to_be_bytes().to_vec();
    let http = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
    let zeromq = [&[0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0][..], &[0; 52]].concat();
    let cases = [
        (http, "an HTTP request"),
        (zeromq, "a ZeroMQ greeting"),
        (random.clone(), Rule::Fr1.id()),
        (huge.clone(), Rule::Fr1.id()),
        ([&b"TIDEGATE"[..], &random].concat(), Rule::Fr3.id()),
        ([&b"TIDEGATE"[..], &huge].concat(), Rule::Fr3.id()),
        ([&hello[..], &random].concat(), Rule::Fr3.id()),
        ([&hello[..], &huge].concat(), Rule::Fr3.id()),
    ];
    for (index, (bytes, sign)) in cases.into_iter().enumerate() {
        let mut stream = TcpStream::connect(at.strip_prefix("tcp://").unwrap()).unwrap();
        let _ = stream.write_all(&bytes); // the daemon closes it before the end
        let _ = stream.read_to_end(&mut Vec::new());
        push.line_with(sign).unwrap();
        push.forget_lines();
        pass(&mut push, &format!("after {index}"));
    }
    let grown = push.peak_memory().unwrap() - before;
    assert!(grown < 4_096, "{grown} KiB more than before");
    push.close_input();
    assert_eq!(code(&mut push), 0);
}

#[test]
fn a_refused_puller_and_one_without_a_pusher_exit_1_with_the_reason() {
    // HS-5
    let (_push, at) = push(1, &[]);
    let mut pull = tidegate(&["pull", "--connect", &format!("{at}/elsewhere")]);
    pull.line_with("NO_PIPELINE").unwrap();
    assert_eq!(code(&mut pull), 1);
    let mut alone = tidegate(&["pull", "--connect", "tcp://127.0.0.1:1", "--connect-timeout", "100ms"]);
    assert_eq!(code(&mut alone), 1);
}

#[test]
fn the_benchmark_prints_its_figure_as_json() {
    let mut bench = tidegate(&["bench", "throughput", "--size", "64", "--count", "20000", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&bench.output().unwrap()).unwrap();
    for field in ["size", "count", "msgs_per_s", "mib_per_s"] {
        assert!(value[field].as_f64().unwrap() > 0.0, "{value}");
    }
    assert_eq!(value["window"], "auto", "{value}");
    assert_eq!(code(&mut bench), 0);
}

#[test]
fn the_demonstration_loses_nothing_when_a_worker_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..120 {
        fs::write(dir.path().join(format!("{i}.txt")), format!("file {i}").repeat(i)).unwrap();
    }
    let mut demo = tidegate(&["demo", dir.path().to_str().unwrap()]);
    let text = demo.output().unwrap();
    assert_eq!(code(&mut demo), 0, "{text}");
}

#[test]
fn a_usage_error_is_exit_2() {
    assert_eq!(code(&mut tidegate(&["push"])), 2);
    assert_eq!(code(&mut tidegate(&["pull", "--connect", "nonsense"])), 2);
}

#[test]
fn a_unix_socket_works_with_either_listener_and_is_removed_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("work");
    let at = format!("unix://{}#numbers", path.display());
    for (push_way, pull_way) in [("--bind", "--connect"), ("--connect", "--bind")] {
        let mut push = tidegate(&["push", push_way, &at]);
        let mut pull = tidegate(&["pull", pull_way, &at, "--count", "1000"]);
        push.feed(numbers(1_000));
        assert_eq!(pull.output().unwrap().as_bytes(), numbers(1_000));
        assert_eq!((code(&mut push), code(&mut pull)), (0, 0));
        assert!(!path.exists());
    }
}

#[test]
fn a_puller_waits_for_a_stopped_pusher_and_continues_when_it_restarts() {
    let (mut first, at) = push(1, &[]);
    let mut pull = tidegate(&["pull", "--connect", &at]);
    let mut output = pull.stdout().unwrap();
    first.write_line("before");
    assert_eq!(line(&mut output), "before");
    first.signal("TERM").unwrap();
    assert_eq!(code(&mut first), 4, "everything read was acked, but the input had not ended");
    let mut second = tidegate(&["push", "--bind", &at]);
    second.endpoint().unwrap();
    second.feed(b"after\n".to_vec());
    assert_eq!(line(&mut output), "after");
    assert_eq!((code(&mut second), code(&mut pull)), (0, 0));
    assert_eq!(output.lines().count(), 0);
}

#[test]
fn a_stopped_pusher_drains_the_messages_that_its_pullers_hold() {
    let dir = tempfile::tempdir().unwrap();
    let go = dir.path().join("go");
    make_fifo(&go);
    let (mut push, at) = push(1, &[]);
    // Each job prints its message at the start, and ends when the test writes to the pipe.
    let command = format!("read -r n; echo $n; read -r word < {}", go.display());
    let mut pull = tidegate(&["pull", "--connect", &at, "--exec", &command]);
    let mut output = pull.stdout().unwrap();
    push.write_line("1");
    push.write_line("2");
    assert_eq!(line(&mut output), "1");
    push.signal("TERM").unwrap();
    push.line_with("SIGTERM").unwrap();
    fs::write(&go, "go\n").unwrap();
    assert_eq!(line(&mut output), "2");
    fs::write(&go, "go\n").unwrap();
    assert_eq!(code(&mut push), 4, "its input had not ended");
    push.line_with("2 acked").unwrap();
}

#[test]
fn a_suspended_puller_keeps_its_messages_while_another_continues() {
    let (mut push, at) = push(1, &[]);
    // Its heartbeat interval is so long that the link survives the pause.
    let mut asleep = tidegate(&["pull", "--connect", &at, "--window", "5", "--heartbeat", "25s"]);
    let mut its_output = asleep.stdout().unwrap();
    push.write_line("0");
    assert_eq!(line(&mut its_output), "0");
    asleep.signal("STOP").unwrap();
    let mut awake = tidegate(&["pull", "--connect", &at]);
    let mut output = awake.stdout().unwrap();
    push.feed(numbers(2_000).split_off(2));
    let mut lines: Vec<String> = (0..2_000 - 1 - 5).map(|_| line(&mut output)).collect();
    assert!(lines.iter().all(|line| !line.is_empty()), "everything except a window has arrived");
    asleep.signal("CONT").unwrap();
    lines.extend(its_output.lines().chain(output.lines()).map(Result::unwrap));
    lines.push("0".to_owned());
    assert_eq!(sorted(&lines), (0..2_000).collect::<Vec<_>>(), "a message is lost or repeated");
    assert_eq!((code(&mut push), code(&mut asleep), code(&mut awake)), (0, 0, 0));
}

#[test]
fn the_messages_of_a_puller_suspended_for_too_long_go_to_another_and_it_reconnects() {
    // LV-3
    let (mut push, at) = push(1, &["-v"]);
    let pull = ["pull", "--connect", &at, "--json", "--window", "5"];
    let mut asleep = tidegate(&[&pull[..], &["--heartbeat", "100ms", "--name", "asleep"]].concat());
    let mut its_output = asleep.stdout().unwrap();
    push.write_line("0");
    assert!(line(&mut its_output).contains("\"0\""));
    asleep.signal("STOP").unwrap();
    let mut awake = tidegate(&pull);
    let mut output = awake.stdout().unwrap();
    (1..1_000).for_each(|n| push.write_line(&n.to_string()));
    let mut lines: Vec<String> = (1..1_000).map(|_| line(&mut output)).collect();
    push.line_with("has ended").unwrap();
    push.forget_lines();
    asleep.signal("CONT").unwrap();
    push.line_with("asleep").unwrap();
    push.close_input();
    lines.extend(output.lines().map(Result::unwrap));
    let mut got = Vec::new();
    for line in lines {
        let message: serde_json::Value = serde_json::from_str(&line).unwrap();
        let payload = message["payload"].as_str().unwrap().to_owned();
        if payload == "0" {
            // It was suspended between the write and the ack. Delivery is at least once, and the attempt number shows
            // the repeat.
            assert_eq!(message["attempt"], 2, "{message}");
        } else {
            got.push(payload);
        }
    }
    assert_eq!(sorted(&got), (1..1_000).collect::<Vec<_>>(), "the other puller got everything");
    // It still prints the messages that were in its socket when it was suspended: the attempt number tells them apart.
    assert!(its_output.lines().count() <= 5);
    assert_eq!((code(&mut push), code(&mut asleep), code(&mut awake)), (0, 0, 0));
}

#[test]
fn a_flood_of_strangers_is_counted_in_the_log_and_not_listed() {
    let (mut push, at) = push(1, &[]);
    for _ in 0..300 {
        let mut stream = TcpStream::connect(at.strip_prefix("tcp://").unwrap()).unwrap();
        let _ = stream.write_all(b"GET / HTTP/1.1\r\n\r\n");
        let _ = stream.read_to_end(&mut Vec::new());
    }
    // Refusals are either listed or counted, however long that takes.
    let (mut listed, mut counted) = (0, 0);
    while listed + counted < 300 {
        let line = push.line_with("refused").unwrap();
        push.forget_lines();
        match line.split_once(" more refused") {
            Some((before, _)) => counted += before.rsplit(' ').next().unwrap().parse::<u64>().unwrap(),
            None => listed += 1,
        }
    }
    assert_eq!(listed + counted, 300);
    let mut pull = tidegate(&["pull", "--connect", &at]);
    push.feed(numbers(1));
    assert_eq!(pull.output().unwrap(), "0\n", "the pusher still works");
    assert_eq!(code(&mut push), 0);
}
