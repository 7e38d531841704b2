//! The frames that the flood limit charges, and those that it never charges (LM-3), with a virtual clock.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use tidegate_proto::{
    Code, LinkId, Machine, Pusher, Role, Rule, Time, Verdict, Window,
    wire::{self, Body, FrameProgress, v1},
};
use tidegate_testkit::{SECOND, World, ack, close_of, frame, outcome, peer, puller, pusher, sent};

const START: Time = Time(1_000_000);

fn link(pusher: &mut Pusher, credit: u64) -> LinkId {
    let link = pusher.open(START, peer(Role::Puller, 1, Some((0, 1)))).unwrap();
    pusher.handle_frame(START, link, ack(Vec::new(), credit, 1 << 40));
    link
}

/// Sends this frame until the link is closed, at most `most` times. Returns the number of frames, and the reason.
fn until_closed(
    machine: &mut impl Machine,
    link: LinkId,
    most: usize,
    frame: &Bytes,
) -> (usize, Option<Rule>) {
    for count in 1..=most {
        machine.handle_frame(START, link, frame.clone());
        if let Some(close) = close_of(machine, START, link) {
            assert_eq!(Code::from_wire(close.code), Code::Flood, "{}", close.reason);
            return (count, close.reason.split(':').next().unwrap().parse().ok());
        }
    }
    (most, None)
}

#[test]
fn lm_3_a_burst_of_nacks_in_any_order_is_not_a_flood() {
    // LM-3, OC-5: eight workers that fail at the same time, within one second.
    let mut w = World::new(
        vec![pusher(|s| (s.max_held, s.high_water_mark) = (1 << 20, 1 << 20))],
        vec![puller(|s| s.window = Window::fixed(2_000, 8 << 20))],
    );
    let wire = w.join(0, 0);
    w.settle();
    for n in 0..100_000 {
        w.pushers[0].send(format!("{n}").into(), false).unwrap();
    }
    w.settle();
    let kinds = [
        Verdict::Nack { delay_ms: 60_000, reason: "exit status 1".into() },
        Verdict::Release,
        Verdict::Nack { delay_ms: 60_000, reason: String::new() },
    ];
    let mut given = 0;
    let mut jobs = VecDeque::new();
    loop {
        while jobs.len() < 8
            && let Some(received) = w.pullers[0].recv()
        {
            jobs.push_back(received);
        }
        // The third of the eight workers is the fastest.
        let Some(done) = jobs.remove(2).or_else(|| jobs.pop_front()) else { break };
        let verdict = &kinds[if given < 3_000 { given % 2 } else { 2 }];
        w.pullers[0].settle(&done, verdict);
        given += 1;
        if given % 64 == 0 || jobs.is_empty() {
            w.settle();
            let rests = w.pushers[0].poll_timeout(w.push_link(wire)).unwrap();
            if rests.since(w.now) < Duration::from_millis(1_100) {
                // The next deadline is the end of the return pause (OC-14).
                w.pass(rests.since(w.now));
            }
        }
        if given >= 100_000 {
            break;
        }
    }
    assert!(w.wires[wire].open && given >= 90_000, "{given} nacks and releases");
    assert!(w.now.since(Time::default()) < 120 * SECOND);
    assert_eq!(w.pushers[0].stats().links, 1);
}

#[test]
fn lm_3_single_nacks_of_a_peer_that_does_not_merge_them_are_not_a_flood() {
    // LM-3: an outcome that settles a delivery is never charged.
    let mut pusher = pusher(|s| s.max_held = 1 << 20);
    let link = link(&mut pusher, 60_000);
    for verdict in [v1::Verdict::Nack, v1::Verdict::Release] {
        for _ in 0..30_000 {
            let _ = pusher.send("x".into(), false);
        }
        let mut next = 0;
        for body in sent(&mut pusher, START, link) {
            let Body::Deliver(batch) = body else { continue };
            next = next.max(batch.cursor.next_id() + batch.cursor.len());
        }
        let from = next - 30_000.min(next);
        for id in from..next {
            let reason = "r".repeat(256);
            pusher.handle_frame(
                START,
                link,
                ack(vec![v1::Outcome { reason, ..outcome(id, 1, verdict) }], 60_000, 1 << 40),
            );
        }
        assert!(close_of(&mut pusher, START, link).is_none());
        assert!(next > 0 || verdict == v1::Verdict::Release, "it rests");
    }
}

