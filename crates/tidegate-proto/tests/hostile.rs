//! Hostile peers against single machines, with a virtual clock.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tidegate_proto::{
    Code, LinkId, Machine, Pusher, Role, Rule, Time, Window,
    wire::{self, Batch, Body, FrameProgress, v1, v1::Verdict},
};
use tidegate_testkit::{SECOND, ack, close_of, counted, deliver, frame, outcome, peer, puller, pusher, sent};

const START: Time = Time(1_000_000);

fn ping() -> Bytes {
    frame(v1::frame::Body::Ping(v1::Ping { data: 1 }))
}

fn link(pusher: &mut Pusher, now: Time, instance: u8) -> LinkId {
    let link = pusher.open(now, peer(Role::Puller, instance, Some((0, 1)))).unwrap();
    pusher.handle_frame(now, link, ack(Vec::new(), 1_000_000, 1 << 40));
    link
}

#[test]
fn lm_3_after_a_flood_all_frames_are_ignored() {
    // LM-3
    let mut pusher = pusher(|_| ());
    let bad = link(&mut pusher, START, 1);
    pusher.send("a".into(), false).unwrap();
    sent(&mut pusher, START, bad);
    for _ in 0..20_001 {
        pusher.handle_frame(START, bad, ping());
    }
    let close = close_of(&mut pusher, START, bad).expect("a Close");
    assert_eq!(Code::from_wire(close.code), Code::Flood);
    assert!(close.reason.starts_with("LM-3: "), "{}", close.reason);
    pusher.handle_frame(START, bad, ack(vec![outcome(0, 1, Verdict::Ack)], 10, 10));
    assert_eq!(pusher.stats().acked, 0);
    pusher.handle_link_lost(START, bad, "");
    assert_eq!(pusher.stats().queued, 1, "and no message is lost");
}

#[test]
fn lm_3_a_puller_has_a_flood_limit_too() {
    // LM-3, LM-2
    let mut puller = puller(|s| s.window = Window::fixed(4, 1_000));
    let link = puller.open(START, peer(Role::Pusher, 1, None)).unwrap();
    for second in 0..5 {
        let now = START + second * SECOND;
        for _ in 0..19_999 {
            puller.handle_frame(now, link, ping());
        }
        assert!(sent(&mut puller, now, link).iter().all(|body| !matches!(body, Body::Close(_))));
    }
    puller.handle_frame(START + 5 * SECOND, link, deliver(0, &["a"]));
    assert_eq!(puller.stats().received, 1);
    for _ in 0..20_001 {
        puller.handle_frame(START + 5 * SECOND, link, ping());
    }
    let close = close_of(&mut puller, START + 5 * SECOND, link).expect("a Close");
    assert_eq!(Code::from_wire(close.code), Code::Flood);
}

#[test]
fn lv_8_a_peer_that_sends_heartbeats_and_never_reads_is_closed() {
    // LV-6, LV-8
    let mut pusher = pusher(|_| ());
    let bad = link(&mut pusher, START, 1);
    pusher.send("a".into(), false).unwrap();
    let mut out = VecDeque::new();
    pusher.poll_transmit(START, bad, &mut out);
    assert!(!out.is_empty(), "nothing of it can be written");
    let mut seconds = 0;
    while !pusher.link_stats()[0].stalled || pusher.is_finished(START, bad) || seconds < 29 {
        seconds += 1;
        let now = START + seconds * SECOND;
        pusher.handle_frame(now, bad, ping());
        pusher.handle_bytes(bad);
        pusher.handle_timeout(now, bad, FrameProgress::default());
        assert!(close_of_unwritten(&mut pusher, now, bad).is_none(), "{seconds}");
    }
    let now = START + 30 * SECOND;
    pusher.handle_bytes(bad);
    pusher.handle_timeout(now, bad, FrameProgress::default());
    let close = close_of_unwritten(&mut pusher, now, bad).expect("a Close");
    assert_eq!(Code::from_wire(close.code), Code::TooSlow);
    assert_eq!(close.reason, "LV-8: no byte could be written for 30s");
    assert!(pusher.is_finished(now + SECOND, bad), "although the Close cannot be written either");
}

