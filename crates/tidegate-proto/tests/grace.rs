//! Reconnect grace and duplicate suppression: a link breaks between two running processes, no message is lost, and none
//! is processed twice (RD-8, RD-9). Also settle time-outs and `Working` (OC-12, OC-13).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::time::Duration;

use tidegate_proto::{
    Code, Machine, Role, Verdict, Window,
    wire::{Body, v1},
};
use tidegate_testkit::{SECOND, World, outcome, peer, puller, pusher, sent, text};

/// A pusher and two pullers. The first puller has a link, with these messages in flight.
fn world(messages: usize, window: u64) -> (World, usize) {
    let pullers = vec![puller(|s| s.window = Window::messages(window)), puller(|_| ())];
    let mut w = World::new(vec![pusher(|_| ())], pullers);
    let wire = w.join(0, 0);
    w.settle();
    for i in 0..messages {
        w.send(0, &i.to_string());
    }
    (w, wire)
}

#[test]
fn rd_8_messages_of_a_lost_link_are_held_for_their_puller_and_then_go_elsewhere() {
    // RD-8, RD-4
    let (mut w, wire) = world(3, 10);
    w.join(0, 1);
    w.settle();
    w.cut(wire);
    let stats = w.pushers[0].stats();
    assert_eq!((stats.in_grace, stats.queued, stats.in_flight), (3, 3, 0));
    w.pass(SECOND * 99 / 100);
    assert!(w.ack_all(1).is_empty(), "they wait");
    w.pass(SECOND / 100);
    let all = w.ack_all(1);
    assert_eq!(all, ["0", "1", "2"].map(|text| (text.to_owned(), 2)));
    assert_eq!(w.pushers[0].stats().in_grace, 0);
}

/// The same with a `close_wait` that is longer than the test.
fn patient() -> (World, usize) {
    let mut w =
        World::new(vec![pusher(|s| s.close_wait = 600 * SECOND)], vec![puller(|_| ()), puller(|_| ())]);
    let wire = w.join(0, 0);
    w.join(0, 1);
    w.settle();
    (w, wire)
}

#[test]
fn lv_3_the_grace_begins_when_a_silent_link_is_closed_and_not_when_its_close_is_answered() {
    // LV-3, RD-8
    let (mut w, wire) = patient();
    w.send(0, "a");
    w.send(0, "b");
    let first = w.pushers[0].link_stats().iter().map(|link| link.in_flight).collect::<Vec<_>>();
    assert_eq!(first, [1, 1]);
    w.ack_all(1);
    let link = w.push_link(wire);
    w.wires[wire].hung = true;
    while w.pushers[0].stats().in_grace == 0 {
        assert!(
            w.now < tidegate_proto::Time::default() + 10 * SECOND,
            "given up after three intervals of 2 s"
        );
        w.pass(SECOND / 4);
        w.pushers[0].handle_would_block(link);
        w.pushers[0].handle_timeout(w.now, link, Default::default());
        sent(&mut w.pushers[0], w.now, link);
    }
    assert!(!w.pushers[0].is_finished(w.now, link), "the Close may still be answered");
    w.pass(SECOND);
    assert_eq!(w.ack_all(1), [("a".to_owned(), 2)]);
    w.pushers[0].handle_link_lost(w.now, link, "");
    assert_eq!((w.pushers[0].stats().acked, w.pushers[0].stats().returned), (2, 1), "requeued once");
}

#[test]
fn lv_8_the_grace_begins_when_a_stalled_link_is_closed() {
    // LV-8, RD-8
    let (mut w, wire) = patient();
    w.wires[wire].stuck = true;
    w.send(0, "a");
    w.send(0, "b");
    w.ack_all(1);
    w.pass(33 * SECOND);
    let all: Vec<_> = w.ack_all(1).into_iter().map(|(text, _)| text).collect();
    assert_eq!(all, ["a"]);
}

#[test]
fn rd_8_a_puller_that_reconnects_in_time_gets_its_messages_first() {
    // RD-8
    let (mut w, wire) = world(2, 10);
    w.cut(wire);
    w.send(0, "new");
    w.pass(SECOND / 2);
    w.join(0, 0);
    w.settle();
    let all = w.ack_all(0);
    assert_eq!(all, [("0", 2), ("1", 2), ("new", 1)].map(|(text, attempt)| (text.to_owned(), attempt)));
}

