//! Splitting a stream into frames: any bytes, in any pieces, before and after the handshake.

use bytes::{Buf as _, BytesMut};
use tidegate_proto::{
    Rule,
    wire::{
        self, FrameReader, MAX_CONTROL_FRAME, MAX_HELLO_FRAME, PREFACE, check_preface, deliver_limit,
        resembles,
    },
};

use super::Input;

/// The memory that may be allocated ahead of the bytes received (FR-3). Capacities are rounded up, at most to double.
const AHEAD: usize = 2 * 262_144;

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let max_message = 1 + u64::from(input.short()) * 16;
    let greeted = input.bool();
    let piece = 1 + usize::from(input.byte());
    let stream = input.rest();
    let limit = deliver_limit(max_message);

    let whole = cut(stream, stream.len().max(1), greeted, limit);
    let pieces = cut(stream, piece, greeted, limit);
    assert_eq!(whole, pieces, "the sizes of the reads change the frames");
    assert_eq!(whole, by_hand(stream, greeted, limit), "the frames differ from lengths and bytes (FR-2)");
    for frame in &whole.0 {
        let _ = wire::decode(frame.clone().into(), max_message);
    }
    let _ = resembles(stream);
}

/// Frames, and whether the stream was refused.
type Cut = (Vec<Vec<u8>>, bool);

fn cut(stream: &[u8], piece: usize, greeted: bool, limit: usize) -> Cut {
    let mut reader = FrameReader::new();
    if !greeted {
        reader.open(limit);
    }
    let mut frames = Vec::new();
    for part in stream.chunks(piece) {
        let mut part = part;
        while !part.is_empty() {
            let buffer = reader.buffer();
            let room = buffer.capacity() - buffer.len();
            assert!(room > 0, "the buffer has no room");
            assert!(buffer.capacity() <= buffer.len() + AHEAD, "FR-3: too much memory is allocated ahead");
            let read = room.min(part.len());
            buffer.extend_from_slice(&part[..read]);
            part.advance(read);
            reader.filled(read);
            loop {
                match reader.next_frame() {
                    Ok(Some(frame)) => {
                        frames.push(frame.to_vec());
                        reader.open(limit);
                    }
                    Ok(None) => break,
                    Err(_) => return (frames, true),
                }
            }
            assert_eq!(reader.progress().frames, frames.len() as u64);
        }
    }
    (frames, false)
}

/// The same, written directly from SPEC.md §2.
fn by_hand(stream: &[u8], greeted: bool, limit: usize) -> Cut {
    let mut rest = BytesMut::from(stream);
    let mut frames = Vec::new();
    if greeted {
        let same = rest.iter().zip(PREFACE).take_while(|(a, b)| **a == *b).count();
        let refused = same < rest.len().min(PREFACE.len());
        assert_eq!(
            check_preface(&rest),
            if refused { check_preface(&rest) } else { Ok(same == PREFACE.len()) }
        );
        assert_eq!(check_preface(&rest).is_err(), refused, "{}", Rule::Fr1);
        if same < PREFACE.len() {
            return (frames, refused);
        }
        rest.advance(PREFACE.len());
    }
    let mut first = greeted;
    while rest.len() >= 4 {
        let length = u32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        let most = match rest.get(4) {
            _ if first => MAX_HELLO_FRAME,
            None | Some(0x12) => limit,
            Some(_) => MAX_CONTROL_FRAME,
        };
        if length == 0 || length > most {
            return (frames, true);
        }
        if rest.len() < 4 + length {
            break;
        }
        rest.advance(4);
        frames.push(rest.split_to(length).to_vec());
        first = false;
    }
    (frames, false)
}
