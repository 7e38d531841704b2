//! Octets in, frames out.

use bytes::{Buf, Bytes, BytesMut};

use super::{MAX_CONTROL_FRAME, MAX_HELLO_FRAME, PREFACE, check_preface};
use crate::violation::{Code, Violation};

/// The first read of a link is small, so that an idle link is.
const SMALLEST_READ: usize = 4 * 1_024;
/// The largest read, and how far a buffer may grow ahead of what has arrived (FR-3).
const LARGEST_READ: usize = 256 * 1_024;
/// Below this a read is not worth a system call.
const WORTHWHILE: usize = 2 * 1_024;

/// Cuts a stream into frames. It never holds more than the part of a frame that has arrived, plus
/// 262,144 octets (FR-3).
#[derive(Clone, Debug)]
pub struct FrameReader {
    buf: BytesMut,
    read_size: usize,
    deliver_limit: usize,
    stage: Stage,
    frames: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Preface,
    First,
    Open,
}

/// How far a reader is, for the rule that a frame must progress (LV-7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Progress {
    /// Frames given out.
    pub frames: u64,
    /// Octets of the next one that are here.
    pub partial: usize,
}

impl Default for FrameReader {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameReader {
    /// A reader at the beginning of a stream, before the preface.
    #[must_use]
    pub fn new() -> Self {
        Self {
            buf: BytesMut::new(),
            read_size: SMALLEST_READ,
            deliver_limit: MAX_CONTROL_FRAME,
            stage: Stage::Preface,
            frames: 0,
        }
    }

    /// After the handshake: from now on `Deliver` frames may have `deliver_limit` octets. A pusher, which gets none,
    /// gives [`MAX_CONTROL_FRAME`].
    pub fn open(&mut self, deliver_limit: usize) {
        self.stage = Stage::Open;
        self.deliver_limit = deliver_limit.max(MAX_CONTROL_FRAME);
    }

    /// Where to read to. Has room; the caller reads into the spare capacity and calls [`Self::filled`].
    pub fn buffer(&mut self) -> &mut BytesMut {
        if self.buf.is_empty() && self.buf.capacity() < WORTHWHILE {
            // Everything before is in the hands of the application: a fresh buffer, as large as reads have been.
            self.buf = BytesMut::with_capacity(self.read_size);
        } else if self.buf.capacity() - self.buf.len() < WORTHWHILE {
            let missing = self.missing().unwrap_or(0).clamp(self.read_size, LARGEST_READ);
            self.buf.reserve(missing);
        }
        &mut self.buf
    }

    /// Tells how much a read brought, so that the next one is large on a busy link and small on an idle one.
    pub fn filled(&mut self, octets: usize) {
        if octets >= self.read_size / 2 {
            self.read_size = (self.read_size * 2).min(LARGEST_READ);
        } else if octets < self.read_size / 16 {
            self.read_size = (self.read_size / 2).max(SMALLEST_READ);
        }
    }

    /// Octets of the frame under way that have not arrived, if its length has.
    fn missing(&self) -> Option<usize> {
        let head = self.buf.get(..4)?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        (self.stage != Stage::Preface).then(|| (length + 4).saturating_sub(self.buf.len()))
    }

    /// How far the reader is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress { frames: self.frames, partial: self.buf.len() }
    }

    /// The next whole frame, without its length; `None` when more octets are needed.
    ///
    /// # Errors
    /// FR-1 to FR-3. Nothing more can be read from the stream then.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, Violation> {
        if self.stage == Stage::Preface {
            if !check_preface(&self.buf)? {
                return Ok(None);
            }
            self.buf.advance(PREFACE.len());
            self.stage = Stage::First;
        }
        let Some(head) = self.buf.get(..4) else { return Ok(None) };
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        self.check_length(length)?;
        if self.buf.len() < 4 + length {
            return Ok(None);
        }
        self.buf.advance(4);
        self.frames += 1;
        Ok(Some(self.buf.split_to(length).freeze()))
    }

    /// FR-2, FR-3: before memory is taken, and as soon as the kind of frame is known.
    fn check_length(&self, length: usize) -> Result<(), Violation> {
        if length == 0 {
            return Err(Violation::new(Code::Malformed, "FR-2", "a frame of length 0"));
        }
        let (limit, what) = match (self.stage, self.buf.get(4)) {
            (Stage::Preface | Stage::First, _) => (MAX_HELLO_FRAME, "a first frame"),
            // Deliver is field 2 of Frame; a frame that hides it behind something else is held to the smaller limit.
            (Stage::Open, None | Some(0x12)) => (self.deliver_limit, "a frame"),
            (Stage::Open, Some(_)) => (MAX_CONTROL_FRAME, "a control frame"),
        };
        if length > limit {
            let detail = format!("{what} of {length} octets, but at most {limit} are allowed");
            return Err(Violation::new(Code::TooLarge, "FR-3", detail));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(octets: &[u8]) -> FrameReader {
        let mut reader = FrameReader::new();
        reader.buffer().extend_from_slice(octets);
        reader
    }

    fn framed(length: u32, octets: &[u8]) -> Vec<u8> {
        [&PREFACE[..], &length.to_be_bytes(), octets].concat()
    }

    #[test]
    fn fr_2_a_length_of_0_is_refused() {
        // FR-2
        assert_eq!(reader(&framed(0, b"")).next_frame().unwrap_err().code, Code::Malformed);
    }

    #[test]
    fn fr_3_a_length_over_its_limit_is_refused_before_the_frame_arrives() {
        // FR-3
        assert_eq!(reader(&framed(16_384, b"\x0a")).next_frame(), Ok(None));
        assert_eq!(reader(&framed(16_385, b"")).next_frame().unwrap_err().code, Code::TooLarge);
        let mut open = reader(&framed(300_000, b"\x12"));
        open.buf.advance(8);
        open.open(299_999);
        assert_eq!(open.next_frame().unwrap_err().code, Code::TooLarge);
        open.open(300_000);
        assert_eq!(open.next_frame(), Ok(None));
        assert!(open.buffer().capacity() <= 300_000, "no more than what arrived plus 262,144");
        let mut control = reader(&framed(65_537, b"\x1a"));
        control.buf.advance(8);
        control.open(300_000);
        assert_eq!(control.next_frame().unwrap_err().code, Code::TooLarge);
    }

    #[test]
    fn frames_come_out_whole_however_the_stream_is_cut() {
        let mut stream = framed(3, b"abc");
        stream.extend_from_slice(&[0, 0, 0, 2, b'd', b'e']);
        let mut reader = FrameReader::new();
        let mut out = Vec::new();
        for octet in stream {
            reader.buffer().extend_from_slice(&[octet]);
            while let Some(frame) = reader.next_frame().unwrap() {
                reader.open(1 << 20);
                out.push(frame);
            }
        }
        assert_eq!(out, ["abc", "de"]);
        assert_eq!(reader.progress(), Progress { frames: 2, partial: 0 });
    }
}