#[test]
fn rd_8_a_reconnect_extends_the_grace_only_once() {
    // RD-8: the puller reconnects, grants nothing, and is lost again.
    let (mut w, wire) = world(1, 10);
    w.cut(wire);
    w.pass(SECOND / 2);
    let now = w.now;
    let back = w.pushers[0].open(now, peer(Role::Puller, 100, None)).unwrap();
    w.join(0, 1);
    w.pass(SECOND / 2 + SECOND / 4);
    assert_eq!(w.pushers[0].stats().in_grace, 1, "0.75 s after the reconnect");
    let now = w.now;
    w.pushers[0].handle_link_lost(now, back, "cut");
    let now = w.now;
    w.pushers[0].open(now, peer(Role::Puller, 100, None)).unwrap();
    w.pass(SECOND / 4);
    assert_eq!(w.ack_all(1), [("0".to_owned(), 2)], "1 s after the first reconnect");
}

#[test]
fn rd_8_a_second_loss_does_not_extend_the_grace_of_unsent_messages() {
    // RD-8, RD-3: the puller reconnects and grants credit, and is lost again before the message is written.
    let (mut w, wire) = world(1, 10);
    w.cut(wire);
    w.pass(SECOND / 2);
    let come_back = |w: &mut World| {
        let link = w.pushers[0].open(w.now, peer(Role::Puller, 100, None)).unwrap();
        w.pushers[0].handle_frame(w.now, link, tidegate_testkit::ack(Vec::new(), 10, 1 << 20));
        assert_eq!(w.pushers[0].stats().in_flight, 1);
        let now = w.now;
        w.pushers[0].handle_link_lost(now, link, "cut");
    };
    come_back(&mut w);
    w.join(0, 1);
    w.settle();
    assert_eq!(w.pushers[0].stats().in_grace, 1, "the puller may be processing it");
    w.pass(SECOND / 2);
    come_back(&mut w);
    w.pass(SECOND / 4);
    assert_eq!(w.pushers[0].stats().in_grace, 1);
    w.pass(SECOND / 4);
    assert_eq!(w.ack_all(1), [("0".to_owned(), 2)], "1 s after the first reconnect");
}

#[test]
fn rd_8_there_is_no_grace_after_a_stop_or_a_violation() {
    // RD-8
    let (mut w, wire) = world(2, 10);
    w.join(0, 1);
    w.settle();
    let (link, now) = (w.push_link(wire), w.now);
    let wrong = tidegate_testkit::ack(vec![outcome(9, 1, v1::Verdict::Ack)], 0, 0);
    w.pushers[0].handle_frame(now, link, wrong);
    w.cut(wire);
    assert_eq!(w.pushers[0].stats().in_grace, 0);
    w.settle();
    assert_eq!(w.ack_all(1).len(), 2);

    let (mut w, wire) = world(2, 10);
    w.join(0, 1);
    w.settle();
    let now = w.now;
    w.pullers[0].abandon(now);
    w.settle();
    assert!(!w.wires[wire].open);
    assert_eq!(w.ack_all(1).len(), 2, "the puller has closed the link because it stops");
}

#[test]
fn rd_8_unwritten_messages_are_not_held_and_a_grace_of_0_holds_none() {
    // RD-8, RD-3
    let mut w = World::new(vec![pusher(|_| ())], vec![puller(|_| ()), puller(|_| ())]);
    let wire = w.join(0, 0);
    w.settle();
    w.wires[wire].stuck = true;
    w.send(0, "unwritten");
    w.cut(wire);
    let stats = w.pushers[0].stats();
    assert_eq!((stats.in_grace, stats.queued), (0, 1));

    let mut w = World::new(vec![pusher(|s| s.grace = Duration::ZERO)], vec![puller(|_| ())]);
    let wire = w.join(0, 0);
    w.settle();
    w.send(0, "m");
    w.cut(wire);
    let stats = w.pushers[0].stats();
    assert_eq!((stats.in_grace, stats.queued), (0, 1));
}

