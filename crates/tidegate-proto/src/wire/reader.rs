//! Splits a stream of bytes into frames.

use std::{collections::VecDeque, fmt};

use bytes::{Buf, Bytes, BytesMut};

use super::{MAX_CONTROL_FRAME, MAX_HELLO_FRAME, PREFACE, check_preface};
use crate::message::Hidden;
use crate::rule::Rule;
use crate::violation::{Code, Violation};

/// The size of the first read of a link: small, so that an idle link takes little memory.
const MIN_READ: usize = 4 * 1_024;
/// The size of the largest read of small frames. A reader that takes more at a time finds the socket empty more often,
/// and then each read costs a wake-up.
const MAX_READ: usize = 64 * 1_024;
/// A frame of this size gets a buffer that ends with it, so that the next one begins a buffer and is not copied.
const MIN_LARGE_FRAME: usize = 32 * 1_024;
/// The memory that a buffer may have beyond the bytes that have arrived (FR-3).
const MAX_SPARE: usize = 256 * 1_024;
/// Buffers of earlier frames that a reader keeps while bytes arrive, to read into them again when the application no
/// longer holds their frames: new memory costs a page fault for each 4 KiB.
const MAX_SPENT: usize = 4;
/// Only a busy link has buffers of this size.
const MIN_SPENT: usize = 32 * 1_024;
/// The sum of these buffers in bytes.
const MAX_SPENT_BYTES: usize = 256 * 1_024;
/// A frame of messages may keep this many times its length in memory (LM-5).
const MAX_MEMORY_FACTOR: usize = 8;
/// A read of fewer bytes is not worth a system call.
const MIN_SPARE: usize = 2 * 1_024;

/// Splits a stream into frames. It never allocates more than the bytes that have arrived plus 262,144 bytes (FR-3).
#[derive(Clone)]
pub struct FrameReader {
    buf: BytesMut,
    read_size: usize,
    deliver_limit: usize,
    stage: ReaderStage,
    frames: u64,
    /// The capacity of `buf` when it was allocated.
    room: usize,
    /// The size of the last frame with its length prefix, if it was large: the next one is likely to be as large.
    last_large: usize,
    /// Buffers of earlier frames with their capacities, oldest first.
    spent: VecDeque<(BytesMut, usize)>,
    /// Bytes of a dropped frame that have not yet arrived.
    to_discard: usize,
    /// The incomplete frame was last reported to the machine (LM-4).
    reported: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReaderStage {
    Preface,
    First,
    Open,
}

/// The progress of a reader, for the rule that a frame must progress (LV-7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FrameProgress {
    /// The number of frames returned.
    pub frames: u64,
    /// The number of bytes of the next frame that have arrived.
    pub partial: usize,
}

impl fmt::Debug for FrameReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameReader")
            .field("stage", &self.stage)
            .field("frames", &self.frames)
            .field("buf", &Hidden(&self.buf))
            .finish_non_exhaustive()
    }
}

impl Default for FrameReader {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameReader {
    /// Makes a reader for a stream from its beginning, which is the preface.
    #[must_use]
    pub fn new() -> Self {
        Self {
            buf: BytesMut::new(),
            read_size: MIN_READ,
            deliver_limit: MAX_CONTROL_FRAME,
            stage: ReaderStage::Preface,
            frames: 0,
            room: 0,
            last_large: 0,
            spent: VecDeque::new(),
            to_discard: 0,
            reported: false,
        }
    }

    /// Ends the handshake: from now on, `Deliver` frames may have `deliver_limit` bytes, and other frames
    /// [`MAX_CONTROL_FRAME`]. The limit is that of [`Machine::frame_limit`](crate::Machine::frame_limit).
    pub fn open(&mut self, deliver_limit: usize) {
        self.stage = ReaderStage::Open;
        self.deliver_limit = deliver_limit.max(MAX_CONTROL_FRAME);
    }

    /// The buffer to read into. It has spare capacity. Append the bytes that were read, and call [`Self::filled`].
    pub fn buffer(&mut self) -> &mut BytesMut {
        let (spare, missing) = (self.buf.capacity() - self.buf.len(), self.missing());
        if self.buf.is_empty() && spare < MIN_SPARE {
            // The frames before take all of the buffer.
            self.renew(self.read_size.max(self.last_large));
        } else if spare < missing.unwrap_or(MIN_SPARE).clamp(1, MIN_SPARE) {
            let wanted = match missing {
                Some(missing) if missing + self.buf.len() >= MIN_LARGE_FRAME => missing.clamp(1, MAX_SPARE),
                _ => missing.unwrap_or(0).clamp(self.read_size, MAX_READ),
            };
            if self.buf.len() >= MAX_SPARE {
                // A very large frame has a buffer of its own, which can often grow in place.
                self.buf.reserve(wanted);
                self.room = self.buf.capacity();
            } else if !self.buf.try_reclaim(wanted) {
                self.renew(wanted);
            }
        }
        &mut self.buf
    }

