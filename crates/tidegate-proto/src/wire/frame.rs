//! One frame: encoded with its length, decoded without it.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message as _;

use super::{
    MAX_CONTROL_FRAME, MAX_COUNTER, MAX_TEXT,
    deliver::{Batch, Content, IN_DELIVER, IN_FRAME, field, wrong_type},
    v1,
};
use crate::violation::{Code, Violation};

/// A frame as a machine sees it. `Deliver` is not the generated type: it is read where it lies (DESIGN: the
/// puller hands out slices of what it read).
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Handshake.
    Hello(v1::Hello),
    /// Messages, checked and ready to be taken one by one.
    Deliver(Batch),
    /// Outcomes and limits.
    Ack(v1::Ack),
    /// Answer to a recall.
    Skip(v1::Skip),
    /// Asks for a sign of life.
    Ping(v1::Ping),
    /// The answer.
    Pong(v1::Pong),
    /// The stream is over.
    End,
    /// The last frame.
    Close(v1::Close),
    /// Deliveries that are still being worked on.
    Working(v1::Working),
    /// A frame of a later version: no effect (GR-1).
    Unknown,
}

/// Decodes the bytes of one frame, without its length. `max_message` is the limit of DL-4.
///
/// # Errors
/// FR-4 for what is not a frame, and the rules of `Deliver`'s fields.
pub fn decode(frame: Bytes, max_message: u64) -> Result<Body, Violation> {
    decode_within(frame, max_message, u64::MAX)
}

/// The same with `most`, the unused credit in messages: what goes beyond it takes no memory (CR-3).
///
/// # Errors
/// As [`decode`], and CR-3.
pub fn decode_within(frame: Bytes, max_message: u64, most: u64) -> Result<Body, Violation> {
    use v1::frame::Body as Wire;
    if let Some(deliver) = Batch::inside(&frame) {
        return Batch::parse_within(deliver, max_message, most).map(Body::Deliver);
    }
    if let Some(deliver) = gather(&frame)? {
        return Batch::parse_within(deliver, max_message, most).map(Body::Deliver);
    }
    let decoded = v1::Frame::decode(frame).map_err(|e| Violation::malformed(format!("not a Frame: {e}")))?;
    Ok(match decoded.body {
        None => Body::Unknown, // GR-1
        Some(Wire::Hello(hello)) => Body::Hello(hello),
        // It comes after another body, which it replaces: the generated code has understood it, and its own encoding
        // is the usual one.
        Some(Wire::Deliver(deliver)) => {
            Batch::parse_within(deliver.encode_to_vec().into(), max_message, most).map(Body::Deliver)?
        }
        Some(Wire::Ack(ack)) => {
            check_counter("message_limit", ack.message_limit)?;
            check_counter("byte_limit", ack.byte_limit)?;
            Body::Ack(ack)
        }
        Some(Wire::Skip(skip)) => {
            check_counter("next_id", skip.next_id)?;
            check_counter("bytes", skip.bytes)?;
            Body::Skip(skip)
        }
        Some(Wire::Ping(ping)) => Body::Ping(ping),
        Some(Wire::Pong(pong)) => Body::Pong(pong),
        Some(Wire::End(_)) => Body::End,
        Some(Wire::Close(close)) => Body::Close(close),
        Some(Wire::Working(working)) => {
            check_counter("a delivery", working.deliveries.iter().copied().max().unwrap_or_default())?;
            Body::Working(working)
        }
    })
}

/// FR-7.
fn check_counter(what: &str, value: u64) -> Result<(), Violation> {
    if value > MAX_COUNTER {
        let detail = format!("{what} is {value}, but at most {MAX_COUNTER} is allowed");
        return Err(Violation::new(Code::Malformed, "FR-7", detail));
    }
    Ok(())
}

