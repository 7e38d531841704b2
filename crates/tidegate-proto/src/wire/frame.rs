//! Encodes a frame with its length prefix, and decodes it without.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message as _;

use super::{
    MAX_CONTROL_FRAME, MAX_COUNTER, MAX_TEXT,
    deliver::{Batch, Content, MAX_FRAME_DEPTH, field, wrong_type},
    v1,
};
use crate::rule::Rule;
use crate::violation::{Code, Violation};

/// A decoded frame. `Deliver` is not the generated type: its messages are slices of the frame, so that none is copied.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// The handshake.
    Hello(v1::Hello),
    /// A batch of messages, checked as a whole.
    Deliver(Batch),
    /// Outcomes and limits.
    Ack(v1::Ack),
    /// The answer to a recall or leaving.
    Skip(v1::Skip),
    /// Asks for a `Pong`.
    Ping(v1::Ping),
    /// The answer to a `Ping`.
    Pong(v1::Pong),
    /// The stream is over.
    End,
    /// The last frame.
    Close(v1::Close),
    /// Deliveries that are still being worked on.
    Working(v1::Working),
    /// A frame with an unknown body, which has no effect (GR-1).
    Unknown,
}

/// Decodes the bytes of one frame, without its length prefix. `max_message` is the limit of DL-4.
///
/// # Errors
/// The bytes are not a valid frame (FR-4), or a field of a `Deliver` breaks its rule.
pub fn decode(frame: Bytes, max_message: u64) -> Result<Body, Violation> {
    decode_within(frame, max_message, u64::MAX)
}