/// The `Close` that a machine wants to write. The bytes stay unwritten.
fn close_of_unwritten(pusher: &mut Pusher, now: Time, link: LinkId) -> Option<v1::Close> {
    let mut out = VecDeque::new();
    pusher.poll_transmit(now, link, &mut out);
    out.into_iter().find_map(|bytes| match wire::decode(bytes.slice(4..), 1 << 20) {
        Ok(Body::Close(close)) => Some(close),
        _ => None,
    })
}

#[test]
fn fr_3_working_for_many_deliveries_stays_within_the_limit_of_a_frame() {
    // FR-3, OC-13
    let mut puller = puller(|s| (s.window, s.budget) = (Window::fixed(30_000, 1 << 30), 30_000));
    let link = puller.open(START, peer(Role::Pusher, 1, None)).unwrap();
    sent(&mut puller, START, link);
    for batch in 0..30 {
        puller.handle_frame(START, link, deliver(batch * 1_000, &[""; 1_000]));
    }
    while let Some(received) = puller.recv() {
        puller.working(received.link(), received.delivery());
    }
    let mut out = VecDeque::new();
    puller.poll_transmit(START, link, &mut out);
    let told: usize = out
        .iter()
        .map(|bytes| {
            assert!(bytes.len() <= 65_536 + 4, "{} bytes", bytes.len());
            match wire::decode(bytes.slice(4..), 1 << 20) {
                Ok(Body::Working(working)) => working.deliveries.len(),
                _ => 0,
            }
        })
        .sum();
    assert_eq!(told, 30_000);
}

#[test]
fn oc_5_a_deadline_of_a_link_that_cannot_write_is_not_repeated() {
    // OC-5, CR-7: otherwise a driver that cannot write would be polled again and again.
    let mut puller = puller(|s| s.window = Window::fixed(1_000, 1 << 20));
    let link = puller.open(START, peer(Role::Pusher, 1, None)).unwrap();
    sent(&mut puller, START, link);
    puller.handle_frame(START, link, deliver(0, &["a", "b"]));
    let received = puller.recv().unwrap();
    puller.settle(&received, &tidegate_proto::Verdict::Ack);
    let acks = |bodies: Vec<Body>| {
        bodies.iter().filter(|b| matches!(b, Body::Ack(a) if !a.outcomes.is_empty())).count()
    };
    assert_eq!(acks(sent(&mut puller, START, link)), 0, "held back");
    let due = START + Duration::from_millis(1);
    assert_eq!(puller.poll_timeout(link), Some(due));
    puller.handle_timeout(due, link, FrameProgress::default());
    assert!(puller.poll_timeout(link).unwrap() > due + SECOND, "only a heartbeat is due");
    assert_eq!(acks(sent(&mut puller, due + SECOND, link)), 1, "when it can be written");

    let mut puller = tidegate_testkit::puller(|s| s.window = Window::messages(0));
    let link = puller.open(START, peer(Role::Pusher, 1, None)).unwrap();
    puller.start_waiting(START);
    sent(&mut puller, START, link);
    puller.stop_waiting(START);
    let mut now = START;
    while let Some(at) = puller.poll_timeout(link).filter(|at| *at < START + SECOND) {
        assert!(at > now || now == START, "at {now:?} the next deadline is {at:?}");
        now = at.max(now);
        puller.handle_timeout(now, link, FrameProgress::default());
    }
    assert!(sent(&mut puller, now, link).iter().any(|body| matches!(body, Body::Ack(ack) if ack.recall)));
}

