//! Processes that pause: suspended, or unable to read or to write.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use tidegate_tests::{
    chaos::{Fleet, Relay},
    daemons::{code, numbers, push, summary, tidegate},
};

/// A heartbeat so rare that no pause in these tests counts as silence.
const PATIENT: [&str; 4] = ["--heartbeat", "60s", "--window", "5"];

#[test]
fn a_puller_paused_for_less_than_silence_runs_nothing_twice_and_stalls_no_other_puller() {
    // LV-3
    const COUNT: usize = 3_000;
    let (mut push, at) = push(3, &["--json"]);
    let mut fleet = Fleet::default();
    let asleep = fleet.pull(&at, &PATIENT);
    for _ in 0..2 {
        fleet.pull(&at, &["--window", "5"]);
    }
    push.feed(numbers(COUNT));
    fleet.see_by(asleep, 20);
    fleet.pulls[asleep].signal("STOP").unwrap();
    // All messages except those that it holds are processed while it is suspended.
    fleet.see(COUNT - 5);
    fleet.pulls[asleep].signal("CONT").unwrap();
    fleet.see_the_rest();
    fleet.account.complete(COUNT);
    assert_eq!(fleet.account.repeated().len() + fleet.account.again().count(), 0, "a message ran twice");
    let sum = summary(&mut push);
    assert_eq!((&sum["acked"], &sum["redelivered"]), (&COUNT.into(), &0.into()), "{sum}");
    assert!(code(&mut push) == 0 && fleet.pulls.iter_mut().all(|pull| code(pull) == 0));
}

#[test]
fn a_puller_paused_within_the_grace_runs_nothing_twice_and_stalls_no_other_puller() {
    // LV-3, RD-8, RD-9
    const COUNT: usize = 3_000;
    let (mut push, at) = push(3, &["--json", "-v", "--grace", "50s"]);
    let mut fleet = Fleet::default();
    let asleep = fleet.pull(&at, &["--heartbeat", "300ms", "--window", "5"]);
    for _ in 0..2 {
        fleet.pull(&at, &["--window", "5"]);
    }
    push.write(&numbers(COUNT));
    fleet.see_by(asleep, 20);
    fleet.pulls[asleep].signal("STOP").unwrap();
    push.line_with_all(&["to p0 at", "SILENT"]).unwrap();
    push.forget_lines();
    // Its link is lost. The other pullers process everything except its window, which is held for it.
    fleet.see(COUNT - 5);
    fleet.pulls[asleep].signal("CONT").unwrap();
    push.line_with_all(&["to p0 at", "is open"]).unwrap();
    push.close_input();
    fleet.see_the_rest();
    fleet.account.complete(COUNT);
    let repeated = fleet.account.repeated();
    assert!(repeated.is_empty(), "{repeated:?} have run twice");
    assert!(fleet.account.again().all(|sighting| sighting.by == asleep), "it got its messages again itself");
    let sum = summary(&mut push);
    assert_eq!(sum["acked"], COUNT, "{sum}");
    assert!(sum["redelivered"].as_u64().unwrap() <= 5, "{sum}");
    assert!(code(&mut push) == 0 && fleet.pulls.iter_mut().all(|pull| code(pull) == 0));
}

