//! Duplicate suppression: a puller that gets a message again, after a lost link, does not process it twice (RD-9).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::time::Duration;

use tidegate_proto::{Verdict, Window, wire::Body};
use tidegate_testkit::{SECOND, World, puller, pusher, sent, text};

#[test]
fn rd_9_a_settled_message_is_not_processed_again_if_its_outcome_was_lost() {
    // RD-9: the link breaks after the deliveries are settled, before the outcomes are sent.
    let (mut w, wire) = World::in_flight(3, 10);
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
    let (mut w, wire) = World::in_flight(2, 10);
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
    let (mut w, wire) = World::in_flight(1, 10);
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
    let (mut w, wire) = World::in_flight(2, 10);
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
    let (mut w, mut wire) = World::in_flight(1, 10);
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
    let (mut w, wire) = World::in_flight(2, 10);
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