#[test]
fn oc_14_a_puller_that_returns_every_message_is_paused_and_another_gets_the_work() {
    // OC-14
    let mut pusher = pusher(|_| ());
    let (bad, good) = (link(&mut pusher, START, 1), link(&mut pusher, START, 2));
    let mut now = START;
    let (mut acked, mut next) = (0, [0u64; 2]);
    for round in 0..200 {
        for _ in 0..20 {
            let _ = pusher.send(format!("{round}").into(), false);
        }
        for (index, id, verdict) in [(0, bad, Verdict::Release), (1, good, Verdict::Ack)] {
            for body in sent(&mut pusher, now, id) {
                let Body::Deliver(batch) = body else { continue };
                let (first, count) = (batch.cursor.next_id(), batch.cursor.len());
                next[index] = first + count;
                acked += if verdict == Verdict::Ack { count } else { 0 };
                pusher.handle_frame(now, id, ack(vec![outcome(first, count, verdict)], 1_000_000, 1 << 40));
            }
        }
        now = now + Duration::from_micros(100);
        if let Some(at) = pusher.poll_timeout(bad).filter(|at| *at <= now) {
            pusher.handle_timeout(at, bad, FrameProgress::default());
        }
    }
    assert!(next[0] < 2_000, "{} deliveries in 20 ms to a puller that settles nothing", next[0]);
    assert!(acked >= 3_900, "{acked} of 4,000");
}

#[test]
fn rd_4_quarantined_messages_leave_room_for_others() {
    // RD-4
    let quick = Duration::from_micros(1);
    let mut pusher =
        pusher(|s| (s.grace, s.min_retry_delay, s.max_retry_delay) = (Duration::ZERO, quick, quick));
    // Fifty messages were in flight on two links that were lost.
    for _ in 0..50 {
        pusher.send("suspect".into(), false).unwrap();
    }
    for instance in [1, 2] {
        let bad = link(&mut pusher, START, instance);
        sent(&mut pusher, START, bad);
        pusher.handle_link_lost(START, bad, "killed");
    }
    let mut now = START + SECOND;
    pusher.handle_socket_timeout(now);
    let good = link(&mut pusher, now, 3);
    let (mut others, mut suspects) = (0u64, 0u64);
    // There is always other work.
    while suspects < 50 {
        for _ in 0..100 {
            let _ = pusher.send("other".into(), false);
        }
        let mut alone = None;
        for body in sent(&mut pusher, now, good) {
            let Body::Deliver(batch) = body else { continue };
            let (first, count) = (batch.cursor.next_id(), batch.cursor.len());
            let of_suspects = batch.items().filter(|item| item.attempt > 1).count() as u64;
            assert!(of_suspects == 0 || (count == 1 && alone.is_none()), "alone");
            alone = alone.or((of_suspects > 0).then_some(()));
            (others, suspects) = (others + count - of_suspects, suspects + of_suspects);
            pusher.handle_frame(
                now,
                good,
                ack(vec![outcome(first, count, Verdict::Ack)], 1_000_000, 1 << 40),
            );
        }
        now = now + Duration::from_millis(1);
    }
    assert!(others >= 49 * 200, "{others} other deliveries between 50 quarantined ones");
    assert_eq!(pusher.stats().acked, others + suspects);
}

/// The number of messages that a link gets now.
fn given(pusher: &mut Pusher, now: Time, link: LinkId) -> u64 {
    let frames = sent(pusher, now, link);
    frames.iter().map(|body| if let Body::Deliver(batch) = body { batch.cursor.len() } else { 0 }).sum()
}

