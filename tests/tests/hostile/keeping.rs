//! Peers that make a socket retain, scan or read data that credit does not limit. The cost is measured in
//! `crates/tidegate-proto/tests/memory.rs` and `weights.rs`.

use std::{
    collections::BTreeSet,
    io::{ErrorKind, Read},
    time::Duration,
};

use tidegate::Code;
use tidegate_proto::{
    Role, Rule,
    wire::{
        self, Body, PREFACE,
        v1::{self, Verdict, frame::Body as Frame},
    },
};
use tidegate_tests::hostile::raw::{Raw, ack, framed, outcome};

use crate::{
    floods::flood,
    job::{self, closed_by, link},
};

/// The credit of a link, in messages.
const CREDIT: u64 = 64;

#[tokio::test(flavor = "multi_thread")]
async fn repeated_frames_with_the_first_message_nacked_and_the_others_acked_lose_nothing() {
    // LM-5, OC-6, OC-3
    job::pusher_of(
        2_000,
        true,
        |push| push,
        |at| {
            let mut raw = link(at, Role::Puller, 1);
            raw.send(ack(Vec::new(), (CREDIT, 1 << 20))).unwrap();
            let (mut acked, mut frames) = (BTreeSet::new(), 0);
            while frames < 20 {
                let frame = |body: &Body| match body {
                    Body::Deliver(batch) => {
                        let numbers = batch.items().map(|item| job::number(item.payload(&batch.bytes)));
                        Some((batch.cursor.next_id(), numbers.collect::<Option<Vec<_>>>().unwrap()))
                    }
                    _ => None,
                };
                let (first, numbers) = raw.until(frame).unwrap();
                let next = first + numbers.len() as u64;
                let nack = v1::Outcome { delay_ms: 100, ..outcome(first, 1, Verdict::Nack) };
                let mut outcomes = vec![nack];
                if let [_, others @ ..] = &numbers[..]
                    && !others.is_empty()
                {
                    outcomes.push(outcome(first + 1, others.len() as u64, Verdict::Ack));
                    // Acks for what is settled, nacked messages among them, have no effect.
                    outcomes.extend(vec![outcome(0, next, Verdict::Ack); 1_000]);
                    acked.extend(others);
                    frames += 1;
                }
                raw.send(ack(outcomes, (next + CREDIT, 1 << 20))).unwrap();
            }
            raw.settle_down().unwrap(); // or its last acks might not be read
            ((), acked)
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn working_frames_without_end_are_a_flood() {
    // LM-3, OC-13: 20,000 ids in each frame.
    job::pusher(
        20_000,
        false,
        |push| push,
        |at| {
            let mut raw = link(at, Role::Puller, 1);
            raw.send(ack(Vec::new(), (1, 1))).unwrap();
            raw.until(|body| matches!(body, Body::Deliver(_)).then_some(())).unwrap();
            flood(raw, &wire::encode(Frame::Working(v1::Working { deliveries: vec![0; 20_000] })));
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_in_messages_without_end_are_a_flood() {
    // LM-3, GR-1: each message has 60,000 bytes of them.
    job::puller(
        20_000,
        |pull| pull,
        |at| {
            let field = |key: &[u8], content: &[u8]| {
                let mut length = Vec::new();
                prost::encoding::encode_varint(content.len() as u64, &mut length);
                [key, &length, content].concat()
            };
            let unknown = b"\x78\x01".repeat(30_000);
            let mut raw = link(at, Role::Pusher, 1);
            raw.socket().set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            let (mut next, mut limit, mut given_up) = (0, 0, 0);
            let (code, reason) = loop {
                match raw.frame() {
                    Ok(Some(Body::Close(close))) => break (Code::from_wire(close.code), close.reason),
                    Ok(Some(Body::Ack(ack))) => {
                        limit = limit.max(ack.message_limit);
                        if ack.recall {
                            // These messages have a size of 0.
                            let bytes = ack.byte_limit - given_up;
                            raw.send(Frame::Skip(v1::Skip { next_id: limit, bytes })).unwrap();
                            (next, given_up) = (limit, ack.byte_limit);
                        }
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("it ended without a Close"),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
                }
                if next < limit {
                    let mut head = vec![0x08];
                    prost::encoding::encode_varint(next, &mut head);
                    let body = field(b"\x1a", &unknown);
                    raw.write(&framed(&field(b"\x12", &[head, body].concat()))).unwrap();
                    next += 1;
                }
            };
            assert!(code == Code::Flood && reason.starts_with("LM-3: "), "{code}: {reason}");
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_before_hello_is_legal_and_is_not_answered() {
    // FR-5, FR-1: the connection ends without an answer.
    let attack = |at| {
        for code in [Code::GoingAway, Code::Internal] {
            let mut raw = Raw::connect(at).unwrap();
            let close = v1::Close { code: code.into(), reason: "changed my mind".into(), retry_after_ms: 0 };
            raw.write(&[&PREFACE[..], &wire::encode(Frame::Close(close))].concat()).unwrap();
            let mut answer = Vec::new();
            raw.socket().read_to_end(&mut answer).unwrap();
            assert!(answer.is_empty(), "{answer:?}");
        }
        // Another frame is answered as before.
        let mut raw = Raw::connect(at).unwrap();
        let ping = wire::encode(Frame::Ping(v1::Ping { data: 1 }));
        raw.write(&[&PREFACE[..], &ping].concat()).unwrap();
        assert_eq!(closed_by(&mut raw, Rule::Fr5), Code::Unexpected);
    };
    job::pusher(1_000, true, |push| push, attack).await;
    job::puller(1_000, |pull| pull, attack).await;
}
