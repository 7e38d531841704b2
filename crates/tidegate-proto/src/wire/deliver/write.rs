//! Encodes messages into batches, and decodes them again from the bytes that a pusher keeps.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use super::fields::Fields;
use crate::{message::Message, wire::varint};

/// The space before the messages: length 4, key 1 and length 5, first_id 11, first_number 11.
const MAX_HEAD: usize = 32;
/// A payload of this size or more is not copied into the buffer, but written separately, in a batch of its own. A
/// smaller one is cheaper to copy.
const MIN_LARGE_PAYLOAD: usize = 16 * 1_024;
/// A batch of this size is sealed, so that the peer can begin to process it.
const MAX_BATCH: usize = 128 * 1_024;
/// The smallest buffer of a batch: small, so that an idle link takes little memory.
const MIN_BUFFER: usize = 1_024;
/// A batch may keep this many times its bytes in memory (LM-5).
const MAX_MEMORY_FACTOR: usize = 4;

/// A batch to which messages are added.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct OpenBatch {
    buf: BytesMut,
    tail: Option<Bytes>,
    first_id: u64,
    first_number: u64,
    next_number: u64,
    count: u32,
    /// The bytes that recent batches needed, as an estimate for the next one. It decreases slowly, because batches of
    /// two sizes often alternate.
    hint: usize,
    /// The size of the allocation that contains `buf`, which earlier batches may share.
    memory: usize,
    /// The capacity of `buf` when this batch began. If it is larger now, `buf` was reallocated.
    capacity: usize,
}

/// A complete `Deliver` frame with its length prefix: `room[start..]`, then `tail`.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Sealed {
    /// The buffer. The bytes before `start` are unused.
    pub room: Bytes,
    /// The beginning of the frame in the buffer.
    pub start: usize,
    /// The payload of the only message, if it is large.
    pub tail: Option<Bytes>,
    /// The memory that `room` keeps, in bytes.
    pub memory: usize,
}

impl Sealed {
    /// The length of the frame in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.room.len() - self.start + self.tail.as_ref().map_or(0, Bytes::len)
    }

    /// Whether the frame is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed(<{} bytes>)", self.len())
    }
}

impl fmt::Debug for OpenBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenBatch({} messages from {}, <{} bytes>)", self.count, self.first_id, self.len())
    }
}

