//! Credit, the order of deliveries, lost links and silence, with machines connected in memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::time::Duration;

use tidegate_proto::{Machine, Verdict, Window};
use tidegate_testkit::{SECOND, World, puller, pusher, text};

#[test]
fn cr_5_limits_are_settled_plus_skipped_plus_window() {
    // CR-5, CR-10
    let mut w = World::new(vec![pusher(|_| ())], vec![puller(|s| s.window = Window::fixed(4, 1_000))]);
    w.join(0, 0);
    w.settle();
    let limit = |w: &World| w.pushers[0].link_stats()[0].message_limit;
    assert_eq!(limit(&w), 4, "granted without being asked");
    for i in 0..6 {
        w.send(0, &format!("{i}"));
    }
    assert_eq!(w.pushers[0].stats().in_flight, 4);
    for _ in 0..2 {
        let received = w.recv(0).unwrap();
        w.give(0, received, &Verdict::Ack);
    }
    assert_eq!(limit(&w), 6, "half of the window is settled");
    assert_eq!(w.pushers[0].stats().in_flight, 4);
    assert_eq!(w.ack_all(0).len(), 4);
}

#[test]
fn cr_6_an_idle_pusher_cannot_hold_the_only_credit_of_a_worker() {
    // CR-6, CR-9, RC-1, RC-4
    let window = |s: &mut tidegate_proto::PullerSettings| (s.window, s.budget) = (Window::messages(1), 1);
    let mut w = World::new(vec![pusher(|_| ()), pusher(|_| ())], vec![puller(window)]);
    w.join(0, 0);
    w.join(1, 0);
    w.settle();
    for i in 0..5 {
        w.send(1, &format!("{i}"));
    }
    for i in 0..5 {
        w.pullers[0].start_waiting(w.now);
        w.pass(SECOND / 10); // the only place moves between the links
        let received = w.recv(0).unwrap();
        w.pullers[0].stop_waiting(w.now);
        w.pass(SECOND / 10);
        assert_eq!(text(&received), format!("{i}"));
        assert!(w.pullers[0].stats().committed <= 1, "no credit beyond the cap");
        w.give(0, received, &Verdict::Ack);
    }
    assert_eq!(w.pushers[1].stats().acked, 5);
}

#[test]
fn cr_6_each_waiting_worker_has_credit_although_nothing_is_settled() {
    // CR-6: jobs may take hours, and each worker waits for a job.
    let mut w = World::new(vec![pusher(|_| ())], vec![puller(|s| s.window = Window::messages(0))]);
    w.join(0, 0);
    for _ in 0..3 {
        w.pullers[0].start_waiting(w.now);
    }
    for i in 0..3 {
        w.send(0, &format!("{i}"));
    }
    for i in 0..3 {
        let received = w.recv(0).expect("one delivery for each waiting worker");
        assert_eq!(text(&received), format!("{i}"));
        w.pullers[0].stop_waiting(w.now);
        w.settle();
    }
    assert!(w.recv(0).is_none());
    assert_eq!(w.pullers[0].stats().committed, 3, "and no more");
}

#[test]
fn cr_7_with_window_0_a_cancelled_wait_leaves_at_most_one_delivery() {
    // CR-7, RC-2, RC-4
    let mut w =
        World::new(vec![pusher(|_| ()), pusher(|_| ())], vec![puller(|s| s.window = Window::messages(0))]);
    w.join(0, 0);
    w.join(1, 0);
    w.settle();
    assert_eq!(w.pullers[0].stats().committed, 0);
    w.pullers[0].start_waiting(w.now);
    w.settle();
    w.pushers[0].send("a".into(), false).unwrap();
    w.pushers[1].send("b".into(), false).unwrap();
    w.pullers[0].stop_waiting(w.now); // cancelled while both messages are on their way
    w.pass(SECOND / 10);
    assert_eq!(w.pullers[0].stats().queued, 1);
    assert_eq!(
        w.pushers[0].stats().queued + w.pushers[1].stats().queued,
        1,
        "the other message was released"
    );
    let first = w.recv(0).unwrap();
    w.give(0, first, &Verdict::Ack);
    w.pullers[0].start_waiting(w.now);
    w.settle();
    let second = w.recv(0).unwrap();
    assert_eq!(second.attempt(), 1, "a release does not count (OC-8)");
    w.give(0, second, &Verdict::Ack);
    assert_eq!(w.pullers[0].stats().acked, 2);
}