#[test]
fn a_puller_paused_for_longer_repeats_at_most_its_window_with_higher_attempt_numbers() {
    // LV-3, RD-3, RD-5, RD-8
    const COUNT: usize = 3_000;
    let (mut push, at) = push(3, &["--json", "-v", "--grace", "200ms"]);
    let mut fleet = Fleet::default();
    let asleep = fleet.pull(&at, &["--heartbeat", "300ms", "--window", "5"]);
    for _ in 0..2 {
        fleet.pull(&at, &["--window", "5"]);
    }
    for number in 0..COUNT / 2 {
        push.write_line(&number.to_string());
    }
    fleet.see_by(asleep, 20);
    fleet.pulls[asleep].signal("STOP").unwrap();
    push.line_with_all(&["to p0 at", "SILENT"]).unwrap();
    // Everything is processed while it is suspended.
    fleet.see(COUNT / 2);
    push.forget_lines();
    fleet.pulls[asleep].signal("CONT").unwrap();
    push.line_with_all(&["to p0 at", "is open"]).unwrap();
    let before = fleet.account.by(asleep).count();
    for number in COUNT / 2..COUNT {
        push.write_line(&number.to_string());
    }
    push.close_input();
    fleet.see_the_rest();
    fleet.account.complete(COUNT);
    let repeated = fleet.account.repeated();
    assert!(repeated.len() <= 5, "{repeated:?} is more than a window");
    for number in repeated {
        // It printed the messages that it held when it resumed; the others had received them as the second attempt.
        let mut seen = fleet.account.of(number).to_vec();
        seen.sort_by_key(|sighting| sighting.attempt);
        assert_eq!(seen.iter().map(|s| s.attempt).collect::<Vec<_>>(), [1, 2], "{seen:?}");
        assert!(seen[0].by == asleep && seen[1].by != asleep, "{seen:?}");
    }
    assert!(fleet.account.by(asleep).count() > before, "it receives no messages after the pause");
    let sum = summary(&mut push);
    assert_eq!(sum["acked"], COUNT, "{sum}");
    assert!(sum["redelivered"].as_u64().unwrap() <= 5, "{sum}");
    assert!(code(&mut push) == 0 && fleet.pulls.iter_mut().all(|pull| code(pull) == 0));
}

#[test]
fn the_pullers_wait_for_a_pusher_paused_for_less_than_silence() {
    // LV-3
    const COUNT: usize = 3_000;
    let (mut push, at) = push(2, &["--json", "--heartbeat", "60s"]);
    let mut fleet = Fleet::default();
    for _ in 0..2 {
        fleet.pull(&at, &["--window", "5"]);
    }
    push.feed(numbers(COUNT));
    for _ in 0..5 {
        let seen = fleet.account.distinct();
        fleet.see(seen + 200);
        push.signal("STOP").unwrap();
        push.signal("CONT").unwrap();
    }
    fleet.see_the_rest();
    fleet.account.complete(COUNT);
    assert_eq!(fleet.account.again().count(), 0);
    assert_eq!(summary(&mut push)["redelivered"], 0);
    assert_eq!(code(&mut push), 0);
}

#[test]
fn the_pullers_reconnect_to_a_pusher_paused_for_longer_and_nothing_runs_twice() {
    // LV-3, RD-6, RD-8, RD-9
    const COUNT: usize = 3_000;
    let (mut push, at) = push(2, &["--json", "--heartbeat", "300ms", "--grace", "50s"]);
    let mut fleet = Fleet::default();
    for _ in 0..2 {
        fleet.pull(&at, &["--window", "5", "-v"]);
    }
    push.write(&numbers(COUNT));
    fleet.see(500);
    push.signal("STOP").unwrap();
    for pull in &mut fleet.pulls {
        pull.line_with("SILENT").unwrap();
        pull.forget_lines();
    }
    push.signal("CONT").unwrap();
    for pull in &mut fleet.pulls {
        pull.line_with("is open").unwrap();
    }
    push.close_input();
    fleet.see_the_rest();
    fleet.account.complete(COUNT);
    let repeated = fleet.account.repeated();
    assert!(repeated.is_empty(), "{repeated:?} have run twice");
    let sum = summary(&mut push);
    assert_eq!(sum["acked"], COUNT, "{sum}");
    assert!(sum["redelivered"].as_u64().unwrap() <= 10, "more than two windows of 5 were redelivered: {sum}");
    assert!(code(&mut push) == 0 && fleet.pulls.iter_mut().all(|pull| code(pull) == 0));
}