impl OpenBatch {
    /// Whether no message was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The approximate length of the batch so far, in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buf.len() + self.tail.as_ref().map_or(0, Bytes::len)
    }

    /// Whether the batch must be sealed before `message` is added. A large message begins a new batch.
    #[must_use]
    #[inline]
    pub fn is_full_for(&self, message: &Message) -> bool {
        self.count > 0
            && (self.tail.is_some() || self.buf.len() >= MAX_BATCH || message.size() >= MIN_LARGE_PAYLOAD)
    }

    /// Whether the batch must be sealed before a payload is added with [`Self::push_slice`].
    #[inline]
    #[must_use]
    pub fn is_full_for_slice(&self) -> bool {
        self.count > 0 && (self.tail.is_some() || self.buf.len() >= MAX_BATCH)
    }

    /// Whether a payload is small enough to be copied into the buffer.
    #[inline]
    #[must_use]
    pub fn copies(payload: &[u8]) -> bool {
        payload.len() < MIN_LARGE_PAYLOAD
    }

    /// Adds the first attempt of a message without headers, whose payload is small enough to be copied
    /// ([`Self::copies`]). Returns its position like [`Self::push`].
    #[inline]
    pub fn push_slice(&mut self, id: u64, number: u64, payload: &[u8]) -> u32 {
        if self.count == 0 {
            self.begin(id, number);
        }
        if number != self.next_number {
            return self.push(id, number, 1, false, &Message::new(Bytes::copy_from_slice(payload)));
        }
        self.next_number = number + 1;
        self.count += 1;
        let at = self.buf.len();
        self.push_plain(payload);
        at as u32
    }

    /// Adds a message, and returns its position in the buffer, for [`read_message`].
    #[inline]
    pub fn push(&mut self, id: u64, number: u64, attempt: u32, tracked: bool, message: &Message) -> u32 {
        let payload = message.payload();
        if self.count == 0 {
            self.begin(id, number);
        }
        let gap = number.wrapping_sub(self.next_number) as i64;
        self.next_number = number + 1;
        self.count += 1;
        let at = self.buf.len();
        if gap == 0
            && attempt <= 1
            && !tracked
            && message.headers().is_empty()
            && payload.len() < MIN_LARGE_PAYLOAD
        {
            self.push_plain(payload);
        } else {
            self.push_any(gap, attempt, tracked, message);
        }
        at as u32
    }

    /// Completes the frame and returns it. Afterwards the batch is empty. An empty batch returns an empty frame.
    pub fn seal(&mut self) -> Sealed {
        if self.count == 0 {
            return Sealed::default();
        }
        let tail = self.tail.take();
        let room = &mut self.buf;
        let end = room.len();
        self.hint = end.max(self.hint - self.hint / 4);
        self.count = 0;
        let mut start = MAX_HEAD;
        if self.first_number > 0 {
            start = varint::put_before(room, start, self.first_number) - 1;
            room[start] = 0x10;
        }
        if self.first_id > 0 {
            start = varint::put_before(room, start, self.first_id) - 1;
            room[start] = 0x08;
        }
        let tail_len = tail.as_ref().map_or(0, Bytes::len);
        start = varint::put_before(room, start, (end - start + tail_len) as u64) - 1;
        room[start] = 0x12;
        let length = (end - start + tail_len) as u32;
        start -= 4;
        room[start..start + 4].copy_from_slice(&length.to_be_bytes());
        if room.capacity() > self.capacity {
            self.memory = room.capacity();
        }
        // The frame is kept until its messages are settled, and must not keep the memory of a larger buffer (LM-5).
        if end * MAX_MEMORY_FACTOR < self.memory {
            let room = Bytes::copy_from_slice(&self.buf);
            self.buf.clear();
            return Sealed { memory: room.len(), room, start, tail };
        }
        Sealed { room: self.buf.split().freeze(), start, tail, memory: self.memory }
    }

    /// Frees the buffer of an empty batch, which an idle link does not need.
    pub fn shrink(&mut self) {
        if self.count == 0 {
            self.buf = BytesMut::new();
            (self.hint, self.memory, self.capacity) = (0, 0, 0);
        }
    }

    fn begin(&mut self, id: u64, number: u64) {
        let want = (self.hint + self.hint / 4).clamp(MIN_BUFFER, MAX_BATCH + MAX_BATCH / 4);
        // From a buffer that is much too large, each batch would have to be copied.
        if self.buf.capacity() < want || self.buf.capacity() > (MAX_MEMORY_FACTOR - 1) * want {
            self.buf = BytesMut::with_capacity(want);
            self.memory = self.buf.capacity();
        }
        self.capacity = self.buf.capacity();
        self.buf.put_bytes(0, MAX_HEAD);
        self.first_id = id;
        self.first_number = number;
        self.next_number = number;
    }

    #[inline]
    fn push_plain(&mut self, payload: &[u8]) {
        let length = payload.len();
        if length == 0 {
            self.buf.extend_from_slice(&[0x1a, 0]);
        } else if length < 0x7e {
            self.buf.reserve(length + 4);
            let length = length as u32;
            self.buf.put_u32_le(0x1a | (length + 2) << 8 | 0x2a << 16 | length << 24);
            self.buf.extend_from_slice(payload);
        } else {
            let inner = 1 + varint::length(length as u64) + length;
            self.buf.reserve(inner + 11);
            self.buf.put_u8(0x1a);
            varint::put(&mut self.buf, inner as u64);
            self.buf.put_u8(0x2a);
            varint::put(&mut self.buf, length as u64);
            self.buf.extend_from_slice(payload);
        }
    }

    #[cold]
    fn push_any(&mut self, gap: i64, attempt: u32, tracked: bool, message: &Message) {
        let payload = message.payload();
        let header_len = |name: &str, value: &Bytes| {
            let value = if value.is_empty() { 0 } else { field(value.len()) };
            field(name.len()) + value
        };
        let gap = varint::zigzag(gap);
        let mut inner = message.headers().iter().map(|(n, v)| field(header_len(n, v))).sum::<usize>();
        inner += if gap == 0 { 0 } else { 1 + varint::length(gap) };
        inner += if attempt <= 1 { 0 } else { 1 + varint::length(attempt.into()) };
        inner += if tracked { 2 } else { 0 };
        inner += if payload.is_empty() { 0 } else { field(payload.len()) };

        let buf = &mut self.buf;
        put_key(buf, 0x1a, inner);
        for (name, value) in message.headers().iter() {
            put_key(buf, 0x0a, header_len(name, value));
            put_key(buf, 0x0a, name.len());
            buf.extend_from_slice(name.as_bytes());
            if !value.is_empty() {
                put_key(buf, 0x12, value.len());
                buf.extend_from_slice(value);
            }
        }
        if gap != 0 {
            buf.put_u8(0x10);
            varint::put(buf, gap);
        }
        if attempt > 1 {
            buf.put_u8(0x18);
            varint::put(buf, attempt.into());
        }
        if tracked {
            buf.extend_from_slice(&[0x20, 1]);
        }
        if !payload.is_empty() {
            put_key(buf, 0x2a, payload.len());
            if payload.len() < MIN_LARGE_PAYLOAD {
                buf.extend_from_slice(payload);
            } else {
                self.tail = Some(payload.clone());
            }
        }
    }
}