#[test]
fn cr_8_the_pushers_own_bounds_limit_the_largest_legal_grant() {
    // CR-8, FR-7
    let mut w = World::new(
        vec![pusher(|s| s.max_in_flight = 10)],
        vec![puller(|s| {
            (s.window, s.budget, s.budget_bytes) = (Window::fixed(1 << 60, 1 << 60), 1 << 60, 1 << 60);
        })],
    );
    w.join(0, 0);
    w.settle();
    for i in 0..50 {
        w.send(0, &format!("{i}"));
    }
    let stats = w.pushers[0].stats();
    assert_eq!((stats.in_flight, stats.queued), (10, 40));
    assert_eq!(w.ack_all(0).len(), 50);
}

#[test]
fn dl_7_one_link_delivers_in_the_order_of_its_ids() {
    // DL-7, DL-1
    let mut w = World::new(vec![pusher(|_| ())], vec![puller(|_| ())]);
    w.join(0, 0);
    for i in 0..100 {
        w.send(0, &format!("{i}"));
    }
    let order: Vec<_> = w.ack_all(0).into_iter().map(|(text, _)| text).collect();
    assert_eq!(order, (0..100).map(|i| i.to_string()).collect::<Vec<_>>());
}

#[test]
fn rd_3_a_lost_link_returns_its_messages_to_the_front_in_the_order_of_numbers() {
    // RD-1, RD-3, RD-5, RR-3
    let mut w =
        World::new(vec![pusher(|_| ())], vec![puller(|s| s.window = Window::messages(3)), puller(|_| ())]);
    let wire = w.join(0, 0);
    w.settle();
    for i in 0..6 {
        w.send(0, &format!("{i}"));
    }
    let held = w.recv(0).unwrap();
    w.cut(wire);
    assert_eq!(w.pullers[0].stats().dropped, 2, "the deliveries that were not handed out");
    w.give(0, held, &Verdict::Ack);
    assert_eq!(w.pullers[0].stats().dropped, 3, "and the one whose outcome cannot be sent");
    w.pass(SECOND); // the grace is over (RD-8)
    w.join(0, 1);
    w.settle();
    let all = w.ack_all(1);
    let expected = [("0", 2), ("1", 2), ("2", 2), ("3", 1), ("4", 1), ("5", 1)];
    assert_eq!(all, expected.map(|(text, attempt)| (text.to_owned(), attempt)));
}

#[test]
fn rd_3_a_message_that_was_not_written_completely_keeps_its_attempt() {
    // RD-3, LV-6
    let mut w = World::new(vec![pusher(|_| ())], vec![puller(|_| ()), puller(|_| ())]);
    let wire = w.join(0, 0);
    w.settle();
    w.wires[wire].stuck = true;
    w.send(0, "m");
    assert_eq!(w.pushers[0].stats().in_flight, 1);
    w.cut(wire);
    w.join(0, 1);
    w.settle();
    assert_eq!(w.ack_all(1), [("m".to_owned(), 1)]);
}

