//! The end of links and streams, with machines connected in memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::collections::VecDeque;

use tidegate_proto::{
    Code, LinkId, Machine, Message, PullerEvent, Pusher, PusherEvent, Role, Time, Undelivered, Verdict,
    Window,
    wire::{Body, v1},
};
use tidegate_testkit::{SECOND, World, ack, deliver, frame, peer, puller, pusher, sent};

#[test]
fn st_2_the_end_waits_for_a_message_that_waits_for_a_retry() {
    // ST-2
    let mut w = World::new(vec![pusher(|_| ())], vec![puller(|_| ()), puller(|_| ())]);
    w.join(0, 0);
    w.join(0, 1);
    w.settle();
    w.send(0, "m");
    w.pushers[0].drain(w.now, true);
    w.settle();
    let received = w.recv(0).unwrap();
    w.give(0, received, &Verdict::Nack { delay_ms: 500, reason: String::new() });
    w.pass(SECOND / 10);
    assert!(!w.pushers[0].is_done());
    assert_eq!((w.pullers[0].poll_event(), w.pullers[1].poll_event()), (None, None), "no End yet");
    w.pass(SECOND);
    let (a, b) = (w.ack_all(0), w.ack_all(1));
    assert_eq!([a, b].concat(), [("m".to_owned(), 2)]);
    assert!(w.pushers[0].is_done());
    for puller in &mut w.pullers {
        assert!(matches!(puller.poll_event(), Some(PullerEvent::Ended(_))));
    }
    assert_eq!((w.pushers[0].link_count(), w.pullers[0].link_count(), w.pullers[1].link_count()), (0, 0, 0));
    assert_eq!(w.pushers[0].poll_event(), Some(PusherEvent::Drained));
}

#[test]
fn st_3_a_new_link_after_the_end_is_answered_with_end() {
    // ST-3, ST-6
    let mut w = World::new(vec![pusher(|_| ())], vec![puller(|_| ())]);
    w.pushers[0].drain(w.now, true);
    for _ in 0..2 {
        w.join(0, 0);
        w.settle();
        assert!(matches!(w.pullers[0].poll_event(), Some(PullerEvent::Ended(_))));
        assert_eq!(w.pullers[0].pushers_ended(), 1, "each pusher counts once");
        assert_eq!(w.pushers[0].link_count(), 0);
    }
}

#[test]
fn st_3_only_a_close_that_can_answer_an_end_counts_as_its_answer() {
    // ST-3: a Close that says SILENT or names a violation was on its way before the End was read.
    for (code, answers) in [
        (Code::Normal, true),
        (Code::GoingAway, true),
        (Code::Aborted, true),
        (Code::Silent, false),
        (Code::TooSlow, false),
        (Code::Flood, false),
        (Code::Credit, false),
    ] {
        let mut pusher = pusher(|_| ());
        let link = pusher.open(Time::default(), peer(Role::Puller, 1, None)).unwrap();
        pusher.drain(Time::default(), true);
        sent(&mut pusher, Time::default(), link);
        assert!(pusher.end_unanswered(link) && !pusher.end_answered(link));
        let close = v1::Close { code: code as i32, ..v1::Close::default() };
        pusher.handle_frame(Time::default(), link, frame(v1::frame::Body::Close(close)));
        assert_eq!(pusher.end_answered(link), answers, "{code:?}");
        assert_eq!(pusher.end_unanswered(link), !answers, "{code:?}");
    }
}

#[test]
fn st_5_a_drain_closes_without_end_and_refuses_new_links() {
    // ST-5, ST-4
    let mut w = World::new(vec![pusher(|_| ())], vec![puller(|_| ())]);
    w.join(0, 0);
    w.settle();
    w.send(0, "m");
    w.pushers[0].drain(w.now, false);
    assert!(w.pushers[0].send("late".into(), false).is_err());
    assert_eq!(w.ack_all(0).len(), 1);
    assert_eq!((w.pushers[0].link_count(), w.pullers[0].link_count()), (0, 0), "Close was answered by Close");
    assert_eq!(w.pullers[0].pushers_ended(), 0);
    let violation = w.join_as(0, 0, (99, 1)).unwrap_err();
    assert_eq!(violation.code, Code::GoingAway);
}

