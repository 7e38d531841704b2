//! Measures the memory that a peer can make a side keep beyond its credit (LM-5), with a virtual clock.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use tidegate_proto::{
    LinkId, Machine, Puller, Received, Role, Time, Verdict, Window,
    wire::{Body, v1},
};
use tidegate_testkit::{ack, counted, frame, outcome, peer, puller, pusher, sent};

const START: Time = Time(1_000_000);
const MIB: usize = 1 << 20;

/// A puller with a budget of `budget` bytes, and the number of bytes of its frames that are not dropped.
struct Kept {
    puller: Puller,
    link: LinkId,
    alive: Arc<AtomicUsize>,
    next: u64,
}

impl Kept {
    fn new(budget: usize) -> Self {
        let budget = budget as u64;
        let mut puller = puller(|s| {
            (s.window, s.budget, s.budget_bytes) = (Window::fixed(1 << 20, budget), 1 << 20, budget);
            s.read_ahead = budget;
        });
        let link = puller.open(START, peer(Role::Pusher, 1, None)).unwrap();
        sent(&mut puller, START, link);
        Self { puller, link, alive: Arc::default(), next: 0 }
    }

    /// Delivers a batch of messages of these sizes. Each begins with its index in the batch.
    fn deliver(&mut self, sizes: &[usize]) {
        let message = |(place, size): (usize, &usize)| {
            let mut payload = vec![place as u8; *size];
            payload[0] = place as u8;
            v1::Message { payload: payload.into(), ..Default::default() }
        };
        let messages = sizes.iter().enumerate().map(message).collect();
        let bytes = frame(v1::frame::Body::Deliver(v1::Deliver {
            first_id: self.next,
            first_number: self.next,
            messages,
        }));
        self.next += sizes.len() as u64;
        self.puller.handle_frame(START, self.link, counted(bytes, &self.alive));
        assert!(self.puller.is_open(self.link), "the batch is within the credit");
    }

    fn settle(&mut self, received: &Received) {
        self.puller.settle(received, &Verdict::Ack);
    }

    /// Lets the puller grant more credit.
    fn grant(&mut self) {
        sent(&mut self.puller, START, self.link);
    }

    fn alive(&self) -> usize {
        self.alive.load(Ordering::Relaxed)
    }
}

#[test]
fn lm_5_a_slow_message_does_not_keep_the_large_ones_of_its_batch() {
    // LM-5: batches of a large message that is settled at once, and a small one that is not.
    let mut kept = Kept::new(64 * MIB);
    let mut slow = Vec::new();
    for _ in 0..40 {
        kept.deliver(&[10 * MIB, 4]);
        let large = kept.puller.recv().unwrap();
        assert_eq!((large.size(), large.payload().len()), (10 << 20, 10 * MIB));
        let small = kept.puller.recv().unwrap();
        kept.settle(&large);
        drop(large);
        slow.push(small);
        kept.grant();
        assert_eq!(kept.alive(), 0, "{} bytes are kept for {} un-acked ones", kept.alive(), 4 * slow.len());
    }
    assert!(slow.iter().all(|small| small.payload() == [1; 4]));
}

#[test]
fn lm_5_slow_messages_of_many_usual_batches_keep_half_of_the_budget_at_most() {
    // LM-5: one in 200 is slow.
    let mut kept = Kept::new(8 * MIB);
    let mut slow = Vec::new();
    for batch in 0..400 {
        kept.deliver(&[1_000; 200]);
        for place in 0..200 {
            let received = kept.puller.recv().unwrap();
            assert_eq!(received.payload(), [place as u8; 1_000]);
            if place == batch % 200 {
                slow.push(received);
            } else {
                kept.settle(&received);
            }
        }
        kept.grant();
        assert!(kept.alive() <= 4 * MIB + 201_000, "{} bytes after {batch} batches", kept.alive());
    }
    assert_eq!(slow.len(), 400);
    for (batch, received) in slow.iter().enumerate() {
        assert_eq!(received.payload(), [(batch % 200) as u8; 1_000]);
        kept.settle(received);
    }
    drop(slow);
    assert_eq!((kept.alive(), kept.puller.stats().in_flight), (0, 0));
}