#[test]
fn rd_8_an_abort_returns_held_messages_as_unknown() {
    // RD-8, ST-8
    let (mut w, wire) = world(2, 10);
    w.cut(wire);
    let now = w.now;
    let left = w.pushers[0].abort(now);
    assert_eq!((left.unsent.len(), left.unacked.len()), (0, 2));
}

#[test]
fn rd_9_a_settled_message_is_not_processed_again_if_its_outcome_was_lost() {
    // RD-9: the link breaks after the deliveries are settled, before the outcomes are sent.
    let (mut w, wire) = world(3, 10);
    for verdict in [Verdict::Ack, Verdict::Reject { reason: "bad".into() }] {
        let received = w.pullers[0].recv().unwrap();
        w.pullers[0].settle(&received, &verdict);
    }
    w.cut(wire);
    w.join(0, 0);
    w.settle();
    assert_eq!(w.ack_all(0), [("2".to_owned(), 2)], "the one that was not handed out");
    let (push, pull) = (w.pushers[0].stats(), w.pullers[0].stats());
    assert_eq!((push.acked, push.rejected, push.queued, push.in_flight), (2, 1, 0, 0));
    assert_eq!((pull.duplicates_suppressed, pull.duplicates_waiting, pull.in_flight), (2, 0, 0));
}

#[test]
fn rd_9_outcomes_that_were_sent_and_did_not_arrive_are_recorded() {
    // RD-9: the Ack is sent, and lost with the connection.
    let (mut w, wire) = world(2, 10);
    let received = w.pullers[0].recv().unwrap();
    w.pullers[0].settle(&received, &Verdict::Ack);
    let link = w.pull_link(wire);
    let mut told = Vec::new();
    for _ in 0..3 {
        let now = w.now;
        told.extend(sent(&mut w.pullers[0], now, link));
        w.now = w.now + Duration::from_millis(1);
    }
    assert!(told.iter().any(|body| matches!(body, Body::Ack(ack) if !ack.outcomes.is_empty())), "{told:?}");
    w.cut(wire);
    w.join(0, 0);
    w.settle();
    assert_eq!(w.ack_all(0), [("1".to_owned(), 2)]);
    assert_eq!(w.pushers[0].stats().acked, 2);
}

#[test]
fn rd_9_a_duplicate_whose_own_link_is_closing_counts_as_dropped() {
    // RD-9, RD-5
    let (mut w, wire) = world(1, 10);
    let held = w.recv(0).unwrap();
    w.cut(wire);
    w.join(0, 0);
    w.settle();
    assert_eq!(w.pullers[0].stats().duplicates_waiting, 1);
    w.pullers[0].abandon(w.now);
    w.pullers[0].settle(&held, &Verdict::Ack);
    let stats = w.pullers[0].stats();
    assert_eq!((stats.received, stats.dropped, stats.duplicates_waiting, stats.in_flight), (2, 2, 0, 0));
    w.settle();
    w.check();
}

#[test]
fn rd_9_a_duplicate_of_a_delivery_in_progress_gets_its_outcome() {
    // RD-9, RD-5
    let (mut w, wire) = world(2, 10);
    let held = w.recv(0).unwrap();
    w.cut(wire);
    assert!(!w.pullers[0].is_reachable(held.link(), held.delivery()));
    w.join(0, 0);
    w.settle();
    assert!(w.pullers[0].is_reachable(held.link(), held.delivery()), "the message was redelivered");
    let stats = w.pullers[0].stats();
    assert_eq!((stats.duplicates_waiting, stats.duplicates_suppressed, stats.queued), (1, 1, 1));
    let other = w.recv(0).unwrap();
    assert_eq!(text(&other), "1");
    assert!(w.recv(0).is_none());
    w.give(0, other, &Verdict::Ack);
    assert_eq!(w.pushers[0].stats().acked, 1);
    w.give(0, held, &Verdict::Ack);
    let stats = w.pushers[0].stats();
    assert_eq!((stats.acked, stats.in_flight, stats.queued), (2, 0, 0));
    assert_eq!(w.pullers[0].stats().duplicates_waiting, 0);
}