#[test]
fn st_1_a_leaving_puller_gets_no_deliveries_whatever_it_grants() {
    // ST-1
    let mut pusher = pusher(|_| ());
    let link = pusher.open(Time(0), peer(Role::Puller, 1, None)).unwrap();
    let leaving = v1::Ack { message_limit: 1, byte_limit: 100, leaving: true, ..Default::default() };
    pusher.handle_frame(Time(0), link, frame(v1::frame::Body::Ack(leaving)));
    pusher.handle_frame(Time(0), link, ack(Vec::new(), 9, 900));
    pusher.send("m".into(), false).unwrap();
    let bodies = sent(&mut pusher, Time(0), link);
    assert!(matches!(bodies[..], [Body::Skip(_)]), "{bodies:?}");
    assert_eq!(pusher.stats().queued, 1);
}

#[test]
fn st_1_a_leaving_puller_settles_what_it_holds_and_releases_the_rest() {
    // ST-1, RC-4, RR-2
    let mut w =
        World::new(vec![pusher(|_| ())], vec![puller(|s| s.window = Window::messages(5)), puller(|_| ())]);
    w.join(0, 0);
    w.settle();
    for i in 0..5 {
        w.send(0, &format!("{i}"));
    }
    let held = w.recv(0).unwrap();
    w.join(0, 1);
    w.pullers[0].leave();
    w.settle();
    assert_eq!(w.pullers[0].link_count(), 1, "the application still holds one");
    assert_eq!(w.ack_all(1).iter().map(|(_, attempt)| attempt).sum::<u32>(), 4, "four first attempts");
    w.give(0, held, &Verdict::Ack);
    assert_eq!(w.pullers[0].link_count(), 0);
    let stats = w.pushers[0].stats();
    assert_eq!((stats.acked, stats.released, stats.returned, stats.links), (5, 4, 0, 1));
}

#[test]
fn st_8_an_abort_separates_undelivered_messages_from_unknown_ones() {
    // ST-8
    let mut w = World::new(vec![pusher(|_| ())], vec![puller(|s| s.window = Window::messages(2))]);
    w.join(0, 0);
    w.settle();
    for i in 0..5 {
        w.send(0, &format!("{i}"));
    }
    let leftover = w.pushers[0].abort(w.now);
    w.settle();
    let numbers = |all: &[Undelivered]| all.iter().map(|m| m.id.number).collect::<Vec<_>>();
    assert_eq!(numbers(&leftover.unacked), [0, 1]);
    assert_eq!(numbers(&leftover.unsent), [2, 3, 4]);
    let stats = w.pushers[0].stats();
    assert_eq!(
        (stats.accepted, stats.aborted, stats.queued, stats.in_flight, stats.held_bytes),
        (5, 5, 0, 0, 0)
    );
    assert_eq!((w.pushers[0].link_count(), w.pullers[0].link_count()), (0, 0));
    assert_eq!(w.pullers[0].stats().dropped, 2);
}

#[test]
fn st_8_a_message_that_is_being_written_at_an_abort_is_unknown() {
    // ST-8
    let mut w = World::new(vec![pusher(|_| ())], vec![puller(|_| ())]);
    let wire = w.join(0, 0);
    w.settle();
    w.wires[wire].stuck = true;
    w.send(0, "half written");
    let leftover = w.pushers[0].abort(w.now);
    w.wires[wire].stuck = false;
    w.settle();
    assert_eq!((leftover.unacked.len(), leftover.unsent.len()), (1, 0));
    assert_eq!(leftover.unacked[0].attempt, 1);
    assert_eq!(w.pullers[0].stats().received, 1, "it has arrived anyway");
}

