//! One decision for every kind of send: whatever the state of the pusher, all of them get the same answer to whether
//! there is room, and where a message goes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use tidegate_proto::{
    Blocked, InstanceId, LinkId, Machine as _, Message, Pusher, PusherSettings, Random, Restored, Role,
    StoreRecord, Time, wire::v1,
};
use tidegate_testkit::{ack, conserved, outcome, peer, pusher, sent};

const NOW: Time = Time(1_000_000);

/// Where a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Went {
    ToLink,
    ToQueue,
    Nowhere,
}

fn went(before: &Pusher, after: &Pusher) -> Went {
    let (before, after) = (before.stats(), after.stats());
    match (after.in_flight - before.in_flight, after.queued - before.queued) {
        (0, 0) => Went::Nowhere,
        (1, 0) => Went::ToLink,
        (0, 1) => Went::ToQueue,
        other => panic!("one message went {other:?}"),
    }
}

/// Below `end`, at random.
fn below(random: &mut Random, end: u64) -> u64 {
    random.next_u64() % end
}

/// A pusher whose bounds are small enough to be reached, with a number of links.
fn small(random: &mut Random) -> (Pusher, Vec<LinkId>) {
    let mut settings = PusherSettings::default();
    settings.high_water_mark = below(random, 4) as usize;
    settings.high_water_mark_bytes = 1 + below(random, 30);
    settings.max_held = 3 + below(random, 8) as usize;
    settings.max_held_bytes = 1 + below(random, 100);
    settings.max_message = 20;
    let stored = Restored {
        instance: InstanceId([7; 16]),
        numbers: 0..1 + below(random, 30),
        messages: Vec::new(),
        ended: false,
    };
    let mut pusher = if below(random, 2) == 0 {
        Pusher::new(settings, InstanceId([7; 16]), 1).unwrap()
    } else {
        Pusher::restore(settings, stored, 1, NOW).unwrap()
    };
    let links = (0..below(random, 4) as u8)
        .map(|n| pusher.open(NOW, peer(Role::Puller, 100 + n, None)).unwrap())
        .collect();
    (pusher, links)
}

/// Offers a message in every way, each to a copy of the pusher.
fn compare_all(pusher: &Pusher, reserved: Option<u64>, size: usize, context: &str) {
    let message = || Message::from(vec![7; size]);
    let room = pusher.clone().check_room();
    let mut sending = pusher.clone();
    let sent = sending.send(message(), false).map_err(|refused| refused.reason);
    let place = went(pusher, &sending);
    assert_eq!(sent.clone().map(|_| ()), room, "send, {context}");
    assert_eq!(place == Went::Nowhere, room.is_err(), "{context}");
    assert_eq!(pusher.clone().reserve(0), room, "reserve, {context}");
    let mut tracked = pusher.clone();
    assert_eq!(tracked.send(message(), true).map_err(|refused| refused.reason), sent, "tracked, {context}");
    assert_eq!(went(pusher, &tracked), place, "tracked, {context}");
    let mut fast = pusher.clone();
    assert_eq!(fast.try_send_fast(&vec![7; size]).is_some(), place == Went::ToLink, "fast, {context}");
    assert!(place != Went::ToLink || fast == sending, "fast: the same link, {context}");
    assert!(pusher.free_slots() == 0 || room.is_ok(), "free slots, {context}");
    assert!(pusher.free_slots() == 0 || pusher.has_byte_room(), "{context}");

    let Some(promised) = reserved else { return };
    let mut sending = pusher.clone();
    let sent = sending.send_reserved(message(), false, promised);
    let place = went(pusher, &sending);
    assert_eq!(sent.is_ok(), pusher.is_open(), "a reservation is room, {context}");
    let mut fast = pusher.clone();
    let taken = fast.try_send_reserved_fast(&vec![7; size], promised);
    assert_eq!(taken.is_some(), place == Went::ToLink, "reserved and fast, {context}");
    assert!(place != Went::ToLink || fast == sending, "reserved and fast: the same link, {context}");
}

