//! Deliveries that a driver takes in batches, and settles later.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use tidegate_proto::{Amount, DeliveryBatch, Machine as _, Role, Time, Verdict, Window, v1};
use tidegate_testkit::{SECOND, World, conserved, deliver, frame, peer, puller, pusher, sent, text};

const START: Time = Time(0);

/// The numbers of the first `count` deliveries that are taken from a batch.
fn take(batch: &mut DeliveryBatch, count: usize) -> Vec<u64> {
    std::iter::from_fn(|| batch.take()).take(count).map(|item| item.id).collect()
}

fn world(messages: usize, window: u64) -> World {
    let mut w = World::new(vec![pusher(|_| ())], vec![puller(|s| s.window = Window::fixed(window, 1 << 20))]);
    w.join(0, 0);
    for n in 0..messages {
        w.pushers[0].send(n.to_string().into(), false).unwrap();
    }
    w.settle();
    w
}

#[test]
fn a_batch_has_at_least_and_at_most_the_given_number_and_is_in_order() {
    let mut w = world(100, 160); // batches of 20
    let pull = &mut w.pullers[0];
    assert!(pull.recv_batch(41..=u64::MAX).is_none(), "fewer than wanted");
    assert_eq!((pull.stats().in_flight, pull.stats().queued), (0, 100), "and none is taken");
    for (range, first, count) in [(1..=3, 0, 3), (16..=64, 3, 20), (1..=u64::MAX, 23, 20)] {
        let mut batch = pull.recv_batch(range).unwrap();
        assert_eq!((batch.next_id(), batch.len()), (first, count));
        assert_eq!(take(&mut batch, 1_000), (first..first + count).collect::<Vec<_>>());
        pull.settle_untracked(batch.link(), first, Amount::new(count, 2 * count), &Verdict::Release);
    }
    assert_eq!(pull.stats().in_flight, 0);
    w.check();
}

#[test]
fn a_batch_is_no_more_than_a_quarter_of_the_window_in_messages_and_in_bytes() {
    // Otherwise all credit would be used up before the first outcome (OC-5).
    for (window, budget) in [(Window::fixed(10_000, 64 << 10), 100_000), (Window::messages(10_000), 200)] {
        let pull = puller(|s| (s.window, s.budget) = (window, budget));
        let mut w = World::new(vec![pusher(|_| ())], vec![pull]);
        w.join(0, 0);
        for _ in 0..900 {
            w.pushers[0].send("x".repeat(1_024).into(), false).unwrap();
        }
        w.settle();
        let queued = w.pullers[0].stats().queued;
        let batch = w.pullers[0].recv_batch(1..=u64::MAX).unwrap();
        assert!(batch.len() * 4 <= queued, "{} of {queued}, {window:?}", batch.len());
        w.check();
    }
}

#[test]
fn what_is_left_of_a_batch_is_dropped_after_the_end_of_the_stream() {
    // ST-7: other pullers have processed the messages, because the settle time-out has passed.
    let mut puller = puller(|s| s.window = Window::messages(160));
    let link = puller.open(START, peer(Role::Pusher, 1, None)).unwrap();
    sent(&mut puller, START, link); // the grant
    puller.handle_frame(START, link, deliver(0, &["a", "b", "c"]));
    let mut batch = puller.recv_batch(1..=u64::MAX).unwrap();
    assert_eq!(take(&mut batch, 1), [0]);
    puller.handle_frame(START, link, frame(v1::frame::Body::End(v1::End {})));
    assert!(puller.has_ended(link) && !puller.may_hand_out(link));
    puller.return_batch(batch);
    let stats = puller.stats();
    assert_eq!((stats.dropped, stats.released, stats.in_flight, stats.queued), (2, 0, 1, 0));
    puller.settle_untracked(link, 0, Amount::new(1, 1), &Verdict::Ack);
    assert_eq!((puller.stats().committed, puller.stats().committed_bytes), (0, 0));
    conserved::assert_puller(&puller.stats());
}

#[test]
fn what_is_left_of_a_batch_is_queued_again_and_the_order_stays() {
    // DL-7
    let mut w = world(100, 160);
    let mut batch = w.pullers[0].recv_batch(1..=u64::MAX).unwrap();
    let link = batch.link();
    assert_eq!(take(&mut batch, 5), [0, 1, 2, 3, 4]);
    w.pullers[0].return_batch(batch);
    assert_eq!((w.pullers[0].stats().in_flight, w.pullers[0].stats().queued), (5, 95));
    w.pullers[0].settle_untracked(link, 0, Amount::new(5, 5), &Verdict::Ack);
    assert!(w.pullers[0].may_hand_out(link));
    w.settle();
    let rest: Vec<_> = w.ack_all(0).into_iter().map(|(text, _)| text).collect();
    assert_eq!(rest, (5..100).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(w.pushers[0].stats().acked, 100);
    w.check();
}

#[test]
fn what_is_left_of_a_batch_of_a_lost_link_goes_to_another_puller() {
    // RD-5
    let mut w = world(100, 160);
    w.pullers.push(puller(|_| ()));
    let mut batch = w.pullers[0].recv_batch(1..=u64::MAX).unwrap();
    assert_eq!(take(&mut batch, 1), [0]);
    w.cut(0);
    assert!(!w.pullers[0].may_hand_out(batch.link()));
    let link = batch.link();
    w.pullers[0].return_batch(batch);
    assert_eq!((w.pullers[0].stats().in_flight, w.pullers[0].stats().queued), (1, 0));
    w.pullers[0].settle_untracked(link, 0, Amount::new(1, 1), &Verdict::Ack); // too late
    w.join(0, 1);
    w.pass(SECOND * 60); // the grace is over
    assert_eq!(w.ack_all(1).len(), 100);
    assert_eq!((w.pushers[0].stats().acked, w.pullers[0].stats().in_flight), (100, 0));
    w.check();
}

#[test]
fn what_is_left_of_a_batch_is_released_when_the_puller_leaves() {
    // ST-1
    let mut w = world(100, 160);
    let mut batch = w.pullers[0].recv_batch(1..=u64::MAX).unwrap();
    assert_eq!(take(&mut batch, 1), [0]);
    let link = batch.link();
    w.pullers[0].leave();
    assert!(!w.pullers[0].may_hand_out(link));
    w.pullers[0].return_batch(batch);
    w.settle();
    assert_eq!((w.pushers[0].stats().released, w.pushers[0].stats().in_flight), (99, 1));
    w.pullers[0].settle_untracked(link, 0, Amount::new(1, 1), &Verdict::Ack);
    w.settle();
    assert_eq!((w.pushers[0].stats().acked, w.pushers[0].stats().queued), (1, 99));
    w.check();
}

#[test]
fn oc_5_outcomes_that_a_driver_has_held_back_are_sent_when_it_says_so() {
    // OC-5
    let mut w = world(100, 1_000);
    let first = w.recv(0).unwrap();
    assert_eq!(text(&first), "0");
    w.give(0, first, &Verdict::Ack);
    assert_eq!(w.pushers[0].stats().acked, 0, "held back: it is one of 100 that wait");
    w.pullers[0].send_outcomes();
    assert!(w.pullers[0].has_ready_links());
    w.settle();
    assert_eq!(w.pushers[0].stats().acked, 1);
    w.pullers[0].send_outcomes(); // nothing is held back: no Ack
    w.settle();
    w.check();
}
