//! Checks each option of `tidegate pull` with real processes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::{fs, io::BufRead};

use tidegate_tests::daemons::{code, line, numbers, push, sorted, summary, tidegate};

/// Payloads that would be split or changed if any byte were interpreted as a separator, an end or text.
fn binary() -> Vec<Vec<u8>> {
    let every: Vec<u8> = (0..=u8::MAX).collect();
    vec![
        b"plain".to_vec(),
        Vec::new(),
        b"\n".to_vec(),
        b"two\nlines\r\n".to_vec(),
        Vec::new(),
        vec![0; 3],
        vec![0xff, 0xfe, b'\n', 0],
        every.repeat(1_000), // more than one read
        Vec::new(),
    ]
}

fn serves_two_pushers_and_ends_when_told(pull_way: &str, push_way: &str) {
    let dir = tempfile::tempdir().unwrap();
    let at = format!("unix://{}", dir.path().join("work").display());
    let mut pull = tidegate(&["pull", pull_way, &at, "--keep"]);
    let mut output = pull.stdout().unwrap();
    for round in ["first", "second"] {
        let mut push = tidegate(&["push", push_way, &at]);
        push.feed(format!("{round}\n").into_bytes());
        assert_eq!(line(&mut output), round);
        assert_eq!(code(&mut push), 0);
    }
    pull.signal("TERM").unwrap();
    assert_eq!(code(&mut pull), 0);
    assert_eq!(line(&mut output), "", "a message was repeated");
}

#[test]
fn keep_stays_after_the_end_of_a_stream_and_serves_the_next_pusher() {
    serves_two_pushers_and_ends_when_told("--bind", "--connect");
}

#[test]
fn keep_connects_again_after_the_end_of_a_stream() {
    serves_two_pushers_and_ends_when_told("--connect", "--bind");
}

#[test]
fn output_goes_to_the_end_of_the_file_and_not_to_stdout() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("results");
    fs::write(&file, "from before\n").unwrap();
    let (mut push, at) = push(1, &[]);
    let mut pull = tidegate(&["pull", "--connect", &at, "--output", file.to_str().unwrap()]);
    push.feed(numbers(500));
    assert_eq!(code(&mut pull), 0);
    assert_eq!(code(&mut push), 0);
    assert_eq!(pull.output().unwrap(), "");
    let text = fs::read_to_string(&file).unwrap();
    let rest = text.strip_prefix("from before\n").unwrap();
    assert_eq!(rest.as_bytes(), numbers(500), "one link keeps the order of the messages");
}

#[test]
fn an_output_that_cannot_be_opened_is_named_before_any_message_is_taken() {
    let (mut push, at) = push(1, &[]);
    let mut pull = tidegate(&["pull", "--connect", &at, "--output", "/no/such/directory/file"]);
    pull.line_with("--output /no/such/directory/file").unwrap();
    assert_eq!(code(&mut pull), 1);
    let mut other = tidegate(&["pull", "--connect", &at, "--json"]);
    push.feed(numbers(1));
    assert_eq!(other.output().unwrap().matches("\"attempt\":1").count(), 1);
    assert_eq!(code(&mut push), 0);
}

#[test]
fn length_prefixed_records_of_any_bytes_arrive_as_they_were_sent() {
    let framed: Vec<u8> = binary()
        .iter()
        .flat_map(|payload| [&u32::try_from(payload.len()).unwrap().to_be_bytes()[..], payload].concat())
        .collect();
    let (mut push, at) = push(1, &["--length-prefixed"]);
    let mut pull = tidegate(&["pull", "--connect", &at, "--length-prefixed"]);
    push.feed(framed.clone());
    assert_eq!(pull.output_bytes().unwrap(), framed);
    assert_eq!(code(&mut pull), 0);
    assert_eq!(code(&mut push), 0);
    assert!(push.line_with(&format!("pushed {} messages", binary().len())).is_ok(), "empty messages count");
}