/// Decodes one frame like [`decode`]. A `Deliver` of more than `most` messages, the unused credit, is refused before
/// anything is kept for the others (CR-3).
///
/// # Errors
/// The errors of [`decode`], and CR-3.
pub fn decode_within(frame: Bytes, max_message: u64, max_messages: u64) -> Result<Body, Violation> {
    use v1::frame::Body as Wire;
    if let Some(deliver) = Batch::inside(&frame) {
        return Batch::parse_within(deliver, max_message, max_messages).map(Body::Deliver);
    }
    if let Some(deliver) = gather(&frame)? {
        return Batch::parse_within(deliver, max_message, max_messages).map(Body::Deliver);
    }
    let decoded =
        v1::Frame::decode(frame).map_err(|e| Violation::malformed(format!("not a valid Frame: {e}")))?;
    Ok(match decoded.body {
        None => Body::Unknown, // GR-1
        Some(Wire::Hello(hello)) => Body::Hello(hello),
        Some(Wire::Deliver(_)) => return Err(wrong_type()), // a valid one was found above
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

/// Checks the maximum of a counter (FR-7).
fn check_counter(what: &str, value: u64) -> Result<(), Violation> {
    if value > MAX_COUNTER {
        let detail = format!("{what} is {value}; the maximum is {MAX_COUNTER}");
        return Err(Violation::new(Code::Malformed, Rule::Fr7, detail));
    }
    Ok(())
}

/// Checks that a frame has at most one body (FR-4), and returns it if it is a `Deliver`: among unknown fields, or with
/// a length in an unusual encoding. The generated code decodes other bodies. It needs many times their length in
/// memory, so that only a control frame may have them.
fn gather(frame: &[u8]) -> Result<Option<Bytes>, Violation> {
    let (mut at, mut deliver, mut bodies, mut others) = (0, None, 0, false);
    while at < frame.len() {
        match field(frame, &mut at, MAX_FRAME_DEPTH)? {
            (2, Content::Bytes(bytes)) => (deliver, bodies) = (Some(bytes), bodies + 1),
            (2, _) => return Err(wrong_type()),
            (1..=9, _) => (others, bodies) = (true, bodies + 1),
            _ => {}
        }
    }
    if (others || bodies > 1) && frame.len() > MAX_CONTROL_FRAME {
        let detail = format!(
            "a frame of {} bytes has another body than Deliver; the limit is {MAX_CONTROL_FRAME}",
            frame.len()
        );
        return Err(Violation::new(Code::TooLarge, Rule::Fr3, detail));
    }
    if bodies > 1 {
        return Err(Violation::malformed(format!("a frame with {bodies} bodies")));
    }
    // The messages may be kept for long. So they are copied without the other fields of the frame (LM-5).
    Ok(deliver.map(Bytes::copy_from_slice))
}

/// Encodes a frame of the generated types, with its length prefix (FR-2). Pushers encode `Deliver` with
/// [`super::OpenBatch`] instead.
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

/// Truncates a text to the 256 bytes that the wire allows, at the end of a character (OC-7).
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
    fn fr_2_a_frame_has_its_length_before_its_bytes() {
        // FR-2
        let ping = encode(v1::frame::Body::Ping(v1::Ping { data: 0x0102 }));
        assert_eq!(&ping[..], b"\x00\x00\x00\x0b\x2a\x09\x09\x02\x01\0\0\0\0\0\0");
        assert_eq!(decode(ping.slice(4..), 1), Ok(Body::Ping(v1::Ping { data: 0x0102 })));
    }

    #[test]
    fn gr_1_an_unknown_frame_is_decoded_as_unknown() {
        // GR-1: field 100, length-delimited, with "later" in it.
        let frame = Bytes::from_static(b"\xa2\x06\x05later");
        assert_eq!(decode(frame, 1), Ok(Body::Unknown));
        // An unknown field inside a known frame.
        let frame = Bytes::from_static(b"\x2a\x0b\x09\x02\x01\0\0\0\0\0\0\x78\x01");
        assert_eq!(decode(frame, 1), Ok(Body::Ping(v1::Ping { data: 0x0102 })));
    }

    #[test]
    fn fr_4_bytes_that_are_not_a_frame_are_malformed() {
        // FR-4
        for bad in
            [&b"\x2a\xff"[..], b"\x00", b"\x0a\x02\x12", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"]
        {
            assert_eq!(decode(Bytes::copy_from_slice(bad), 1).unwrap_err().code, Code::Malformed);
        }
    }

    #[test]
    fn fr_4_a_frame_has_one_body() {
        // FR-4: whichever bodies there are, in either order, also twice the same, and with unknown fields between them.
        let ping = b"\x2a\x09\x09\x02\x01\0\0\0\0\0\0";
        let bodies = [&ping[..], b"\x12\x07\x1a\x05\x2a\x03one", b"\x3a\0", b"\x1a\x02\x10\x04"];
        for (one, two) in bodies.iter().flat_map(|one| bodies.map(|two| (one, two))) {
            for between in [&b""[..], b"\xa2\x06\x05later"] {
                let frame = |parts: &[&[u8]]| decode(parts.concat().into(), 100);
                assert!(frame(&[between, one]).is_ok() && frame(&[two, between]).is_ok());
                let violation = frame(&[one, between, two]).unwrap_err();
                assert_eq!((violation.code, violation.rule), (Code::Malformed, Rule::Fr4));
                assert_eq!(violation.detail, "a frame with 2 bodies");
            }
        }
    }

    #[test]
    fn fr_4_a_known_field_of_a_wrong_type_and_text_that_is_not_utf_8_are_malformed() {
        // FR-4: bodies as integers; fields in each of them; a nested one; names and reasons.
        let mut bad: Vec<Vec<u8>> = (1..=9u8).map(|number| vec![number << 3, 1]).collect();
        let within = |body: u8, content: &[u8]| [&[body << 3 | 2, content.len() as u8], content].concat();
        for body in (1..=9).filter(|body| *body != 7) {
            bad.push(within(body, b"\x0f")); // no wire type at all
            bad.push(within(body, b"\x0d\0\0\0\0")); // field 1 as 4 bytes: of no body
        }
        bad.push(within(3, b"\x0a\x02\x0a\0")); // an outcome whose first is text
        bad.push(within(2, b"\x1a\x02\x28\x01")); // a payload that is an integer
        bad.push(within(3, b"\x0a\x03\x2a\x01\xff")); // the reason of an outcome
        bad.push(within(8, b"\x12\x01\xff")); // of a Close
        bad.push(within(1, b"\x2a\x01\xff")); // a name
        bad.push(within(2, b"\x1a\x05\x0a\x03\x0a\x01\xff")); // of a header
        for frame in bad {
            let violation = decode(frame.clone().into(), 100).unwrap_err();
            assert_eq!((violation.code, violation.rule), (Code::Malformed, Rule::Fr4), "{frame:x?}");
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
            assert_eq!((violation.code, violation.rule), (Code::Malformed, Rule::Fr7));
        }
    }

    #[test]
    fn oc_7_a_reason_is_truncated_at_the_end_of_a_character() {
        // OC-7
        assert_eq!(cut_reason("short"), "short");
        let long = "é".repeat(200);
        assert_eq!(cut_reason(&long).len(), 256);
        let odd = format!("x{long}");
        assert_eq!(cut_reason(&odd).len(), 255);
    }
}
