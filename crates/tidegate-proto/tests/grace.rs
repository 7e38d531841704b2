//! Reconnect grace: a link breaks between two running processes, and its messages are held for the same puller (RD-8).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::time::Duration;

use tidegate_proto::{Machine, Role, wire::v1};
use tidegate_testkit::{SECOND, World, outcome, peer, puller, pusher, sent};

#[test]
fn rd_8_messages_of_a_lost_link_are_held_for_their_puller_and_then_go_elsewhere() {
    // RD-8, RD-4
    let (mut w, wire) = World::in_flight(3, 10);
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
    let (mut w, wire) = World::in_flight(2, 10);
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
    let (mut w, wire) = World::in_flight(1, 10);
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
    let (mut w, wire) = World::in_flight(1, 10);
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
    let (mut w, wire) = World::in_flight(2, 10);
    w.join(0, 1);
    w.settle();
    let (link, now) = (w.push_link(wire), w.now);
    let wrong = tidegate_testkit::ack(vec![outcome(9, 1, v1::Verdict::Ack)], 0, 0);
    w.pushers[0].handle_frame(now, link, wrong);
    w.cut(wire);
    assert_eq!(w.pushers[0].stats().in_grace, 0);
    w.settle();
    assert_eq!(w.ack_all(1).len(), 2);

    let (mut w, wire) = World::in_flight(2, 10);
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
    let (mut w, wire) = World::in_flight(2, 10);
    w.cut(wire);
    let now = w.now;
    let left = w.pushers[0].abort(now);
    assert_eq!((left.unsent.len(), left.unacked.len()), (0, 2));
}
