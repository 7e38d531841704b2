//! Settle time-outs, and the sign of work that restarts them (OC-12, OC-13).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::time::Duration;

use tidegate_proto::{Code, Machine, Verdict, Window, wire::v1};
use tidegate_testkit::{SECOND, World, puller, pusher};

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