#[test]
fn rd_9_a_delivery_in_progress_settles_its_message_after_several_losses() {
    // RD-9, RD-8: the link breaks while the duplicate waits for the outcome.
    let (mut w, mut wire) = world(1, 10);
    let held = w.recv(0).unwrap();
    for _ in 0..5 {
        w.cut(wire);
        w.pass(SECOND / 2);
        wire = w.join(0, 0);
        w.settle();
        assert!(w.recv(0).is_none());
    }
    w.give(0, held, &Verdict::Ack);
    let stats = w.pushers[0].stats();
    assert_eq!((stats.acked, stats.sent, stats.redelivered), (1, 6, 5));
    assert_eq!(
        w.pushers[0].stats().delayed,
        0,
        "its puller has returned, so that it is not quarantined (RD-4)"
    );
}

#[test]
fn rd_9_an_outcome_between_two_links_is_sent_on_the_next_one() {
    // RD-9
    let (mut w, wire) = world(2, 10);
    let (first, second) = (w.recv(0).unwrap(), w.recv(0).unwrap());
    w.cut(wire);
    w.give(0, first, &Verdict::Ack);
    w.give(0, second, &Verdict::Nack { delay_ms: 0, reason: String::new() });
    w.join(0, 0);
    w.pass(SECOND / 100);
    assert_eq!(w.pushers[0].stats().acked, 1);
    assert_eq!(w.ack_all(0), [("1".to_owned(), 2)], "a nacked message is handed out again");
}

#[test]
fn rd_9_a_window_of_0_has_credit_for_redelivered_messages() {
    // RD-9, CR-7: no `recv` waits, because the only worker is busy.
    let mut w = World::new(vec![pusher(|_| ())], vec![puller(|s| s.window = Window::messages(0))]);
    let wire = w.join(0, 0);
    w.settle();
    let now = w.now;
    w.pullers[0].start_waiting(now);
    w.send(0, "long");
    let held = w.recv(0).unwrap();
    let now = w.now;
    w.pullers[0].stop_waiting(now);
    w.settle();
    w.cut(wire);
    w.join(0, 0);
    w.pass(SECOND * 30);
    let stats = w.pullers[0].stats();
    assert_eq!((stats.duplicates_waiting, stats.committed), (1, 1), "and no more");
    w.give(0, held, &Verdict::Ack);
    assert_eq!(w.pushers[0].stats().acked, 1);
}

#[test]
fn rd_9_two_links_that_expect_the_same_message_do_not_exchange_credit_for_ever() {
    // RD-9, CR-9: the byte budget is too small for the credit of both.
    let small = puller(|s| (s.window, s.budget_bytes) = (Window::messages(0), 60_000));
    let mut w = World::new(vec![pusher(|s| s.grace = Duration::ZERO)], vec![small, puller(|_| ())]);
    let wire = w.join(0, 0);
    w.settle();
    let now = w.now;
    w.pullers[0].start_waiting(now);
    w.send(0, "long");
    let _held = w.recv(0).unwrap();
    let now = w.now;
    w.pullers[0].stop_waiting(now);
    w.join(0, 1);
    w.settle();
    w.cut(wire);
    w.settle();
    assert_eq!(w.recv(1).map(|received| text(&received)), Some("long".to_owned()), "it went elsewhere");
    w.join(0, 0);
    w.join(0, 0);
    w.settle(); // it fails here if the machines exchange credit for ever
    w.pass(SECOND * 10);
    let stats = w.pullers[0].stats();
    assert!(stats.recalls <= 4, "{stats:?}");
    assert_eq!(stats.committed, 0, "the credit is recalled when its time is over");
}