/// The `Deliver` of a frame in an unusual but legal encoding: in parts, which are merged by joining them, or among unknown
/// fields. `None` if there are other bodies, which are left to the generated code: it takes many times their length in
/// memory, so that only a control frame may have them.
fn gather(frame: &[u8]) -> Result<Option<Bytes>, Violation> {
    let (mut at, mut whole, mut others) = (0, None, false);
    while at < frame.len() {
        match field(frame, &mut at, IN_FRAME)? {
            (2, Content::Bytes(part)) => {
                // No field may begin in one part and end in another.
                let mut within = 0;
                while within < part.len() {
                    field(part, &mut within, IN_DELIVER)?;
                }
                whole.get_or_insert_with(|| BytesMut::with_capacity(frame.len())).extend_from_slice(part);
            }
            (2, _) => return Err(wrong_type()),
            (1..=9, _) => others = true,
            _ => {}
        }
    }
    if others && frame.len() > MAX_CONTROL_FRAME {
        let detail = format!("a frame of {} bytes is not a Deliver alone", frame.len());
        return Err(Violation::new(Code::TooLarge, "FR-3", detail));
    }
    // It may be kept for long: without the room for what else was in the frame (LM-5).
    Ok(whole.filter(|_| !others).map(|whole| Bytes::copy_from_slice(&whole)))
}

/// Encodes a frame of the generated types, with its length in front (FR-2). Not for `Deliver` on the hot path.
#[must_use]
pub fn encode(body: v1::frame::Body) -> Bytes {
    let frame = v1::Frame { body: Some(body) };
    let length = frame.encoded_len();
    let mut buf = BytesMut::with_capacity(4 + length);
    buf.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // A BytesMut grows as needed, so that encoding into it cannot fail.
    let _ = frame.encode(&mut buf);
    buf.freeze()
}

/// Cuts a text for people to what the wire allows, at a character's end (OC-7).
#[must_use]
pub fn cut_reason(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fr_2_a_frame_is_its_length_and_its_bytes() {
        // FR-2
        let ping = encode(v1::frame::Body::Ping(v1::Ping { data: 0x0102 }));
        assert_eq!(&ping[..], b"\x00\x00\x00\x0b\x2a\x09\x09\x02\x01\0\0\0\0\0\0");
        assert_eq!(decode(ping.slice(4..), 1), Ok(Body::Ping(v1::Ping { data: 0x0102 })));
    }

    #[test]
    fn gr_1_a_frame_of_a_later_version_has_no_effect() {
        // GR-1: field 100, length-delimited, with "later" in it.
        let frame = Bytes::from_static(b"\xa2\x06\x05later");
        assert_eq!(decode(frame, 1), Ok(Body::Unknown));
        // An unknown field inside a known frame.
        let frame = Bytes::from_static(b"\x2a\x0b\x09\x02\x01\0\0\0\0\0\0\x78\x01");
        assert_eq!(decode(frame, 1), Ok(Body::Ping(v1::Ping { data: 0x0102 })));
    }

    #[test]
    fn fr_4_what_is_not_a_frame_is_malformed() {
        // FR-4
        for bad in
            [&b"\x2a\xff"[..], b"\x00", b"\x0a\x02\x12", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"]
        {
            assert_eq!(decode(Bytes::copy_from_slice(bad), 1).unwrap_err().code, Code::Malformed);
        }
    }

    #[test]
    fn fr_7_a_counter_above_2_to_the_53_minus_1_is_malformed() {
        // FR-7
        use v1::frame::Body as Wire;
        let bodies = |value| {
            let grant = |message_limit, byte_limit| {
                Wire::Ack(v1::Ack { message_limit, byte_limit, ..Default::default() })
            };
            [
                grant(value, 0),
                grant(0, value),
                Wire::Skip(v1::Skip { next_id: value, bytes: 0 }),
                Wire::Skip(v1::Skip { next_id: 0, bytes: value }),
                Wire::Working(v1::Working { deliveries: vec![1, value, 2] }),
            ]
        };
        for body in bodies((1 << 53) - 1) {
            assert!(decode(encode(body).slice(4..), 1).is_ok());
        }
        for body in bodies(1 << 53).into_iter().chain(bodies(u64::MAX)) {
            let violation = decode(encode(body).slice(4..), 1).unwrap_err();
            assert_eq!((violation.code, violation.rule), (Code::Malformed, "FR-7"));
        }
    }

    #[test]
    fn oc_7_a_reason_is_cut_at_a_characters_end() {
        // OC-7
        assert_eq!(cut_reason("short"), "short");
        let long = "é".repeat(200);
        assert_eq!(cut_reason(&long).len(), 256);
        let odd = format!("x{long}");
        assert_eq!(cut_reason(&odd).len(), 255);
    }
}
