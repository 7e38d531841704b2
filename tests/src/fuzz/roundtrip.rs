//! Encoded frames decode to the same content: batches from the hot path, and all other frames from the generated code.

use bytes::{Bytes, BytesMut};
use tidegate_proto::{
    Message, Rule,
    wire::{
        self, Body, FrameReader, MAX_COUNTER, OpenBatch, Sealed, cut_reason, deliver_limit, message_span,
        read_message, v1,
    },
};
use tidegate_testkit::frames::as_generated;

use super::Input;

const MAX_SIZE: u64 = 1 << 20;

/// Number, attempt, tracked, message, id, position in the batch.
type Put = (u64, u32, bool, Message, u64, u32);

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut reader = FrameReader::new();
    reader.open(deliver_limit(MAX_SIZE));
    let mut id = counter(&mut input) >> 1;
    let mut open = OpenBatch::default();
    let mut puts = Vec::new();
    while !input.is_empty() {
        match input.below(4) {
            0 => {
                let body = control(&mut input);
                let sent = wire::encode(body.clone());
                reader.buffer().extend_from_slice(&sent);
                if let Some(frame) = reader.next_frame().expect("the frame has a valid length") {
                    assert_eq!(as_generated(wire::decode(frame, MAX_SIZE).unwrap()), Some(body));
                }
            }
            1 => sealed(&mut reader, &mut open, &mut puts),
            _ => {
                let number = if input.bool() { counter(&mut input) } else { id };
                let attempt = (input.number() as u32).max(1);
                let tracked = input.bool();
                let mut message = Message::new(input.payload());
                for _ in 0..input.byte().saturating_sub(0xf0) {
                    message = message.with_header(format!("n{}", input.text(40)), input.payload());
                }
                if message.check(MAX_SIZE).is_err() {
                    continue;
                }
                let plain = attempt == 1 && !tracked && message.headers().is_empty();
                let slice = plain && OpenBatch::copies(message.payload());
                if (slice && open.is_full_for_slice()) || (!slice && open.is_full_for(&message)) {
                    sealed(&mut reader, &mut open, &mut puts);
                }
                let at = if slice {
                    open.push_slice(id, number, message.payload())
                } else {
                    open.push(id, number, attempt, tracked, &message)
                };
                puts.push((number, attempt, tracked, message, id, at));
                id += 1;
            }
        }
    }
    sealed(&mut reader, &mut open, &mut puts);
}

/// Seals, sends, reads and compares a batch, and checks that the pusher can read back the messages that it retains.
fn sealed(reader: &mut FrameReader, open: &mut OpenBatch, puts: &mut Vec<Put>) {
    let frame = open.seal();
    assert!(open.is_empty());
    if puts.is_empty() {
        return assert!(frame.is_empty());
    }
    reader.buffer().extend_from_slice(&whole(&frame));
    let bytes = reader.next_frame().expect("a batch has a valid length").expect("the frame is complete");
    assert_eq!(bytes.len() + 4, frame.len());
    let batch = match wire::decode(bytes, MAX_SIZE) {
        Ok(Body::Deliver(batch)) => batch,
        other => panic!("not a Deliver: {other:?}"),
    };
    assert_eq!(batch.cursor.len(), puts.len() as u64);
    for (item, put) in batch.items().zip(puts.drain(..)) {
        let (number, attempt, tracked, message, id, at) = put;
        assert_eq!((item.id, item.number), (id, number), "DL-1, DL-2");
        assert_eq!((item.attempt, item.is_tracked()), (attempt, tracked), "{}", Rule::Dl3);
        assert_eq!(item.message(&batch.bytes), message);
        let span =
            message_span(&frame.room, frame.tail.as_ref(), at).expect("the message is at its position");
        assert!(span.start == at as usize && span.end <= frame.room.len());
        assert_eq!(read_message(&frame.room, frame.tail.as_ref(), at), Some((message, attempt)));
    }
}

fn whole(frame: &Sealed) -> Bytes {
    let mut all = BytesMut::from(&frame.room[frame.start..]);
    all.extend_from_slice(frame.tail.as_deref().unwrap_or_default());
    all.freeze()
}

/// A counter that is legal (FR-7).
fn counter(input: &mut Input<'_>) -> u64 {
    input.number() & MAX_COUNTER
}

fn control(input: &mut Input<'_>) -> v1::frame::Body {
    use v1::frame::Body as Wire;
    match input.below(7) {
        0 => Wire::Ping(v1::Ping { data: input.number() }),
        1 => Wire::Pong(v1::Pong { data: input.number() }),
        2 => Wire::Skip(v1::Skip { next_id: counter(input), bytes: counter(input) }),
        // A frame with an empty message is not an empty frame.
        3 => Wire::End(v1::End {}),
        4 => Wire::Close(v1::Close {
            code: input.number() as i32,
            reason: cut_reason(&input.text(255)).to_owned(),
            retry_after_ms: input.number() as u32,
        }),
        5 => Wire::Hello(v1::Hello {
            role: input.number() as i32,
            name: input.text(255),
            token: Bytes::copy_from_slice(input.some(255)),
            resume: Bytes::copy_from_slice(input.some(20)),
            heartbeat_ms: input.number() as u32,
            offered: (0..input.below(4)).map(|_| input.text(20)).collect(),
            ..v1::Hello::default()
        }),
        _ => {
            let outcome = |input: &mut Input<'_>| v1::Outcome {
                first: input.number(),
                count: input.number(),
                verdict: input.number() as i32,
                delay_ms: input.number() as u32,
                reason: input.text(60),
            };
            Wire::Ack(v1::Ack {
                outcomes: (0..input.below(6)).map(|_| outcome(input)).collect(),
                message_limit: counter(input),
                byte_limit: counter(input),
                recall: input.bool(),
                leaving: input.bool(),
            })
        }
    }
}