#[test]
fn cr_8_every_kind_of_send_gets_the_same_answer_in_every_state() {
    // CR-8, RR-1, RD-11
    let mut seen = [0; 4];
    for seed in 0..300 {
        let random = &mut Random::new(seed);
        let (mut pusher, links) = small(random);
        let mut reserved = Vec::new();
        let mut unsettled = vec![0_u64; links.len()];
        let mut granted = vec![0_u64; links.len()];
        for step in 0..60 {
            let context =
                format!("seed {seed}, step {step}, {} reserved: {:?}", reserved.len(), pusher.stats());
            let size = below(random, 21) as usize;
            compare_all(&pusher, reserved.last().copied(), size, &context);
            let before = pusher.clone();
            match below(random, 12) {
                0..=4 => {
                    let refused = pusher.send(Message::from(vec![7; size]), false).err();
                    seen[match (went(&before, &pusher), refused.map(|refused| refused.reason)) {
                        (Went::ToLink, None) => 0,
                        (Went::ToQueue, None) => 1,
                        (Went::Nowhere, Some(Blocked::Full)) => 2,
                        (Went::Nowhere, Some(Blocked::Closed)) => 3,
                        other => panic!("{other:?}, {context}"),
                    }] += 1;
                }
                5 | 6 if pusher.reserve(size as u64).is_ok() => reserved.push(size as u64),
                7 => reserved.pop().into_iter().for_each(|promised| pusher.unreserve(promised)),
                8 => {
                    if let Some(promised) = reserved.pop() {
                        let _ = pusher.send_reserved(Message::from(vec![7; size]), false, promised);
                    }
                }
                9 if step > 50 => pusher.drain(NOW, false),
                10 => {
                    if let Some(record @ StoreRecord::NumbersUntil(_)) = pusher.poll_store() {
                        pusher.handle_synced(NOW, record);
                    }
                }
                _ if !links.is_empty() => {
                    let at = below(random, links.len() as u64) as usize;
                    sent(&mut pusher, NOW, links[at]);
                    let stats = pusher.link_stats();
                    let link = stats.iter().find(|link| link.link == links[at].as_u64()).unwrap();
                    let outcomes = match link.in_flight {
                        0 => Vec::new(),
                        count => vec![outcome(unsettled[at], count, v1::Verdict::Ack)],
                    };
                    unsettled[at] = link.sent;
                    granted[at] = granted[at].max(link.sent) + below(random, 4);
                    pusher.handle_frame(NOW, links[at], ack(outcomes, granted[at], 1 << 30));
                }
                _ => {}
            }
            conserved::assert_pusher(&pusher.stats());
        }
    }
    println!("to a link, to the queue, full, closed: {seen:?}");
    assert!(seen.iter().all(|count| *count > 50), "each answer occurred: {seen:?}");
}

#[test]
fn cr_8_credit_that_is_promised_to_reservations_goes_to_no_other_send() {
    // CR-8: without a queue, each reservation is for credit of a link.
    let mut pusher = pusher(|s| s.high_water_mark = 0);
    let links = [1, 2].map(|n| pusher.open(NOW, peer(Role::Puller, n, None)).unwrap());
    for link in links {
        pusher.handle_frame(NOW, link, ack(Vec::new(), 2, 1_000));
    }
    for _ in 0..3 {
        pusher.reserve(0).unwrap();
    }
    assert!(pusher.try_send_fast(b"the fourth").is_some(), "one of four is left");
    assert_eq!(pusher.check_room(), Err(Blocked::Full));
    assert_eq!(pusher.try_send_fast(b"x"), None);
    assert_eq!(pusher.send("x".into(), false).unwrap_err().reason, Blocked::Full);
    assert_eq!(pusher.reserve(0), Err(Blocked::Full));
    for _ in 0..3 {
        assert!(pusher.send_reserved("x".into(), false, 0).is_ok());
    }
    assert_eq!((pusher.stats().in_flight, pusher.stats().queued), (4, 0));
    conserved::assert_pusher(&pusher.stats());
}