#[test]
fn null_ended_records_of_any_other_bytes_arrive_as_they_were_sent() {
    let mut payloads = binary();
    payloads.iter_mut().for_each(|payload| payload.retain(|byte| *byte != 0));
    let framed: Vec<u8> = payloads.iter().flat_map(|payload| [payload, &[0][..]].concat()).collect();
    let (mut push, at) = push(1, &["--null"]);
    let mut pull = tidegate(&["pull", "--connect", &at, "--null"]);
    push.feed(framed.clone());
    assert_eq!(pull.output_bytes().unwrap(), framed);
    assert_eq!(code(&mut pull), 0);
    assert_eq!(code(&mut push), 0);
}

#[test]
fn a_closed_stdout_is_an_error_that_names_it_and_another_puller_gets_the_rest() {
    let (mut push, at) = push(1, &["--json"]);
    let mut head = tidegate(&["pull", "--connect", &at, "--json"]);
    push.write_line("read");
    let mut output = head.stdout().unwrap();
    assert!(line(&mut output).contains("\"read\""));
    drop(output);
    push.write_line("never read");
    head.line_with("cannot write to stdout").unwrap();
    assert_eq!(code(&mut head), 1);
    assert_eq!(summary(&mut head)["acked"], 1, "only written messages are acked");
    let mut other = tidegate(&["pull", "--connect", &at, "--json"]);
    push.feed(b"neither\n".to_vec());
    let text = other.output().unwrap();
    let payloads: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["payload"].to_string())
        .collect();
    assert_eq!(payloads.len(), 2, "{text}");
    assert!(payloads.iter().any(|p| p == "\"never read\"") && payloads.iter().any(|p| p == "\"neither\""));
    assert_eq!(code(&mut push), 0);
    assert_eq!(summary(&mut push)["acked"], 3);
}

#[test]
fn count_takes_exactly_n_messages_and_leaves_the_rest_to_another_puller() {
    for way in [&[][..], &["--exec", "cat", "--jobs", "2"]] {
        let (mut push, at) = push(1, &[]);
        let mut first = tidegate(&[&["pull", "--connect", &at, "--count", "3", "--json"], way].concat());
        push.feed(numbers(10));
        let few = first.output().unwrap();
        assert_eq!(code(&mut first), 0);
        assert_eq!(few.lines().count(), 3, "{few}");
        assert_eq!(summary(&mut first)["acked"], 3);
        let mut second = tidegate(&["pull", "--connect", &at, "--json"]);
        let rest = second.output().unwrap();
        let mut all: Vec<u64> = few
            .lines()
            .chain(rest.lines())
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|message| message["payload"].as_str().unwrap().trim().parse().unwrap())
            .collect();
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>(), "a message is missing or repeated");
        assert_eq!(code(&mut push), 0);
        assert_eq!(code(&mut second), 0);
    }
}

#[test]
fn idle_exit_ends_an_idle_puller_but_not_one_whose_command_runs() {
    let mut alone = tidegate(&["pull", "--bind", "tcp://127.0.0.1:0", "--idle-exit", "50ms"]);
    assert_eq!(code(&mut alone), 0);
    let (mut push, at) = push(1, &[]);
    push.write_line("job");
    // The job runs much longer than the idle time. The pusher stays connected and sends nothing.
    let args = ["pull", "--connect", &at, "--idle-exit", "50ms", "--exec", "cat; sleep 0.5; echo done"];
    let output = (0..1_000).find_map(|_| {
        let mut pull = tidegate(&args);
        let output = pull.output().unwrap();
        assert_eq!(code(&mut pull), 0, "the puller is idle although the pusher is still connected");
        // On a slow machine it may have been idle before it connected.
        (!output.is_empty()).then_some(output)
    });
    assert_eq!(output.as_deref(), Some("jobdone\n"));
    push.close_input();
    assert_eq!(code(&mut push), 0);
}

#[test]
fn a_listening_puller_ends_after_the_expected_number_of_streams() {
    let mut pull = tidegate(&["pull", "--bind", "tcp://127.0.0.1:0", "--expect", "2"]);
    let at = pull.endpoint().unwrap();
    let mut output = pull.stdout().unwrap();
    for round in ["first", "second"] {
        let mut push = tidegate(&["push", "--connect", &at]);
        push.feed(format!("{round}\n").into_bytes());
        assert_eq!(line(&mut output), round, "it stays after one of two streams");
        assert_eq!(code(&mut push), 0);
    }
    assert_eq!(code(&mut pull), 0);
    assert_eq!(output.lines().count(), 0);
}