#[test]
fn lm_3_one_range_of_outcomes_for_what_is_settled_costs_a_look_and_is_charged() {
    // LM-3, OC-3: 50,000 frames of one message each. The outcome of the last half is repeated for ever.
    let mut pusher = pusher(|s| (s.max_held, s.max_unwritten) = (1 << 20, 64 << 20));
    let link = link(&mut pusher, 50_000);
    for _ in 0..50_000 {
        pusher.send("x".into(), false).unwrap();
        let _ = sent(&mut pusher, START, link);
    }
    pusher.handle_frame(START, link, ack(vec![outcome(25_000, 25_000, v1::Verdict::Ack)], 50_000, 1 << 40));
    assert_eq!(pusher.stats().acked, 25_000);
    let full = ack(vec![outcome(25_000, 25_000, v1::Verdict::Ack); 4_000], 50_000, 1 << 40);
    // Refunds of settled messages are not saved, so that only the limit of one second is left.
    let (count, rule) = until_closed(&mut pusher, link, 1_000, &full);
    assert_eq!(rule, Some(Rule::Lm3));
    assert!(count < 100, "{count} frames of {} bytes", full.len());
}

#[test]
fn lm_3_signs_of_work_are_charged_by_what_they_name() {
    // LM-3, OC-13: 20,000 ids a frame.
    let mut pusher = pusher(|s| (s.max_held, s.settle_timeout) = (1 << 20, Some(SECOND)));
    let link = link(&mut pusher, 20_000);
    for _ in 0..20_000 {
        pusher.send("x".into(), false).unwrap();
    }
    sent(&mut pusher, START, link);
    let working = frame(v1::frame::Body::Working(v1::Working { deliveries: (0..20_000).collect() }));
    let (count, rule) = until_closed(&mut pusher, link, 1_000, &working);
    assert_eq!(rule, Some(Rule::Lm3));
    assert!((24..70).contains(&count), "{count} frames of {} bytes; 1 MiB must be allowed", working.len());
}

