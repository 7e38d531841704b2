//! Frames that make no progress, from a peer with an open link.

use std::{io::Write, net::SocketAddr, thread};

use bytes::Bytes;
use tidegate::Code;
use tidegate_proto::{
    Role, Rule,
    wire::{
        self, Body,
        v1::{self, Verdict, frame::Body as Frame},
    },
};
use tidegate_tests::hostile::raw::{Raw, ack, deliver, framed, outcome, unknown};

use crate::job::{self, closed_by, link};

/// Writes the same frame until the link is closed with FLOOD.
pub(crate) fn flood(raw: Raw, frame: &Bytes) {
    end_of_flood(raw, frame, Rule::Lm3, Code::Flood);
}

fn end_of_flood(mut raw: Raw, frame: &Bytes, rule: Rule, code: Code) {
    let many = frame.repeat((64 * 1_024 / frame.len()).max(1));
    let mut socket = raw.socket().try_clone().unwrap();
    // Each frame costs at least one point per 256 bytes, so 100 of them exceed a second's allowance. A link that is
    // closed for it discards its input for a second (ST-4). After that, writes must fail.
    let writer = thread::spawn(move || (0..1_000_000).find_map(|_| socket.write_all(&many).err()));
    assert_eq!(closed_by(&mut raw, rule), code);
    drop(raw);
    assert!(writer.join().unwrap().is_some(), "everything was read");
}

fn ping() -> Bytes {
    wire::encode(Frame::Ping(v1::Ping { data: 1 }))
}

fn both(at: SocketAddr, role: Role) {
    for (instance, frame) in [(1, ping()), (2, framed(b"\xa2\x06\x00")), (3, unknown(65_536))] {
        flood(link(at, role, instance), &frame);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pusher_closes_links_that_flood_it_with_frames_without_progress() {
    // LM-3, GR-1, LV-4
    job::pusher(20_000, true, |push| push, |at| both(at, Role::Puller)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_puller_closes_links_that_flood_it_with_frames_without_progress() {
    // LM-3, GR-1, LV-4
    job::puller(20_000, |pull| pull, |at| both(at, Role::Pusher)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acks_without_effect_and_repeated_recalls_are_a_flood() {
    // LM-3, CR-1, RC-1, RC-2, LM-2
    job::pusher(
        20_000,
        true,
        |push| push,
        |at| {
            flood(link(at, Role::Puller, 1), &wire::encode(ack(Vec::new(), (0, 0))));
            let recall = v1::Ack { recall: true, ..v1::Ack::default() };
            // Each is answered by a Skip, and only two may be due.
            end_of_flood(
                link(at, Role::Puller, 2),
                &wire::encode(Frame::Ack(recall)),
                Rule::Rc2,
                Code::Unexpected,
            );
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_outcomes_are_a_flood() {
    // LM-3, OC-3
    job::pusher(
        20_000,
        false,
        |push| push,
        |at| {
            let mut raw = link(at, Role::Puller, 1);
            raw.send(ack(Vec::new(), (1, 1))).unwrap();
            raw.until(|body| matches!(body, Body::Deliver(_)).then_some(())).unwrap();
            // Release it, so that the well-behaved puller gets it.
            raw.send(ack(vec![outcome(0, 1, Verdict::Release)], (1, 1))).unwrap();
            flood(raw, &wire::encode(ack(vec![outcome(0, 1, Verdict::Ack); 6_000], (1, 1))));
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_at_the_allowed_rate_are_no_flood() {
    // LM-3, LV-4
    job::pusher(
        2_000,
        true,
        |push| push,
        |at| {
            let mut raw = link(at, Role::Puller, 1);
            raw.write(&ping().repeat(19_990)).unwrap();
            raw.settle_down().unwrap();
            raw
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_messages_within_the_credit_are_messages() {
    // CR-3, CR-9, LM-3: the credit is a sufficient limit.
    job::puller(
        20_000,
        |pull| pull.budget(1_000, 1 << 20),
        |at| {
            let mut raw = link(at, Role::Pusher, 1);
            let (mut next, mut bytes, mut sent) = (0, 0, 0);
            loop {
                let (limit, byte_limit, recall) = raw
                    .until(|body| match body {
                        Body::Ack(ack) => Some((ack.message_limit, ack.byte_limit, ack.recall)),
                        _ => None,
                    })
                    .unwrap();
                assert!(
                    limit <= next + 1_001,
                    "more than the budget, and one message for a waiting application"
                );
                if recall {
                    raw.send(Frame::Skip(v1::Skip { next_id: limit, bytes: byte_limit - bytes })).unwrap();
                    bytes = byte_limit;
                } else if byte_limit > bytes && limit > next {
                    if sent >= 30_000 {
                        break;
                    }
                    let frames: Vec<u8> =
                        (next..limit).flat_map(|id| wire::encode(deliver(id, &[b""]))).collect();
                    raw.write(&frames).unwrap();
                    sent += limit - next;
                } else {
                    continue;
                }
                next = next.max(limit);
            }
            // There is credit for the next message until a Skip gives it up, whether or not the worker has settled the
            // earlier messages. So this message is refused for its id, not for a lack of credit (CR-3).
            raw.send(deliver(next + 2_000, &[b""])).unwrap();
            assert_eq!(closed_by(&mut raw, Rule::Dl1), Code::Malformed);
        },
    )
    .await;
}