#[test]
fn a_puller_that_expects_pushers_does_not_end_while_another_one_is_connected() {
    // ST-6
    let mut pull = tidegate(&["pull", "--bind", "tcp://127.0.0.1:0", "--expect", "2"]);
    let at = pull.endpoint().unwrap();
    let mut output = pull.stdout().unwrap();
    let mut stays = tidegate(&["push", "--connect", &at]);
    stays.write_line("first");
    assert_eq!(line(&mut output), "first");
    for _ in 0..3 {
        let mut made_up = tidegate(&["push", "--connect", &at]);
        made_up.feed(b"made up\n".to_vec());
        assert_eq!(line(&mut output), "made up");
        assert_eq!(code(&mut made_up), 0);
    }
    stays.write_line("second");
    assert_eq!(line(&mut output), "second", "three streams have ended, and this one has work left");
    stays.close_input();
    assert_eq!((code(&mut stays), code(&mut pull)), (0, 0));
    // The puller does not wait for a pusher that disconnects without an end.
    let mut pull = tidegate(&["pull", "--bind", "tcp://127.0.0.1:0", "--expect", "1"]);
    let at = pull.endpoint().unwrap();
    let mut output = pull.stdout().unwrap();
    let mut killed = tidegate(&["push", "--connect", &at]);
    killed.write_line("from one that is killed");
    assert_eq!(line(&mut output), "from one that is killed");
    let mut ends = tidegate(&["push", "--connect", &at]);
    ends.feed(b"the end\n".to_vec());
    assert_eq!(line(&mut output), "the end");
    assert_eq!(code(&mut ends), 0);
    killed.signal("KILL").unwrap();
    assert_eq!(code(&mut pull), 0);
}

#[test]
fn the_output_of_each_of_many_commands_stays_in_one_piece() {
    const LINES: usize = 100;
    let (mut push, at) = push(1, &[]);
    let command = "read -r n; i=0; while [ $i -lt 100 ]; do echo $n; echo e$n >&2; i=$((i + 1)); done";
    let mut pull = tidegate(&["pull", "--connect", &at, "--jobs", "4", "--exec", command]);
    push.feed(numbers(24));
    let text = pull.output().unwrap();
    assert_eq!(code(&mut pull), 0);
    assert_eq!(code(&mut push), 0);
    let lines: Vec<&str> = text.lines().collect();
    let blocks: Vec<String> = lines
        .chunks(LINES)
        .map(|block| {
            assert!(
                block.iter().all(|line| *line == block[0]),
                "the output of two commands is mixed: {block:?}"
            );
            block[0].to_owned()
        })
        .collect();
    assert_eq!(sorted(&blocks), (0..24).collect::<Vec<_>>());
    pull.line_with("pulled ").unwrap(); // the last line
    let errors: Vec<&str> =
        pull.lines_seen().iter().map(String::as_str).filter(|l| l.starts_with('e')).collect();
    assert_eq!(errors.len(), 24 * LINES);
    assert!(errors.chunks(LINES).all(|block| block.iter().all(|line| *line == block[0])));
}

#[test]
fn all_workers_get_the_end_of_input_before_the_daemon_waits_for_any() {
    let dir = tempfile::tempdir().unwrap();
    let ends = dir.path().join("ends");
    let (mut push, at) = push(1, &[]);
    // Each worker starts a message after the other one has, and exits after the other one has read the end of its
    // input.
    let worker = format!(
        r#"read -r n; echo >> {0}.begun; until [ $(wc -l < {0}.begun) = 2 ]; do sleep 0.01; done; echo ok
        read -r n; echo >> {0}; until [ $(wc -l < {0}) = 2 ]; do sleep 0.01; done"#,
        ends.display()
    );
    let mut pull = tidegate(&["pull", "--connect", &at, "--jobs", "2", "--worker", &worker]);
    push.feed(numbers(2));
    assert_eq!((code(&mut push), code(&mut pull)), (0, 0));
}