#[test]
fn lv_6_a_stalled_link_gets_no_messages_and_stays_open() {
    // LV-6
    let mut w = World::new(vec![pusher(|_| ())], vec![puller(|_| ()), puller(|_| ())]);
    let wire = w.join(0, 0);
    w.join(0, 1);
    w.settle();
    w.wires[wire].stuck = true;
    w.send(0, "a");
    w.send(0, "b");
    w.pass(SECOND * 3 / 2);
    for i in 0..10 {
        w.send(0, &format!("{i}"));
    }
    let link = w.push_link(wire).as_u64();
    let stats = w.pushers[0].link_stats().into_iter().find(|s| s.link == link).unwrap();
    assert!(stats.stalled);
    assert_eq!(stats.in_flight, 1, "all other messages went to the other link");
    w.wires[wire].stuck = false;
    w.pass(SECOND / 2);
    assert!(!w.pushers[0].link_stats().iter().any(|s| s.stalled));
    assert_eq!(w.ack_all(0).len() + w.ack_all(1).len(), 12);
}

#[test]
fn rd_4_a_message_lost_with_two_links_is_sent_alone() {
    // RD-4
    let mut w = World::new(vec![pusher(|s| s.grace = Duration::ZERO)], vec![puller(|_| ()), puller(|_| ())]);
    for _ in 0..2 {
        let wire = w.join(0, 0);
        w.settle();
        if w.pushers[0].stats().accepted == 0 {
            w.send(0, "killer");
        }
        w.cut(wire);
    }
    assert_eq!(w.pushers[0].stats().delayed, 1, "it waits");
    let wire = w.join(0, 0);
    w.settle();
    w.send(0, "before");
    w.pass(SECOND);
    w.send(0, "after");
    assert_eq!(w.pushers[0].link_stats()[0].in_flight, 1, "the link is reserved for it");
    let before = w.recv(0).unwrap();
    w.give(0, before, &Verdict::Ack);
    let killer = w.recv(0).unwrap();
    assert_eq!((text(&killer).as_str(), killer.attempt()), ("killer", 3));
    assert!(w.recv(0).is_none(), "nothing else is sent on the link");
    w.join(0, 1);
    w.settle();
    assert_eq!(w.ack_all(1), [("after".to_owned(), 1)], "the other message goes to another puller");
    w.cut(wire);
    w.pass(SECOND);
    assert_eq!(w.ack_all(1), [("killer".to_owned(), 4)]);
}

#[test]
fn rd_4_a_reserved_link_takes_part_again_when_the_quarantined_message_went_elsewhere() {
    // RD-4, RR-1
    let mut w = World::new(
        vec![pusher(|s| s.grace = Duration::ZERO)],
        vec![puller(|_| ()), puller(|_| ()), puller(|_| ())],
    );
    w.send(0, "killer");
    for _ in 0..2 {
        let wire = w.join(0, 2);
        w.settle();
        w.cut(wire);
    }
    w.join(0, 0);
    w.join(0, 1);
    w.settle();
    w.send(0, "long");
    w.send(0, "short");
    w.pass(SECOND);
    let short = w.recv(1).unwrap();
    w.give(1, short, &Verdict::Ack);
    let killer = w.recv(1).expect("the empty link gets the message");
    assert_eq!(text(&killer), "killer");
    w.send(0, "next");
    let of_first: Vec<_> = std::iter::from_fn(|| w.recv(0)).map(|received| text(&received)).collect();
    assert_eq!(of_first, ["long", "next"], "it gets other messages beside its long job");
}

#[test]
fn rd_2_outcomes_that_have_arrived_are_read_after_a_failed_write() {
    // RD-2
    let mut w = World::new(vec![pusher(|_| ())], vec![puller(|_| ())]);
    let wire = w.join(0, 0);
    w.settle();
    w.send(0, "m");
    let received = w.recv(0).unwrap();
    let link = w.push_link(wire);
    w.pushers[0].handle_write_error(w.now, link, "reset");
    assert_eq!(w.pushers[0].stats().in_flight, 1, "not requeued yet");
    w.give(0, received, &Verdict::Ack);
    let stats = w.pushers[0].stats();
    assert_eq!((stats.acked, stats.queued), (1, 0));
}