#[test]
fn lm_5_lots_that_are_worked_on_for_long_do_not_keep_their_batches_either() {
    // LM-5: many receivers, each with a few deliveries.
    let mut kept = Kept::new(8 * MIB);
    let mut batches = Vec::new();
    for batch in 0..200 {
        kept.deliver(&[1_000; 200]);
        let mut left = 200;
        let mut slow = None;
        while left > 0 {
            // The first delivery of the batch is slow; the others are settled.
            let mut batch = kept.puller.recv_batch(1..=u64::MAX).unwrap();
            while let Some(item) = batch.take() {
                assert_eq!(item.payload(batch.bytes()), [200 - left as u8; 1_000]);
                left -= 1;
                if left < 199 {
                    kept.puller.settle_item(kept.link, &item, &Verdict::Ack);
                }
            }
            slow.get_or_insert(batch);
        }
        batches.extend(slow);
        kept.grant();
        assert!(kept.alive() <= 4 * MIB + 201_000, "{} after {batch}", kept.alive());
    }
    assert_eq!(batches.len(), 200);
}

#[test]
fn lm_5_headers_and_what_is_large_in_a_batch_arrive_whole_when_they_are_copied() {
    // LM-5, DL-5
    let mut kept = Kept::new(64 * MIB);
    let header =
        |name: &str, value: &[u8]| v1::Header { name: name.into(), value: Bytes::copy_from_slice(value) };
    let messages = vec![
        v1::Message {
            headers: vec![header("a", b"1"), header("b", b"")],
            attempt: 3,
            tracked: true,
            ..Default::default()
        },
        v1::Message { gap: 5, payload: vec![7; MIB].into(), ..Default::default() },
        v1::Message {
            headers: vec![header("c", &[9; 1_000])],
            payload: Bytes::from_static(b"p"),
            ..Default::default()
        },
    ];
    let deliver = v1::Deliver { first_id: 0, first_number: 10, messages };
    kept.puller.handle_frame(START, kept.link, frame(v1::frame::Body::Deliver(deliver)));
    let all: Vec<Received> = std::iter::from_fn(|| kept.puller.recv()).collect();
    let numbers: Vec<_> =
        all.iter().map(|one| (one.delivery(), one.id().number, one.attempt(), one.size())).collect();
    assert_eq!(numbers, [(0, 10, 3, 3), (1, 16, 1, 1 << 20), (2, 17, 1, 1_002)]);
    let headers = all[0].headers();
    let pairs: Vec<_> = headers.iter().map(|(name, value)| (name, &value[..])).collect();
    assert_eq!(pairs, [("a", &b"1"[..]), ("b", b"")]);
    assert_eq!(all[1].payload(), vec![7; MIB]);
    assert_eq!((all[2].payload(), all[2].headers().get("c").map(Bytes::len)), (&b"p"[..], Some(1_000)));
}

#[test]
fn lm_5_a_pusher_that_keeps_nacked_and_rejected_messages_keeps_nothing_beside_them() {
    // LM-5, OC-6, OC-9: one of each frame is nacked for minutes, one is rejected, the others are acked.
    let mut pusher = pusher(|_| ());
    pusher.keep_rejected();
    let link = pusher.open(START, peer(Role::Puller, 1, Some((0, 1)))).unwrap();
    pusher.handle_frame(START, link, ack(Vec::new(), 1 << 40, 1 << 40));
    for _ in 0..100 {
        for _ in 0..100 {
            pusher.send(vec![7; 1_000].into(), false).unwrap();
        }
        for body in sent(&mut pusher, START, link) {
            let Body::Deliver(batch) = body else { continue };
            let (first, count) = (batch.cursor.next_id(), batch.cursor.len());
            let outcomes = vec![
                v1::Outcome { delay_ms: 300_000, ..outcome(first, 1, v1::Verdict::Nack) },
                outcome(first + 1, 1, v1::Verdict::Reject),
                outcome(first, count, v1::Verdict::Ack),
            ];
            pusher.handle_frame(START, link, ack(outcomes, 1 << 40, 1 << 40));
        }
    }
    let stats = pusher.stats();
    assert_eq!((stats.in_flight, stats.delayed), (0, stats.rejected_waiting));
    let mut count = 0;
    while let Some(rejected) = pusher.take_rejected() {
        count += 1;
        // No other bytes share its memory, and its capacity is its length.
        let payload = rejected.message.into_payload();
        assert_eq!(payload.len(), 1_000);
        assert!(payload.is_unique());
        assert!(bytes::BytesMut::from(payload).capacity() < 2_000);
    }
    assert!(count >= 100);
}