#[test]
fn rd_10_in_a_slow_start_a_link_gets_16_messages_plus_those_it_has_settled() {
    // RD-10
    let mut pusher = pusher(|_| ());
    let bad = link(&mut pusher, START, 1);
    for _ in 0..10_001 {
        pusher.send("lost with its link".into(), false).unwrap();
    }
    assert_eq!(given(&mut pusher, START, bad), 10_001);
    pusher.handle_link_lost(START, bad, "broken");
    for _ in 0..1_000 {
        pusher.send("next".into(), false).unwrap();
    }
    let new = link(&mut pusher, START, 2);
    assert_eq!(given(&mut pusher, START, new), 16, "the link has settled nothing");
    pusher.handle_frame(START, new, ack(vec![outcome(0, 4, Verdict::Ack)], 1_000_000, 1 << 40));
    assert_eq!(given(&mut pusher, START, new), 4 + 4, "it may have 20 in flight now");
    pusher.handle_frame(START, new, ack(vec![outcome(4, 20, Verdict::Ack)], 1_000_000, 1 << 40));
    assert_eq!(given(&mut pusher, START, new), 16 + 24);
    let over = START + SECOND;
    assert_eq!(pusher.poll_socket_timeout(), Some(over), "also if no frame arrives");
    pusher.handle_socket_timeout(over);
    assert_eq!(
        given(&mut pusher, over, new),
        10_001 + 1_000 - 64,
        "all that waits, and what nobody came back for"
    );
    assert_eq!(pusher.stats().queued, 0);
}

#[test]
fn rd_10_held_messages_are_exempt_from_the_cap_unless_they_were_lost_often() {
    // RD-10, RD-8
    let mut pusher = pusher(|_| ());
    let first = link(&mut pusher, START, 1);
    for _ in 0..10_001 {
        pusher.send("wanted".into(), false).unwrap();
    }
    let mut got = vec![given(&mut pusher, START, first)];
    let mut last = first;
    for _ in 0..4 {
        pusher.handle_link_lost(START, last, "broken");
        last = link(&mut pusher, START, 1);
        got.push(given(&mut pusher, START, last));
    }
    assert_eq!(got, [10_001, 10_001, 10_001, 16, 16]);
    let over = START + SECOND;
    pusher.handle_socket_timeout(over);
    assert_eq!(given(&mut pusher, over, last), 10_001 - 16, "no message is lost");
}

#[test]
fn cr_3_nothing_is_kept_for_messages_beyond_the_credit() {
    // CR-3: each jump of the numbers takes memory, which the credit must bound, not the frame.
    let jumping = |count: u8| {
        let one = |at: u8| [0x1a, 2, 0x10, if at == 0 { 0 } else { 2 + 2 * (at % 2) }];
        (0..count).flat_map(one).collect::<Vec<u8>>()
    };
    for key in [&b"\x1a\x00"[..], b"\x9a\x00\x00"] {
        for (jumps, damage) in [(5, &b""[..]), (9, b"\x1a\xff")] {
            let bytes = [key, &jumping(jumps)[4..], key, damage].concat();
            assert_eq!(Batch::parse_within(bytes.into(), 100, 4).unwrap_err().rule, Rule::Cr3);
        }
        let bytes = [key, &jumping(4)[4..]].concat();
        assert_eq!(Batch::parse_within(bytes.into(), 100, 4).unwrap().cursor.len(), 4);
    }
    let mut puller = puller(|s| s.window = Window::fixed(4, 1_000));
    let link = puller.open(START, peer(Role::Pusher, 1, None)).unwrap();
    sent(&mut puller, START, link);
    // After an unknown field.
    let frame = [&b"\xa0\x06\x01\x12\x0c"[..], &b"\x1a\x00".repeat(6)].concat();
    puller.handle_frame(START, link, frame.into());
    let close = close_of(&mut puller, START, link).expect("a Close");
    assert_eq!(Code::from_wire(close.code), Code::Credit);
    assert!(
        close.reason.starts_with("CR-3: a Deliver has more messages than the unused credit of 4"),
        "{}",
        close.reason
    );
}