#[test]
fn lm_3_unknown_fields_in_a_deliver_are_charged_and_usual_messages_are_not() {
    // LM-3: in the message, in the Deliver, in the frame, and a known field that is repeated.
    let field = |key: &[u8], content: &[u8]| {
        let mut length = Vec::new();
        prost::encoding::encode_varint(content.len() as u64, &mut length);
        [key, &length, content].concat()
    };
    let junk = b"\x78\x01".repeat(50_000); // field 15, a number
    let gaps = b"\x10\x00".repeat(50_000);
    let message = field(b"\x1a", b"\x2a\x01a");
    let head = |id: u64| {
        let mut head = vec![0x08];
        prost::encoding::encode_varint(id, &mut head);
        head
    };
    type MakeFrame<'a> = Box<dyn Fn(u64) -> Vec<u8> + 'a>;
    let kinds: [MakeFrame<'_>; 4] = [
        Box::new(|id| {
            field(b"\x12", &[head(id), field(b"\x1a", &[&junk[..], b"\x2a\x01a"].concat())].concat())
        }),
        Box::new(|id| field(b"\x12", &[head(id), message.clone(), junk.clone()].concat())),
        Box::new(|id| {
            [field(b"\x12", &[head(id), message.clone()].concat()), junk[..40_000].to_vec()].concat()
        }),
        Box::new(|id| {
            field(b"\x12", &[head(id), field(b"\x1a", &[&gaps[..], b"\x2a\x01a"].concat())].concat())
        }),
    ];
    for (kind, bytes) in kinds.iter().enumerate() {
        let mut puller = puller(|s| s.window = Window::fixed(100_000, 8 << 20));
        let link = puller.open(START, peer(Role::Pusher, 1, None)).unwrap();
        sent(&mut puller, START, link);
        let mut count = 0;
        let reason = loop {
            puller.handle_frame(START, link, bytes(count).into());
            count += 1;
            if let Some(close) = close_of(&mut puller, START, link) {
                assert_eq!(Code::from_wire(close.code), Code::Flood);
                break close.reason;
            }
            let received = puller.recv().expect("a message");
            puller.settle(&received, &Verdict::Ack);
        };
        assert!(reason.starts_with("LM-3: "), "{reason}");
        assert!(
            (10..80).contains(&count),
            "{count} of kind {kind}; 1 MiB must be allowed, but not all of them"
        );
    }
    // Small messages with headers, with a million bytes of necessary framing.
    let mut puller = puller(|s| (s.window, s.budget) = (Window::fixed(1 << 20, 1 << 30), 1 << 20));
    let link = puller.open(START, peer(Role::Pusher, 1, None)).unwrap();
    sent(&mut puller, START, link);
    let header = || v1::Header { name: "n".into(), value: Bytes::from_static(b"v") };
    for batch in 0..500 {
        let one = || v1::Message {
            headers: vec![header(), header()],
            gap: 0,
            attempt: 2,
            tracked: true,
            ..Default::default()
        };
        let messages = (0..200).map(|_| one()).collect();
        let deliver = v1::Deliver { first_id: 200 * batch, first_number: 400 * batch, messages };
        puller.handle_frame(START, link, frame(v1::frame::Body::Deliver(deliver)));
    }
    assert!(puller.is_open(link));
    assert_eq!(puller.stats().received, 100_000);
}

#[test]
fn oc_13_a_puller_collects_signs_of_work_however_often_they_are_reported() {
    // OC-13, LM-3: an application that reports work on each of 1,000 deliveries all the time.
    let mut puller = puller(|s| s.window = Window::fixed(1_000, 1 << 20));
    let link = puller.open(START, peer(Role::Pusher, 1, None)).unwrap();
    sent(&mut puller, START, link);
    puller.handle_frame(START, link, tidegate_testkit::deliver(0, &["x"; 1_000]));
    let all: Vec<_> = std::iter::from_fn(|| puller.recv()).collect();
    let mut now = START;
    let (mut frames, mut total, mut told) = (0, 0, 0);
    let mut tell = |puller: &mut tidegate_proto::Puller, now| {
        let mut out = VecDeque::new();
        puller.poll_transmit(now, link, &mut out);
        for bytes in out {
            puller.handle_written(now, link, bytes.len());
            if let Ok(Body::Working(working)) = wire::decode(bytes.slice(4..), 1) {
                frames += 1;
                total += bytes.len();
                told += working.deliveries.len();
            }
        }
    };
    while now < START + SECOND {
        for received in &all {
            puller.working(received.link(), received.delivery());
            tell(&mut puller, now);
        }
        now = now + Duration::from_micros(100);
        if puller.poll_timeout(link).unwrap() <= now {
            puller.handle_timeout(now, link, FrameProgress::default());
            tell(&mut puller, now);
        }
    }
    // The last signs of work are sent without another call of the application.
    let due = puller.poll_timeout(link).unwrap();
    puller.handle_timeout(due, link, FrameProgress::default());
    tell(&mut puller, due);
    assert!(
        frames <= 1_001 && total <= 600_000 && told >= 100_000,
        "{frames} frames, {total} bytes, {told} ids"
    );
    assert!(puller.poll_timeout(link).unwrap() > due + Duration::from_millis(500), "and no deadline is near");
}