#[test]
fn rd_9_no_bytes_are_granted_for_redelivered_messages_while_the_message_budget_is_spent() {
    // RD-9, CR-9: credit in bytes alone is useless, and other links could use it.
    let small = puller(|s| (s.window, s.budget) = (Window::messages(0), 1));
    let mut w = World::new(vec![pusher(|_| ()), pusher(|_| ())], vec![small]);
    let wires = [w.join(0, 0), w.join(1, 0)];
    w.settle();
    let now = w.now;
    w.pullers[0].start_waiting(now);
    w.send(0, "long");
    w.send(1, "longer");
    let held = [w.recv(0).unwrap(), w.recv(0).unwrap()];
    let now = w.now;
    w.pullers[0].stop_waiting(now);
    w.settle();
    w.cut(wires[0]);
    w.join(0, 0);
    w.settle();
    let stats = w.pullers[0].stats();
    assert_eq!(stats.committed, 1, "the delivery of the other link");
    assert!(stats.committed_bytes < 1_000, "{stats:?}");
    let [long, longer] = held;
    w.give(0, longer, &Verdict::Ack);
    assert_eq!(w.pullers[0].stats().duplicates_waiting, 1, "it is redelivered when there is credit for it");
    w.give(0, long, &Verdict::Ack);
    w.settle();
    let acked: Vec<_> = w.pushers.iter().map(|pusher| pusher.stats().acked).collect();
    assert_eq!(acked, [1, 1]);
}

#[test]
fn rd_9_credit_for_messages_that_are_not_redelivered_is_recalled() {
    // RD-9, CR-7
    let pullers = vec![puller(|s| s.window = Window::messages(0)), puller(|_| ())];
    let mut w = World::new(vec![pusher(|_| ())], pullers);
    let wire = w.join(0, 0);
    w.settle();
    let now = w.now;
    w.pullers[0].start_waiting(now);
    w.send(0, "long");
    let _held = w.recv(0).unwrap();
    let now = w.now;
    w.pullers[0].stop_waiting(now);
    w.cut(wire);
    w.join(0, 1);
    w.pass(SECOND * 2);
    assert_eq!(w.ack_all(1), [("long".to_owned(), 2)], "too late");
    w.join(0, 0);
    w.pass(SECOND * 2);
    assert_eq!(w.pullers[0].stats().committed, 0, "the worker is busy, and gets nothing new");
    w.pass(SECOND * 10);
    assert!(w.pullers[0].stats().recalls <= 2, "recalled once");
}

#[test]
fn rd_9_without_a_dedup_table_a_redelivered_message_is_processed_again() {
    // RD-9
    let mut w = World::new(vec![pusher(|_| ())], vec![puller(|s| s.memory = 0)]);
    let wire = w.join(0, 0);
    w.settle();
    w.send(0, "m");
    let held = w.recv(0).unwrap();
    w.cut(wire);
    w.join(0, 0);
    w.settle();
    w.give(0, held, &Verdict::Ack);
    assert_eq!(w.ack_all(0), [("m".to_owned(), 2)]);
}

#[test]
fn rd_9_the_dedup_table_is_bounded_and_forgets_the_oldest() {
    // RD-9, LM-2
    let mut w =
        World::new(vec![pusher(|_| ())], vec![puller(|s| (s.memory, s.window) = (4, Window::messages(100)))]);
    let wire = w.join(0, 0);
    w.settle();
    for i in 0..10 {
        w.send(0, &i.to_string()); // each message in a batch of its own
    }
    while let Some(received) = w.pullers[0].recv() {
        w.pullers[0].settle(&received, &Verdict::Ack);
    }
    w.cut(wire);
    w.join(0, 0);
    w.settle();
    let again = w.ack_all(0);
    assert_eq!(again.len(), 6, "{again:?}");
    assert_eq!(w.pushers[0].stats().acked, 10);
}

fn stuck(timeout: Duration) -> World {
    let mut w = World::new(
        vec![pusher(|s| s.settle_timeout = Some(timeout))],
        vec![puller(|s| s.window = Window::messages(1)), puller(|s| s.window = Window::messages(1))],
    );
    w.join(0, 0);
    w.settle();
    w
}

#[test]
fn oc_12_the_message_of_a_stuck_worker_goes_to_another() {
    // OC-12, DL-3, OC-3
    let mut w = stuck(10 * SECOND);
    w.send(0, "m");
    let held = w.recv(0).unwrap();
    w.join(0, 1);
    w.pass(SECOND * 99 / 10);
    assert_eq!(w.pushers[0].stats().timed_out, 0);
    w.pass(SECOND);
    let again = w.recv(1).expect("it went elsewhere");
    assert_eq!((again.attempt(), again.id()), (2, held.id()));
    assert_eq!(w.pushers[0].stats().timed_out, 1);
    w.give(0, held, &Verdict::Ack);
    let stats = w.pushers[0].stats();
    assert_eq!((stats.acked, stats.in_flight), (0, 1), "the late outcome is ignored");
    w.give(1, again, &Verdict::Ack);
    assert_eq!(w.pushers[0].stats().acked, 1);
    assert_eq!((w.pushers[0].link_count(), w.pushers[0].stats().links_broken), (2, 0));
}

