//! The fast path of sending does what `send` does for a payload that a link can take at once, and leaves everything
//! else to `send`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use tidegate_proto::{
    InstanceId, LinkId, Machine as _, Message, Pusher, PusherSettings, Restored, Role, Time,
    wire::{Body, v1},
};
use tidegate_testkit::{ack, conserved, outcome, peer, pusher, sent};

const NOW: Time = Time(1_000_000);

/// Opens a link, and grants credit on it.
fn link(pusher: &mut Pusher, messages: u64, bytes: u64) -> LinkId {
    let instance = 100 + u8::try_from(pusher.link_count()).unwrap();
    let link = pusher.open(NOW, peer(Role::Puller, instance, None)).unwrap();
    pusher.handle_frame(NOW, link, ack(Vec::new(), messages, bytes));
    link
}

fn linked(messages: u64, bytes: u64, change: impl FnOnce(&mut PusherSettings)) -> (Pusher, LinkId) {
    let mut pusher = pusher(change);
    let link = link(&mut pusher, messages, bytes);
    (pusher, link)
}

fn assert_conserved(pusher: &Pusher) {
    let stats = pusher.stats();
    conserved::assert_pusher(&stats);
    let flying: u64 = pusher.link_stats().iter().map(|link| link.in_flight).sum();
    assert_eq!(stats.in_flight, flying, "{stats:?}");
}

#[test]
fn the_fast_path_leaves_the_machine_in_the_state_in_which_send_leaves_it() {
    // CR-2, CR-4, RR-1: machines compare equal only if credit, turns, batches and statistics do.
    const SIZES: [usize; 9] = [0, 1, 64, 125, 126, 127, 128, 2_000, 16 * 1_024 - 1];
    let mut fast = pusher(|s| (s.high_water_mark, s.max_in_flight) = (3, 150));
    let links = [link(&mut fast, 100, 100_000), link(&mut fast, 300, 1 << 40), link(&mut fast, 7, 1 << 40)];
    let mut plain = fast.clone();
    let mut accepted = 0;
    for n in 0..400 {
        let payload = vec![n as u8; SIZES[n * n % SIZES.len()]];
        let taken = fast.try_send_fast(&payload);
        let sent_plainly = plain.send(Message::from(payload.clone()), false);
        match taken {
            Some(taken) => {
                assert_eq!(sent_plainly, Ok(taken), "message {n}");
                accepted += 1;
            }
            None => assert_eq!(fast.send(Message::from(payload), false), sent_plainly, "message {n}"),
        }
        assert!(fast == plain, "message {n}: {:?} {:?}", fast.stats(), plain.stats());
        assert_conserved(&fast);
        if n % 50 == 0 {
            for link in links {
                assert_eq!(sent(&mut fast, NOW, link), sent(&mut plain, NOW, link), "message {n}");
            }
        }
    }
    assert!((150..400).contains(&accepted), "{accepted}: some were taken, and some found no credit");
}

#[test]
fn cr_2_the_fast_path_takes_what_a_link_has_credit_for_and_leaves_the_rest_to_send() {
    // CR-2
    let (mut pusher, link) = linked(2, 1_000, |_| ());
    assert_eq!(pusher.try_send_fast(b"a").unwrap().number, 0);
    assert_eq!(pusher.try_send_fast(b"b").unwrap().number, 1);
    assert_eq!(pusher.try_send_fast(b"c"), None, "without credit");
    assert_eq!(pusher.send("c".into(), false).unwrap().number, 2);
    assert_eq!((pusher.stats().in_flight, pusher.stats().queued), (2, 1));
    let Some(Body::Deliver(batch)) = sent(&mut pusher, NOW, link).pop() else { panic!("one frame") };
    assert_eq!(batch.items().count(), 2);
    let outcomes = vec![outcome(0, 2, v1::Verdict::Ack)];
    pusher.handle_frame(NOW, link, ack(outcomes, 3, 1_000));
    assert_eq!((pusher.stats().acked, pusher.stats().in_flight), (2, 1), "the queued message was sent");
    assert_conserved(&pusher);
}