/// The length of a length-delimited field with a one-byte key.
const fn field(length: usize) -> usize {
    1 + varint::length(length as u64) + length
}

fn put_key(buf: &mut BytesMut, key: u8, length: usize) {
    buf.put_u8(key);
    varint::put(buf, length as u64);
}

/// Decodes a message at the position that [`OpenBatch::push`] has returned, and its attempt.
///
/// Returns `None` if there is no message at that position.
#[must_use]
pub fn read_message(room: &Bytes, tail: Option<&Bytes>, at: u32) -> Option<(Message, u32)> {
    let mut at = at as usize + 1;
    let inner = usize::try_from(varint::get(room, &mut at)?).ok()?;
    if let Some(tail) = tail {
        let head = inner.checked_sub(tail.len())?;
        let head = room.slice(at..at.checked_add(head).filter(|end| *end <= room.len())?);
        // The key and length of the payload are at the end of the head.
        let cut = head.len().checked_sub(1 + varint::length(tail.len() as u64))?;
        let head = head.slice(..cut);
        let fields = Fields::of(&head).ok()?;
        return Some((Message::from_parts(tail.clone(), fields.headers(&head)), fields.attempt.max(1)));
    }
    let bytes = room.slice(at..at.checked_add(inner).filter(|end| *end <= room.len())?);
    let fields = Fields::of(&bytes).ok()?;
    let headers = fields.headers(&bytes);
    Some((Message::from_parts(bytes.slice(fields.payload), headers), fields.attempt.max(1)))
}

/// The range of bytes of the message at a position that [`OpenBatch::push`] has returned, without a large payload.
#[must_use]
pub fn message_span(room: &Bytes, tail: Option<&Bytes>, at: u32) -> Option<std::ops::Range<usize>> {
    let start = at as usize;
    let mut at = start + 1;
    let inner = usize::try_from(varint::get(room, &mut at)?).ok()?;
    let end = (at + inner).checked_sub(tail.map_or(0, Bytes::len))?;
    (end <= room.len()).then_some(start..end)
}