#[test]
fn hs_9_a_higher_generation_replaces_a_link_that_still_looks_alive() {
    // HS-9, ER-1
    let mut w = World::new(vec![pusher(|_| ())], vec![puller(|_| ()), puller(|_| ())]);
    w.join(0, 1);
    let old = w.join_as(0, 0, (50, 3)).unwrap();
    w.settle();
    w.send(0, "a");
    w.send(0, "b");
    w.wires[old].hung = true; // a network fault that neither side has detected
    assert_eq!(w.join_as(0, 0, (50, 3)).unwrap_err().code, Code::Stale);
    assert_eq!(w.join_as(0, 0, (50, 2)).unwrap_err().code, Code::Stale);
    w.join_as(0, 0, (50, 4)).unwrap();
    w.settle();
    let all = [w.ack_all(0), w.ack_all(1)].concat();
    assert!(all.contains(&("a".to_owned(), 1)) || all.contains(&("b".to_owned(), 1)), "{all:?}");
    assert_eq!(w.pushers[0].stats().acked, 2, "no time-out was needed");
}

#[test]
fn hs_12_links_are_bounded() {
    // HS-12
    let mut w = World::new(vec![pusher(|s| s.max_links = 1)], vec![puller(|_| ())]);
    w.join(0, 0);
    let violation = w.join_as(0, 0, (99, 1)).unwrap_err();
    assert_eq!(violation.code, Code::Busy);
    assert!(violation.detail.contains("1 links are open; the limit is 1"));
}

#[test]
fn st_4_a_close_without_an_answer_ends_after_a_second() {
    // ST-4
    let mut w = World::new(vec![pusher(|_| ())], vec![puller(|_| ())]);
    let wire = w.join(0, 0);
    w.settle();
    w.wires[wire].hung = true;
    w.pushers[0].drain(w.now, true);
    let link = w.push_link(wire);
    let mut out = Default::default();
    w.pushers[0].poll_transmit(w.now, link, &mut out);
    assert!(!w.pushers[0].is_finished(w.now, link));
    let deadline = w.pushers[0].poll_timeout(link).unwrap();
    assert_eq!(deadline.since(w.now), SECOND);
    assert!(w.pushers[0].is_finished(deadline, link));
}

/// A pusher with a link of this generation, whose driver has got a message and not yet reported it as written.
fn writing(generation: u64) -> (Pusher, LinkId) {
    let mut pusher = pusher(|_| ());
    let link = pusher.open(Time(0), peer(Role::Puller, 1, Some((0, generation)))).unwrap();
    pusher.handle_frame(Time(0), link, ack(Vec::new(), 1, 100));
    pusher.send(Message::new("a"), false).unwrap();
    let mut out = VecDeque::new();
    pusher.poll_transmit(Time(0), link, &mut out);
    assert!(!out.is_empty());
    pusher.send(Message::new("b"), false).unwrap(); // there is no credit for it
    (pusher, link)
}

fn payloads(undelivered: &[Undelivered]) -> Vec<(&[u8], u32)> {
    undelivered.iter().map(|one| (one.message.payload().as_ref(), one.attempt)).collect()
}

#[test]
fn rd_3_messages_that_the_driver_of_a_replaced_link_may_still_write_count_as_written() {
    // RD-3, HS-9
    let (mut pusher, _) = writing(1);
    let new = pusher.open(Time(1), peer(Role::Puller, 1, Some((0, 2)))).unwrap();
    let left = pusher.leftover(Time(1));
    assert_eq!(
        (payloads(&left.unacked), payloads(&left.unsent)),
        (vec![(&b"a"[..], 2)], vec![(&b"b"[..], 1)])
    );
    pusher.handle_frame(Time(1), new, ack(Vec::new(), 2, 100));
    let mut attempts = Vec::new();
    for body in sent(&mut pusher, Time(1), new) {
        if let Body::Deliver(batch) = body {
            attempts.extend(batch.items().map(|item| (item.number, item.attempt)));
        }
    }
    assert_eq!(
        attempts,
        [(0, 2), (1, 1)],
        "the first one is held for its puller, which may have received it"
    );
}