#[test]
fn cr_3_an_unusual_encoding_is_decoded_without_a_copy() {
    // CR-3, FR-4: a longer key, a group, a payload with a longer key, a header with one.
    let bytes = Bytes::from_static(
        b"\x9a\x00\x03\x2a\x01a\x7b\x7c\x1a\x04\xaa\x00\x01b\x1a\x07\x8a\x00\x04\x8a\x00\x01n",
    );
    let batch = Batch::parse(bytes.clone(), 10).unwrap();
    assert_eq!(batch.bytes.as_ptr(), bytes.as_ptr(), "it is not copied");
    let messages: Vec<_> = batch.items().map(|item| item.message(&batch.bytes)).collect();
    let names: Vec<_> = messages[2].headers().iter().map(|(name, _)| name.to_owned()).collect();
    assert_eq!((&messages[0].payload()[..], &messages[1].payload()[..]), (&b"a"[..], &b"b"[..]));
    assert_eq!(names, ["n"]);
}

#[test]
fn lm_5_a_message_does_not_keep_unknown_fields_in_memory() {
    // LM-5: 1 MiB in an unknown field, of the message, of the Deliver, or of the frame.
    let field = |key: &[u8], content: &[u8]| {
        let mut length = Vec::new();
        prost::encoding::encode_varint(content.len() as u64, &mut length);
        [key, &length, content].concat()
    };
    let nothing = field(b"\xa2\x06", &vec![0; 1 << 20]);
    let [first, second] = [b"\x0a\x06\x0a\x01n\x12\x01v\x18\x02\x20\x01\x2a\x01a", &b"\x10\x04\x2a\x01b"[..]];
    let head = b"\x10\x05"; // number 5
    let frames = [
        field(
            b"\x12",
            &[&head[..], &field(b"\x1a", &[first, &nothing].concat()), &field(b"\x1a", second)].concat(),
        ),
        field(b"\x12", &[&head[..], &field(b"\x1a", first), &nothing, &field(b"\x1a", second)].concat()),
        [
            field(b"\x12", &[&head[..], &field(b"\x1a", first), &field(b"\x1a", second)].concat()),
            nothing.clone(),
        ]
        .concat(),
    ];
    for bytes in frames {
        let mut puller = puller(|_| ());
        let link = puller.open(START, peer(Role::Pusher, 1, None)).unwrap();
        sent(&mut puller, START, link);
        let alive = Arc::new(AtomicUsize::new(0));
        puller.handle_frame(START, link, counted(bytes.into(), &alive));
        assert_eq!(alive.load(Ordering::Relaxed), 0, "the frame is dropped");
        let (a, b) = (puller.recv().unwrap(), puller.recv().unwrap());
        assert_eq!((a.payload(), a.attempt(), a.id().number), (&b"a"[..], 2, 5));
        let header = a.headers();
        assert_eq!(header.get("n").map(|value| &value[..]), Some(&b"v"[..]));
        assert_eq!((b.payload(), b.attempt(), b.id().number), (&b"b"[..], 1, 8));
        assert_eq!(puller.stats().queued, 0);
    }
}

#[test]
fn fr_3_a_large_frame_is_a_deliver_and_nothing_else() {
    // FR-3: a large Ack after an empty Deliver would take many times its length in memory.
    let outcomes = vec![v1::Outcome::default(); 40_000];
    let ack = frame(v1::frame::Body::Ack(v1::Ack { outcomes, ..Default::default() }));
    for after in [&b""[..], b"\x12\x02\x1a\x00"] {
        let hidden = [&b"\x12\x00"[..], &ack, after].concat();
        let violation = wire::decode_within(hidden.into(), 100, 100).unwrap_err();
        assert_eq!((violation.code, violation.rule), (Code::TooLarge, Rule::Fr3));
    }
    // Unknown fields may be large.
    let unknown = [&b"\xa2\x06\xa0\x8d\x06"[..], &[0; 100_000]].concat();
    let deliver = [&b"\x12\x02\x1a\x00"[..], &unknown].concat();
    assert!(matches!(wire::decode_within(deliver.into(), 100, 1), Ok(Body::Deliver(_))));
}
