//! Outcomes: how a message is acked, retried, rejected or timed out, and when the puller sends the outcome.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::time::Duration;

use tidegate_proto::{FinalOutcome, Machine, PusherEvent, Verdict, Window};
use tidegate_testkit::{SECOND, World, puller, pusher};

fn nack(delay_ms: u32) -> Verdict {
    Verdict::Nack { delay_ms, reason: String::new() }
}

#[test]
fn oc_6_retry_delays_are_requested_or_grow_and_are_bounded() {
    // OC-6
    let mut w = World::new(vec![pusher(|s| s.max_nack_delay = SECOND)], vec![puller(|_| ())]);
    w.join(0, 0);
    w.send(0, "m");
    let mut waits = Vec::new();
    for asked in [0, 0, 0, 900, 4_000_000_000, 25, 1, 0] {
        let received = w.recv(0).unwrap();
        w.give(0, received, &nack(asked));
        let from = w.now;
        w.settle();
        let due = w.pushers[0].poll_socket_timeout().unwrap();
        waits.push(due.since(from).as_millis() as u64);
        w.pass(due.since(from));
    }
    for (wait, least) in waits.iter().zip([100, 200, 400, 900, 1_000, 25, 10, 12_800]) {
        assert!((least..=least * 5 / 4).contains(wait), "{waits:?}");
    }
    assert_eq!((waits.len(), w.ack_all(0)), (8, vec![("m".to_owned(), 9)]));
}

#[test]
fn oc_6_a_message_that_has_failed_ten_times_is_reported_once() {
    for limit in [None, Some(20)] {
        let mut w = World::new(vec![pusher(|s| s.max_attempts = limit)], vec![puller(|_| ())]);
        let first = w.join(0, 0);
        w.settle();
        w.send(0, "m");
        w.settle();
        w.cut(first); // a lost link does not count as a failure
        w.join(0, 0);
        w.settle();
        for failures in 1..=15 {
            let received = w.recv(0).unwrap();
            w.give(0, received, &nack(0));
            let told = w.pushers[0].poll_event();
            if failures == 10 && limit.is_none() {
                let Some(PusherEvent::Failing { number: 0, failures: 10, .. }) = told else {
                    panic!("not reported: {told:?}")
                };
            } else {
                assert_eq!(told, None, "after {failures} failures");
            }
            w.pass(60 * SECOND);
        }
    }
}

#[test]
fn oc_12_time_outs_count_as_failures_of_a_message() {
    let timeout = |s: &mut tidegate_proto::PusherSettings| s.settle_timeout = Some(SECOND);
    let mut w = World::new(vec![pusher(timeout)], vec![puller(|_| ())]);
    w.join(0, 0);
    w.settle();
    w.send(0, "m");
    w.settle();
    let mut told = Vec::new();
    while w.pushers[0].stats().timed_out < 15 {
        drop(w.recv(0)); // never settled
        w.pass(SECOND);
        told.extend(std::iter::from_fn(|| w.pushers[0].poll_event()));
    }
    assert!(matches!(told[..], [PusherEvent::Failing { number: 0, failures: 10, .. }]), "{told:?}");
}

#[test]
fn oc_11_the_last_attempt_rejects_and_lost_links_do_not_count() {
    // OC-11, OC-9
    let mut w = World::new(vec![pusher(|s| s.max_attempts = Some(2))], vec![puller(|_| ())]);
    w.pushers[0].keep_rejected();
    let first = w.join(0, 0);
    w.settle();
    w.pushers[0].send("m".into(), true).unwrap();
    w.settle();
    w.cut(first);
    w.join(0, 0);
    w.settle();
    for attempt in [2, 3] {
        let received = w.recv(0).unwrap();
        assert_eq!(received.attempt(), attempt);
        w.give(0, received, &nack(0));
        w.pass(SECOND);
    }
    let rejected = w.pushers[0].take_rejected().unwrap();
    assert_eq!((rejected.attempts, rejected.number), (3, 0));
    assert!(matches!(
        w.pushers[0].poll_event(),
        Some(PusherEvent::Settled(0, FinalOutcome::Rejected { .. }))
    ));
    w.check();
    assert!(w.recv(0).is_none());
}

#[test]
fn oc_9_rejected_messages_that_are_not_taken_block_sends() {
    // OC-9, LM-2
    let mut w = World::new(vec![pusher(|s| s.max_held = 3)], vec![puller(|_| ())]);
    w.pushers[0].keep_rejected();
    w.join(0, 0);
    for i in 0..3 {
        w.send(0, &format!("{i}"));
        let received = w.recv(0).unwrap();
        w.give(0, received, &Verdict::Reject { reason: "no".into() });
    }
    assert!(w.pushers[0].send("x".into(), false).is_err());
    assert!(w.pushers[0].take_rejected().is_some());
    assert!(w.pushers[0].send("x".into(), false).is_ok());
}

#[test]
fn oc_5_outcomes_are_sent_after_a_millisecond_or_when_tracked() {
    // OC-5
    let mut w = World::new(vec![pusher(|_| ())], vec![puller(|_| ())]);
    w.join(0, 0);
    w.settle();
    for tracked in [false, true, false] {
        w.pushers[0].send("m".into(), tracked).unwrap();
    }
    w.settle();
    let (a, b) = (w.recv(0).unwrap(), w.recv(0).unwrap());
    w.give(0, a, &Verdict::Ack);
    assert_eq!(
        w.pushers[0].stats().acked,
        0,
        "held back: one of a window of 1,000, and another delivery waits"
    );
    w.pass(Duration::from_millis(1));
    assert_eq!(w.pushers[0].stats().acked, 1);
    w.give(0, b, &Verdict::Ack);
    assert_eq!(w.pushers[0].stats().acked, 2, "the sender waits for it");
    assert_eq!(w.pushers[0].poll_event(), Some(PusherEvent::Settled(1, FinalOutcome::Acked)));
    w.ack_all(0);
}

#[test]
fn oc_5_deliveries_of_other_links_hold_no_outcome_back() {
    // OC-5
    let fixed = puller(|s| s.window = Window::fixed(20, 20_000));
    let mut w = World::new(vec![pusher(|_| ()), pusher(|_| ())], vec![fixed]);
    w.join(0, 0);
    w.settle();
    w.send(0, "a");
    let first = w.recv(0).unwrap();
    w.join(1, 0);
    w.settle();
    (0..3).for_each(|_| w.send(1, "b"));
    assert_eq!(w.pullers[0].stats().queued, 3);
    w.give(0, first, &Verdict::Ack);
    assert_eq!(w.pushers[0].stats().acked, 1, "nothing of its link waits");
    let second = w.recv(0).unwrap();
    w.give(0, second, &Verdict::Ack);
    assert_eq!(w.pushers[1].stats().acked, 0, "two deliveries of its link wait");
    w.ack_all(0);
    assert_eq!(w.pushers[1].stats().acked, 3);
}