#[test]
fn rd_3_messages_of_an_abandoned_link_count_as_written() {
    // RD-3
    let (mut pusher, link) = writing(1);
    pusher.handle_driver_lost(Time(1), link, "the runtime was dropped");
    let left = pusher.leftover(Time(1));
    assert_eq!(
        (payloads(&left.unacked), payloads(&left.unsent)),
        (vec![(&b"a"[..], 2)], vec![(&b"b"[..], 1)])
    );
}

#[test]
fn rd_3_messages_of_an_abandoned_link_are_not_sent_on_it_again() {
    // RD-3
    let (mut pusher, link) = writing(1);
    pusher.handle_frame(Time(0), link, ack(Vec::new(), 10, 100)); // credit that must not be used any more
    let before = pusher.stats();
    pusher.handle_driver_lost(Time(1), link, "the runtime was dropped");
    let after = pusher.stats();
    assert_eq!((after.sent, after.returned), (before.sent, before.returned + before.in_flight));
}

#[test]
fn rd_3_bytes_left_by_a_failed_write_do_not_count_as_written_when_the_link_is_replaced() {
    // RD-3, HS-9
    let (mut pusher, link) = writing(1);
    pusher.handle_write_error(Time(1), link, "broken pipe");
    pusher.open(Time(1), peer(Role::Puller, 1, Some((0, 2)))).unwrap();
    let left = pusher.leftover(Time(1));
    assert_eq!(payloads(&left.unsent), [(&b"a"[..], 1), (&b"b"[..], 1)]);
}

#[test]
fn fr_7_a_link_whose_ids_are_used_up_is_renewed_and_its_messages_are_not_lost() {
    // FR-7, RC-4, ST-1
    const MAX: u64 = (1 << 53) - 1;
    let mut puller = puller(|s| {
        (s.window, s.budget, s.budget_bytes) = (Window::fixed(1 << 53, 1 << 53), 1 << 60, 1 << 60);
    });
    let link = puller.open(Time(0), peer(Role::Pusher, 1, None)).unwrap();
    let grant = v1::Ack { message_limit: MAX, byte_limit: MAX, ..Default::default() };
    assert_eq!(sent(&mut puller, Time(0), link), [Body::Ack(grant.clone())], "no more is ever granted");
    puller.handle_frame(Time(0), link, deliver(0, &["held", "queued"]));
    let held = puller.recv().unwrap();
    // Another link takes half of the window: the pusher gives up all of its ids.
    puller.open(Time(0), peer(Role::Pusher, 2, None)).unwrap();
    let recall = v1::Ack { recall: true, ..grant.clone() };
    assert_eq!(sent(&mut puller, Time(0), link), [Body::Ack(recall)]);
    let skip = |bytes| frame(v1::frame::Body::Skip(v1::Skip { next_id: MAX, bytes }));
    puller.handle_frame(Time(0), link, skip(MAX - 10));
    let bodies: Vec<_> = (0..3).flat_map(|_| sent(&mut puller, Time(0), link)).collect();
    assert_eq!(bodies, [Body::Ack(v1::Ack { leaving: true, ..grant.clone() })]);
    let mut stopping = puller.clone();
    stopping.leave();
    assert_eq!(sent(&mut stopping, Time(0), link), [], "it has sent `leaving` before (RC-1)");
    puller.handle_frame(Time(0), link, skip(0));
    let released =
        v1::Outcome { verdict: v1::Verdict::Release.into(), first: 1, count: 1, ..Default::default() };
    let bodies = sent(&mut puller, Time(0), link);
    assert_eq!(bodies, [Body::Ack(v1::Ack { outcomes: vec![released], ..grant })]);
    puller.settle(&held, &Verdict::Ack);
    let bodies = sent(&mut puller, Time(0), link);
    let [Body::Ack(_), Body::Close(close)] = &bodies[..] else { panic!("{bodies:?}") };
    assert_eq!(close.code, i32::from(Code::GoingAway));
    assert!(!puller.is_leaving());
}