#[test]
fn the_fast_path_refuses_what_send_would_refuse_or_not_copy() {
    let (mut pusher, _) = linked(100, 1 << 30, |s| s.max_message = 10);
    assert_eq!(pusher.try_send_fast(b"eleven bytes"), None, "beyond max_message");
    assert!(pusher.try_send_fast(b"ten bytes.").is_some());

    let (mut pusher, _) = linked(100, 1 << 30, |_| ());
    assert_eq!(pusher.try_send_fast(&[0; 16 * 1_024]), None, "it is written separately");
    assert!(pusher.try_send_fast(&[0; 16 * 1_024 - 1]).is_some());
    pusher.drain(NOW, false);
    assert_eq!(pusher.try_send_fast(b"x"), None, "closed");
    assert_eq!(pusher.try_send_reserved_fast(b"x", 0), None, "closed");

    let (mut pusher, _) = linked(100, 1 << 30, |s| s.max_held = 2);
    pusher.reserve(0).unwrap();
    assert!(pusher.try_send_fast(b"x").is_some());
    assert_eq!(pusher.try_send_fast(b"x"), None, "the rest is reserved");
    assert!(pusher.try_send_reserved_fast(b"x", 0).is_some());
    assert_eq!(pusher.try_send_fast(b"x"), None, "CR-8: two messages are held");

    let (mut pusher, _) = linked(100, 1 << 30, |s| s.max_held_bytes = 10);
    assert!(pusher.try_send_fast(b"ten bytes.").is_some());
    assert_eq!(pusher.try_send_fast(b"x"), None, "CR-8: ten bytes are held");
}

#[test]
fn a_reservation_is_used_up_only_by_a_fast_send_that_is_accepted() {
    let (mut pusher, link) = linked(1, 1_000, |s| {
        (s.high_water_mark, s.high_water_mark_bytes) = (2, 1_000);
        s.max_message = 100;
    });
    pusher.reserve(100).unwrap();
    pusher.reserve(900).unwrap();
    assert_eq!((pusher.free_slots(), pusher.has_byte_room()), (0, false));
    assert_eq!(pusher.try_send_reserved_fast(&[0; 101], 900), None, "beyond max_message");
    assert!(pusher.try_send_reserved_fast(&[0; 90], 900).is_some());
    assert_eq!((pusher.free_slots(), pusher.has_byte_room()), (1, true));
    assert_eq!(pusher.try_send_reserved_fast(b"x", 100), None, "without credit");
    assert_eq!((pusher.free_slots(), pusher.stats().accepted), (1, 1), "nothing has changed");
    pusher.handle_frame(NOW, link, ack(Vec::new(), 2, 1_000));
    assert!(pusher.try_send_reserved_fast(b"x", 100).is_some());
    assert_eq!(pusher.free_slots(), 2);
    assert_conserved(&pusher);
}

#[test]
fn rd_11_the_fast_path_uses_no_number_that_is_not_synced_and_none_that_is_reserved() {
    // RD-11, DL-2
    let store =
        Restored { instance: InstanceId([7; 16]), numbers: 10..12, messages: Vec::new(), ended: false };
    let mut pusher = Pusher::restore(PusherSettings::default(), store, 1, NOW).unwrap();
    link(&mut pusher, 100, 1 << 30);
    pusher.reserve(0).unwrap();
    assert_eq!(pusher.try_send_fast(b"a").unwrap().number, 10);
    assert_eq!(pusher.try_send_fast(b"b"), None, "11 is reserved");
    assert_eq!(pusher.try_send_reserved_fast(b"b", 0).unwrap().number, 11);
    assert_eq!(pusher.try_send_reserved_fast(b"c", 0), None, "12 is not synced");
    assert_conserved(&pusher);
}

#[test]
fn rr_1_fast_sends_go_to_the_links_in_turn() {
    // RR-1
    let (mut pusher, first) = linked(100, 1 << 30, |_| ());
    let second = link(&mut pusher, 100, 1 << 30);
    for n in 0..10_u8 {
        assert!(if n % 3 == 0 {
            pusher.send(Message::from(vec![n]), false).is_ok()
        } else {
            pusher.try_send_fast(&[n]).is_some()
        });
    }
    for (link, odd) in [(first, 0), (second, 1)] {
        let Some(Body::Deliver(batch)) = sent(&mut pusher, NOW, link).pop() else { panic!("one frame") };
        let numbers: Vec<_> = batch.items().map(|item| item.number).collect();
        assert_eq!(numbers, [0, 2, 4, 6, 8].map(|n| n + odd));
    }
}