#[test]
fn lv_3_the_messages_of_a_suspended_puller_go_to_another_one() {
    // LV-3, RD-1
    let mut w = World::new(vec![pusher(|_| ())], vec![puller(|_| ()), puller(|_| ())]);
    let wire = w.join(0, 0);
    w.settle();
    w.send(0, "m");
    // Only the pusher is driven from now on, so that its peer is silent.
    let link = w.push_link(wire);
    w.wires[wire].hung = true;
    for _ in 0..40 {
        w.now = w.now + SECOND / 4;
        w.pushers[0].handle_would_block(link);
        w.pushers[0].handle_timeout(w.now, link, Default::default());
        let mut out = Default::default();
        w.pushers[0].poll_transmit(w.now, link, &mut out);
        let bytes = out.iter().map(bytes::Bytes::len).sum();
        w.pushers[0].handle_written(w.now, link, bytes);
    }
    assert!(w.pushers[0].is_finished(w.now, link));
    let end = w.pushers[0].handle_link_lost(w.now, link, "").unwrap();
    assert_eq!(end.code, Some(tidegate_proto::Code::Silent));
    w.wires[wire].open = false;
    w.join(0, 1);
    w.pass(SECOND);
    assert_eq!(w.ack_all(1), [("m".to_owned(), 2)]);
}

#[test]
fn lv_1_idle_links_keep_each_other_alive() {
    // LV-1, LV-4
    let mut w = World::new(vec![pusher(|_| ())], vec![puller(|_| ())]);
    w.join(0, 0);
    w.pass(60 * SECOND);
    assert_eq!((w.pushers[0].link_count(), w.pullers[0].link_count()), (1, 1));
    assert!(w.pushers[0].link_stats()[0].round_trip.is_some());
}

#[test]
fn lv_5_a_puller_whose_application_is_slow_pauses_and_stays_alive() {
    // LV-5
    let mut w = World::new(
        vec![pusher(|_| ())],
        vec![puller(|s| (s.read_ahead, s.window) = (100, Window::messages(50)))],
    );
    w.join(0, 0);
    w.settle();
    for _ in 0..50 {
        w.send(0, &"x".repeat(50));
    }
    let queued = w.pullers[0].stats().queued;
    assert!(queued < 50, "reading is paused: {queued}");
    w.pass(20 * SECOND);
    assert_eq!(w.pullers[0].link_count(), 1);
    assert_eq!(w.pullers[0].stats().queued, 50, "in the end it has read all that it has granted");
    assert_eq!(w.ack_all(0).len(), 50);
}

#[test]
fn cr_6_an_application_that_only_polls_gets_messages_of_links_without_a_share() {
    // CR-6, CR-9
    let window = |s: &mut tidegate_proto::PullerSettings| (s.window, s.budget) = (Window::messages(5), 1);
    let mut w = World::new(vec![pusher(|_| ()), pusher(|_| ())], vec![puller(window)]);
    for push in 0..2 {
        w.join(push, 0);
        w.send(push, "m");
    }
    w.pass(SECOND);
    let mut got = 0;
    for _ in 0..4 {
        got += w.ack_all(0).len();
        w.pullers[0].handle_empty_poll();
        w.pass(SECOND);
    }
    assert_eq!(got, 2);
}

#[test]
fn cr_6_a_poll_adds_no_credit_to_a_fixed_window_that_is_used_up() {
    // CR-5, CR-6
    let mut w = World::new(vec![pusher(|_| ())], vec![puller(|s| s.window = Window::messages(5))]);
    w.join(0, 0);
    for _ in 0..10 {
        w.send(0, "m");
    }
    w.pass(SECOND);
    let held: Vec<_> = std::iter::from_fn(|| w.recv(0)).collect();
    assert_eq!(held.len(), 5);
    w.pullers[0].handle_empty_poll();
    w.settle();
    assert!(w.recv(0).is_none(), "a sixth beside five un-acked ones");
}