#[test]
fn oc_12_an_abort_returns_timed_out_messages_as_unknown() {
    // OC-12, ST-8
    let mut w = stuck(10 * SECOND);
    w.send(0, "m");
    let held = w.recv(0).unwrap();
    w.pass(10 * SECOND);
    assert_eq!((w.pushers[0].stats().timed_out, w.pushers[0].stats().queued), (1, 1));
    let leftover = w.pushers[0].abort(w.now);
    assert_eq!((leftover.unacked.len(), leftover.unsent.len()), (1, 0));
    w.give(0, held, &Verdict::Ack);
}

#[test]
fn oc_12_a_time_out_of_the_last_attempt_rejects() {
    // OC-12, OC-11
    let mut w = World::new(
        vec![pusher(|s| (s.settle_timeout, s.max_attempts) = (Some(SECOND), Some(2)))],
        vec![puller(|s| s.window = Window::messages(4))],
    );
    w.join(0, 0);
    w.settle();
    w.pushers[0].keep_rejected();
    w.send(0, "m");
    w.pass(SECOND * 5);
    let rejected = w.pushers[0].take_rejected().expect("two attempts");
    assert_eq!((rejected.attempts, w.pushers[0].stats().timed_out), (2, 2));
    assert!(rejected.reason.contains("no outcome within 1s"), "{}", rejected.reason);
}

#[test]
fn oc_13_a_worker_that_reports_work_keeps_its_message() {
    // OC-13
    let mut w = stuck(10 * SECOND);
    w.send(0, "m");
    w.join(0, 1);
    let held = w.recv(0).unwrap();
    for _ in 0..10 {
        w.pass(6 * SECOND);
        w.pullers[0].working(held.link(), held.delivery());
        w.settle();
    }
    assert_eq!(w.pushers[0].stats().timed_out, 0);
    w.pass(11 * SECOND);
    assert_eq!(w.pushers[0].stats().timed_out, 1, "after it has stopped reporting");
}

#[test]
fn oc_13_working_restarts_the_time_of_the_named_deliveries_only() {
    // OC-13, OC-12: three messages in one frame.
    let mut w = World::new(
        vec![pusher(|s| s.settle_timeout = Some(10 * SECOND))],
        vec![puller(|s| s.window = Window::messages(10))],
    );
    w.join(0, 0);
    w.settle();
    for text in ["a", "b", "c"] {
        w.pushers[0].send(text.into(), false).unwrap();
    }
    w.settle();
    let all: Vec<_> = (0..3).map(|_| w.recv(0).unwrap()).collect();
    w.pass(5 * SECOND);
    w.pullers[0].working(all[1].link(), all[1].delivery());
    w.pass(6 * SECOND);
    assert_eq!(w.pushers[0].stats().timed_out, 2);
    w.pass(4 * SECOND);
    assert_eq!(w.pushers[0].stats().timed_out, 3);
}

#[test]
fn oc_13_working_for_a_delivery_that_was_never_sent_closes_the_link() {
    // OC-13, OC-2
    let mut w = stuck(SECOND);
    w.send(0, "m");
    let (link, now) = (w.push_link(0), w.now);
    let working = |deliveries: &[u64]| {
        tidegate_testkit::frame(v1::frame::Body::Working(v1::Working { deliveries: deliveries.to_vec() }))
    };
    w.pushers[0].handle_frame(now, link, working(&[0, 0, 0]));
    assert!(tidegate_testkit::close_of(&mut w.pushers[0], now, link).is_none());
    w.pushers[0].handle_frame(now, link, working(&[0, 1]));
    let close = tidegate_testkit::close_of(&mut w.pushers[0], now, link).unwrap();
    assert_eq!(close.code, i32::from(Code::UnknownDelivery));
}
