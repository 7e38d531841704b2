//! Frames as a peer writes and reads them.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes, BytesMut};
use tidegate_proto::{
    LinkId, Machine, Time,
    wire::{self, Body, v1},
};

/// The bytes of a frame without its length prefix.
#[must_use]
pub fn frame(body: v1::frame::Body) -> Bytes {
    wire::encode(body).slice(4..)
}

/// An `Ack` frame with these outcomes and limits.
#[must_use]
pub fn ack(outcomes: Vec<v1::Outcome>, message_limit: u64, byte_limit: u64) -> Bytes {
    frame(v1::frame::Body::Ack(v1::Ack {
        outcomes,
        message_limit,
        byte_limit,
        recall: false,
        leaving: false,
    }))
}

/// The outcome of `count` deliveries from `first` on.
#[must_use]
pub fn outcome(first: u64, count: u64, verdict: v1::Verdict) -> v1::Outcome {
    v1::Outcome { first, count, verdict: verdict.into(), delay_ms: 0, reason: String::new() }
}

/// A `Deliver` frame. The numbers of the messages are their delivery ids.
#[must_use]
pub fn deliver(first_id: u64, payloads: &[&str]) -> Bytes {
    let message =
        |p: &&str| v1::Message { payload: Bytes::copy_from_slice(p.as_bytes()), ..Default::default() };
    let messages = payloads.iter().map(message).collect();
    frame(v1::frame::Body::Deliver(v1::Deliver { first_id, first_number: first_id, messages }))
}

/// The frames of a stream without their length prefixes.
///
/// # Panics
/// A piece of the stream is empty, or the stream ends within a frame.
#[must_use]
pub fn split(stream: impl IntoIterator<Item = Bytes>) -> Vec<Bytes> {
    let mut rest = BytesMut::new();
    for piece in stream {
        assert!(!piece.is_empty(), "the machine returned an empty piece");
        rest.extend_from_slice(&piece);
    }
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let length = rest.get_u32() as usize;
        frames.push(rest.split_to(length).freeze());
    }
    frames
}

/// The frames that a machine wants to send on a link now, and their size as written. None of them counts as written.
#[must_use]
pub fn unwritten<M: Machine + ?Sized>(machine: &mut M, now: Time, link: LinkId) -> (Vec<Bytes>, usize) {
    let mut out = VecDeque::new();
    machine.poll_transmit(now, link, &mut out);
    let size = out.iter().map(Bytes::len).sum();
    (split(out), size)
}

/// The frames that a machine sends on a link now. All of them count as written.
#[must_use]
pub fn written<M: Machine + ?Sized>(machine: &mut M, now: Time, link: LinkId) -> Vec<Bytes> {
    let (frames, size) = unwritten(machine, now, link);
    machine.handle_written(now, link, size);
    frames
}

/// The decoded frames that a machine sends on a link now. All of them count as written.
pub fn sent<M: Machine + ?Sized>(machine: &mut M, now: Time, link: LinkId) -> Vec<Body> {
    let frames = written(machine, now, link).into_iter();
    frames.map(|frame| wire::decode(frame, 1 << 30).unwrap()).collect()
}

/// The `Close` that a machine sends on a link now, if any.
pub fn close_of<M: Machine + ?Sized>(machine: &mut M, now: Time, link: LinkId) -> Option<v1::Close> {
    sent(machine, now, link).into_iter().find_map(|body| match body {
        Body::Close(close) => Some(close),
        _ => None,
    })
}

/// A decoded frame as the generated code represents it, or `None` if its kind is unknown.
///
/// # Panics
/// The delivery ids of a batch have a gap (DL-1).
#[must_use]
pub fn as_generated(body: Body) -> Option<v1::frame::Body> {
    use v1::frame::Body as Wire;
    Some(match body {
        Body::Unknown => return None,
        Body::Hello(hello) => Wire::Hello(hello),
        Body::Ack(ack) => Wire::Ack(ack),
        Body::Skip(skip) => Wire::Skip(skip),
        Body::Working(working) => Wire::Working(working),
        Body::Ping(ping) => Wire::Ping(ping),
        Body::Pong(pong) => Wire::Pong(pong),
        Body::End => Wire::End(v1::End {}),
        Body::Close(close) => Wire::Close(close),
        Body::Deliver(batch) => {
            let items: Vec<_> = batch.items().collect();
            let (first_id, first_number) = (items[0].id, items[0].number);
            let mut next = first_number;
            let message = |(item, id): (wire::Item, u64)| {
                assert_eq!(item.id, id, "DL-1: ids follow on");
                let gap = item.number.wrapping_sub(next) as i64;
                next = item.number.wrapping_add(1);
                let header = |(n, v): (&str, &Bytes)| v1::Header { name: n.into(), value: v.clone() };
                let headers = item.headers(&batch.bytes);
                v1::Message {
                    headers: headers.iter().map(header).collect(),
                    gap,
                    attempt: if item.attempt == 1 { 0 } else { item.attempt },
                    tracked: item.is_tracked(),
                    payload: item.payload_bytes(&batch.bytes),
                }
            };
            let messages = items.into_iter().zip(first_id..).map(message).collect();
            Wire::Deliver(v1::Deliver { first_id, first_number, messages })
        }
    })
}