    /// Continues in another buffer, with room for `spare` bytes beyond those that have arrived.
    fn renew(&mut self, spare: usize) {
        let wanted = self.buf.len() + spare;
        let free = self.spent.iter_mut().position(|(buf, _)| buf.try_reclaim(wanted));
        let (mut buf, room) = free.and_then(|index| self.spent.remove(index)).unwrap_or_else(|| {
            let buf = BytesMut::with_capacity(wanted);
            let room = buf.capacity();
            (buf, room)
        });
        buf.extend_from_slice(&self.buf);
        let mut old = std::mem::replace(&mut self.buf, buf);
        let old_room = std::mem::replace(&mut self.room, room);
        if old_room >= MIN_SPENT {
            old.clear();
            self.spent.push_back((old, old_room));
        }
        let bytes = |spent: &VecDeque<(BytesMut, usize)>| spent.iter().map(|(_, room)| room).sum::<usize>();
        while self.spent.len() > MAX_SPENT || bytes(&self.spent) > MAX_SPENT_BYTES {
            self.spent.pop_front();
        }
    }

    /// Reports how many bytes a read has returned. The next read is larger on a busy link, and smaller on an idle one.
    pub fn filled(&mut self, bytes: usize) {
        // A buffer that ends with a large frame may have had room for a few bytes only.
        let is_full = self.buf.len() == self.buf.capacity();
        if bytes >= self.read_size / 2 {
            self.read_size = (self.read_size * 2).min(MAX_READ);
        } else if bytes < self.read_size / 16 && !is_full {
            self.read_size = (self.read_size / 2).max(MIN_READ);
            self.spent.clear();
        }
    }

    /// Frees the buffers while no bytes arrive, except for one that holds a part of a frame. They are allocated again
    /// by [`Self::buffer`].
    pub fn release_memory(&mut self) {
        self.spent = VecDeque::new();
        if self.buf.is_empty() {
            (self.buf, self.read_size) = (BytesMut::new(), MIN_READ);
            (self.room, self.last_large) = (0, 0);
        }
    }

    /// Drops all bytes that arrive from now on, because the beginning of the next frame cannot be found (FR-3).
    pub fn discard_all(&mut self) {
        (self.buf, self.to_discard) = (BytesMut::new(), usize::MAX);
        self.spent = VecDeque::new();
    }

    /// Drops the incomplete frame, and the bytes of it that arrive later.
    pub fn discard_frame(&mut self) {
        if let Some(missing) = self.missing().filter(|missing| *missing > 0) {
            (self.buf, self.to_discard) = (BytesMut::new(), missing);
            self.frames += 1;
        }
    }

    /// The number of bytes of the incomplete frame that have not arrived, if its length has.
    fn missing(&self) -> Option<usize> {
        let head = self.buf.get(..4)?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        (self.stage != ReaderStage::Preface && self.to_discard == 0)
            .then(|| (length + 4).saturating_sub(self.buf.len()))
    }

    /// Sets whether the incomplete frame is reported to the machine (LM-4), and returns whether it was.
    pub(crate) fn set_reported(&mut self, reported: bool) -> bool {
        std::mem::replace(&mut self.reported, reported)
    }

    /// The progress of the reader.
    #[must_use]
    pub fn progress(&self) -> FrameProgress {
        FrameProgress { frames: self.frames, partial: self.buf.len() }
    }

    /// Takes the next complete frame, without its length prefix. Returns `None` if more bytes are needed.
    ///
    /// # Errors
    /// The stream violates FR-1, FR-2 or FR-3. No more frames can be read from it.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, Violation> {
        if self.stage == ReaderStage::Preface && self.to_discard == 0 {
            if !check_preface(&self.buf)? {
                return Ok(None);
            }
            self.buf.advance(PREFACE.len());
            self.stage = ReaderStage::First;
        }
        if self.to_discard > 0 {
            let here = self.to_discard.min(self.buf.len());
            self.buf.advance(here);
            self.to_discard -= if self.to_discard == usize::MAX { 0 } else { here };
        }
        let Some(head) = self.buf.get(..4).filter(|_| self.to_discard == 0) else { return Ok(None) };
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        self.check_length(length)?;
        if self.buf.len() < 4 + length {
            return Ok(None);
        }
        self.buf.advance(4);
        self.frames += 1;
        self.last_large = if (MIN_LARGE_FRAME..=MAX_SPARE).contains(&(length + 4)) { length + 4 } else { 0 };
        let frame = self.buf.split_to(length);
        // Messages are kept until they are settled. A small frame of them must not keep a large buffer (LM-5).
        if length < self.room / MAX_MEMORY_FACTOR && frame.first() == Some(&0x12) {
            return Ok(Some(Bytes::copy_from_slice(&frame)));
        }
        Ok(Some(frame.freeze()))
    }

    /// Checks the length before memory is allocated, and as soon as the kind of the frame is known (FR-2, FR-3).
    fn check_length(&self, length: usize) -> Result<(), Violation> {
        if length == 0 {
            return Err(Violation::new(Code::Malformed, Rule::Fr2, "a frame of length 0"));
        }
        let (limit, what) = match (self.stage, self.buf.get(4)) {
            (ReaderStage::Preface | ReaderStage::First, _) => (MAX_HELLO_FRAME, "a first frame"),
            // Deliver is field 2 of Frame. If it does not come first, the frame has the smaller limit.
            (ReaderStage::Open, None | Some(0x12)) => (self.deliver_limit, "a frame"),
            (ReaderStage::Open, Some(_)) => (MAX_CONTROL_FRAME, "a control frame"),
        };
        if length > limit {
            let detail = format!("{what} has {length} bytes; the limit is {limit}");
            return Err(Violation::new(Code::TooLarge, Rule::Fr3, detail));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