#[test]
fn the_message_of_a_stuck_command_goes_to_another_puller_after_the_settle_timeout() {
    // OC-12
    const COUNT: usize = 200;
    let (mut push, at) = push(2, &["--json", "--settle-timeout", "500ms"]);
    let mut fleet = Fleet::default();
    fleet.pull(&at, &["--window", "5"]);
    // The command runs longer than the test, and is killed when the daemon stops.
    let mut stuck = tidegate(&["pull", "--connect", &at, "--exec", "exec sleep 170", "--linger", "0s"]);
    push.feed(numbers(COUNT));
    fleet.see_the_rest();
    fleet.account.complete(COUNT);
    let again: Vec<_> = fleet.account.again().map(|sighting| sighting.attempt).collect();
    assert_eq!(again, [2], "exactly the message that it had started");
    let sum = summary(&mut push);
    assert_eq!((&sum["acked"], &sum["timed_out"]), (&COUNT.into(), &1.into()), "{sum}");
    assert!(code(&mut push) == 0 && code(&mut fleet.pulls[0]) == 0);
    stuck.signal("TERM").unwrap();
    stuck.exit().unwrap();
}

#[test]
fn a_puller_whose_output_is_not_read_holds_a_window_and_the_others_continue() {
    // CR-2, LV-5
    const COUNT: usize = 20_000;
    let (mut push, at) = push(2, &["--json"]);
    let mut fleet = Fleet::default();
    fleet.pull(&at, &["--window", "100"]);
    let clogged = tidegate(&["pull", "--connect", &at, "--json", "--window", "100"]);
    let clogged = fleet.add(clogged, false);
    push.feed(numbers(COUNT));
    // The messages that it has acked are in its pipe, which holds 64 KiB. The other puller processes everything except
    // those and a window.
    fleet.see(COUNT - 64 * 1024 / 60 - 100);
    fleet.read(clogged);
    fleet.see_the_rest();
    fleet.account.complete(COUNT);
    assert_eq!(fleet.account.again().count(), 0, "its link was closed as silent");
    let kept = fleet.account.by(clogged).count();
    assert!(kept >= 100, "it was idle, not blocked: {kept}");
    assert_eq!(summary(&mut push)["acked"], COUNT);
    assert!(code(&mut push) == 0 && fleet.pulls.iter_mut().all(|pull| code(pull) == 0));
}

#[test]
fn a_puller_that_stops_reading_its_socket_stalls_its_own_link_only() {
    // LV-6, CR-8
    const COUNT: usize = 3_000;
    let (mut push, at) = push(2, &["--json", "--heartbeat", "60s"]);
    let relay = Relay::before(&at);
    let mut fleet = Fleet::default();
    // A window for everything.
    let stalled = fleet.pull(relay.endpoint(), &["--window", "100000"]);
    let quick = fleet.pull(&at, &["--window", "5"]);
    let before = push.peak_memory().unwrap();
    // Large records, so that the buffers in between hold only a few.
    let record = |number: usize| format!("{number:010000}");
    let mut written = 0;
    while fleet.account.by(stalled).count() == 0 {
        push.write_line(&record(written));
        written += 1;
        fleet.see(written);
    }
    relay.hold(true);
    for number in written..COUNT {
        push.write_line(&record(number));
    }
    push.close_input();
    // It holds as much as fits into the buffers in between, and a megabyte that is not written. The other puller gets
    // the rest.
    fleet.see_by(quick, COUNT / 4);
    let grown = push.peak_memory().unwrap() - before;
    relay.hold(false);
    fleet.see_the_rest();
    fleet.account.complete(COUNT);
    assert_eq!(fleet.account.again().count(), 0, "its link was lost");
    assert_eq!(relay.connections(), 1);
    assert!(grown < 48 * 1024, "the pusher's memory grew by {grown} KiB while the puller did not read");
    assert_eq!(summary(&mut push)["acked"], COUNT);
    assert!(code(&mut push) == 0 && fleet.pulls.iter_mut().all(|pull| code(pull) == 0));
}
