//! The daemons as real processes: what an operator relies on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, Read, Write},
    net::TcpStream,
    process::Stdio,
};

use tidegate_tests::process::Process;

fn tidegate(args: &[&str]) -> Process {
    let program = env!("CARGO_BIN_EXE_tidegate-under-test");
    Process::start(program, args, Stdio::piped(), Stdio::piped()).unwrap()
}

/// A pusher that waits for `pullers`, and its endpoint.
fn push(pullers: usize, more: &[&str]) -> (Process, String) {
    let expect = pullers.to_string();
    let args = [&["push", "--bind", "tcp://127.0.0.1:0", "--expect", &expect], more].concat();
    let mut push = tidegate(&args);
    let at = push.endpoint().unwrap();
    (push, at)
}

fn numbers(count: usize) -> Vec<u8> {
    (0..count).map(|i| format!("{i}\n")).collect::<String>().into_bytes()
}

fn sorted(texts: &[String]) -> Vec<usize> {
    let mut all: Vec<usize> = texts.iter().flat_map(|t| t.lines()).map(|l| l.parse().unwrap()).collect();
    all.sort_unstable();
    all
}

fn code(process: &mut Process) -> i32 {
    process.exit().unwrap().code().unwrap()
}

#[test]
// The pipes of all three hold what they get: they are read one after the other.
fn three_pullers_share_the_input_exactly_and_push_ends_after_the_last_ack() {
    let (mut push, at) = push(3, &[]);
    let mut pulls: Vec<_> = (0..3).map(|_| tidegate(&["pull", "--connect", &at])).collect();
    push.feed(numbers(15_000));
    let texts: Vec<_> = pulls.iter_mut().map(|pull| pull.output().unwrap()).collect();
    assert!(texts.iter().all(|text| !text.is_empty()), "each puller had its share");
    assert_eq!(sorted(&texts), (0..15_000).collect::<Vec<_>>(), "no line twice, none missing");
    assert_eq!(code(&mut push), 0);
    assert!(pulls.iter_mut().all(|pull| code(pull) == 0));
}

#[test]
fn a_killed_puller_loses_nothing_and_repeats_at_most_its_window() {
    let (mut push, at) = push(2, &[]);
    // The victim's first job outlasts the test: what it holds is un-acked when it is killed. The job ends by itself.
    let victim = tidegate(&["pull", "--connect", &at, "--window", "5", "--exec", "cat; exec sleep 60"]);
    let mut pull = tidegate(&["pull", "--connect", &at, "--json"]);
    push.feed(numbers(2_000));
    let mut seen = BTreeMap::<String, u64>::new();
    let mut repeats = 0;
    for (index, line) in pull.stdout().unwrap().lines().enumerate() {
        let value: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        let attempt = value["attempt"].as_u64().unwrap();
        repeats += u64::from(attempt > 1);
        assert!(seen.insert(value["payload"].as_str().unwrap().to_owned(), attempt).is_none(), "twice here");
        if index == 1_000 {
            victim.signal("KILL").unwrap();
        }
    }
    assert_eq!(seen.len(), 2_000, "the union covers the input");
    assert!((1..=5).contains(&repeats), "{repeats} were un-acked, of a window of 5");
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
fn a_worker_that_rejects_sends_exactly_those_to_the_dead_letters() {
    let dir = tempfile::tempdir().unwrap();
    let dead = dir.path().join("dead");
    let (mut push, at) = push(1, &["--dead-letter", dead.to_str().unwrap()]);
    let worker = r#"while read n; do case $n in *7) echo "reject odd" ;; *) echo ok ;; esac; done"#;
    let mut pull = tidegate(&["pull", "--connect", &at, "--worker", worker, "--jobs", "2"]);
    push.feed(numbers(100));
    assert_eq!(code(&mut push), 3, "some rejected");
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
        // The pusher's input stays open: the link is used before, between and after.
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
    let hello = tidegate_proto::handshake::greet(&local, 1, 1).to_vec();
    let random: Vec<u8> =
        (0..1u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 | 0x80).collect();
    let huge = u32::MAX.to_be_bytes().to_vec();
    let http = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
    let zeromq = [&[0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0][..], &[0; 52]].concat();
    let cases = [
        (http, "an HTTP request"),
        (zeromq, "a ZeroMQ greeting"),
        (random.clone(), "FR-1"),
        (huge.clone(), "FR-1"),
        ([&b"TIDEGATE"[..], &random].concat(), "FR-3"),
        ([&b"TIDEGATE"[..], &huge].concat(), "FR-3"),
        ([&hello[..], &random].concat(), "FR-3"),
        ([&hello[..], &huge].concat(), "FR-3"),
    ];
    for (index, (octets, sign)) in cases.into_iter().enumerate() {
        let mut stream = TcpStream::connect(at.strip_prefix("tcp://").unwrap()).unwrap();
        let _ = stream.write_all(&octets); // it is cut off in the middle
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
fn a_second_signal_aborts_and_what_was_left_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let unsent = dir.path().join("unsent");
    let (mut push, at) = push(1, &["--unsent", unsent.to_str().unwrap()]);
    // The puller says what it has begun, and never ends it.
    let mut pull = tidegate(&["pull", "--connect", &at, "--exec", "cat; echo; exec sleep 60"]);
    push.write_line("42");
    let mut begun = String::new();
    pull.stdout().unwrap().read_line(&mut begun).unwrap();
    assert_eq!(begun.trim(), "42");
    push.signal("TERM").unwrap();
    push.line_with("SIGTERM").unwrap();
    push.signal("TERM").unwrap();
    assert_eq!(code(&mut push), 5);
    assert_eq!(fs::read_to_string(unsent).unwrap(), "42\n");
    pull.signal("KILL").unwrap();
}

#[test]
fn a_linger_that_runs_out_is_exit_4_and_usage_is_exit_2() {
    let dir = tempfile::tempdir().unwrap();
    let unsent = dir.path().join("unsent");
    let (mut push, _) = push(0, &["--unsent", unsent.to_str().unwrap(), "--linger", "50ms"]);
    push.feed(numbers(5));
    assert_eq!(code(&mut push), 4);
    assert_eq!(sorted(&[fs::read_to_string(unsent).unwrap()]), [0, 1, 2, 3, 4]);
    assert_eq!(code(&mut tidegate(&["push"])), 2);
    assert_eq!(code(&mut tidegate(&["pull", "--connect", "nonsense"])), 2);
}

#[test]
fn a_refused_puller_and_one_that_finds_nobody_exit_1_and_say_why() {
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
