//! A received batch: checked as a whole, then taken message by message, without copying.

use std::fmt;

use bytes::Bytes;
use prost::Message as _;

use super::{
    fields::{Content, Fields, IN_DELIVER, delimited, field, wrong_type},
    numbers::{Numbers, Steps},
};
use crate::{
    message::{Headers, Hidden, Message},
    violation::{Code, Violation},
    wire::{MAX_COUNTER, v1, varint},
};

/// The sender waits for the outcome.
const TRACKED: u32 = 1;
/// What a message takes beside its own bytes, about: less than that is not looked at.
const PER_MESSAGE: u64 = 256;
/// How many times its worth a batch may keep.
const PINNED: u64 = 8;
/// The most that frames a batch, a message and a header beside their own bytes, where each field stands once: keys, lengths,
/// numbers.
const FRAMING: (u64, u64, u64) = (64, 40, 16);

/// A received message: what it says of itself, and where in the bytes of its batch it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Item {
    /// Its delivery id (DL-1).
    pub id: u64,
    /// Its number (DL-2).
    pub number: u64,
    /// 1 or more (DL-3).
    pub attempt: u32,
    /// Bytes as byte credit counts them (CR-4).
    pub size: u32,
    /// [`TRACKED`]. Every field has 4 or 8 bytes, because items are moved about a lot: a copy of odd bytes at the
    /// end of a structure is read back before it is written, and stalls.
    flags: u32,
    /// Where the fields of the message begin and end, and its payload among them.
    start: u32,
    end: u32,
    payload_start: u32,
    payload_end: u32,
}

impl Item {
    /// Whether the sender waits for the outcome (OC-5).
    #[inline]
    #[must_use]
    pub fn is_tracked(&self) -> bool {
        self.flags & TRACKED != 0
    }

    /// The payload; `bytes` are those of its batch.
    #[inline]
    #[must_use]
    pub fn payload<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.payload_start as usize..self.payload_end as usize).unwrap_or_default()
    }

    /// The payload, sharing the memory of its batch.
    #[must_use]
    pub fn payload_bytes(&self, bytes: &Bytes) -> Bytes {
        bytes.slice_ref(self.payload(bytes))
    }

    /// The headers. Their values share the memory of the batch.
    #[must_use]
    pub fn headers(&self, bytes: &Bytes) -> Headers {
        if u64::from(self.size) == u64::from(self.payload_end - self.payload_start) {
            return Headers::default(); // names have at least one byte (DL-5)
        }
        let message = bytes.get(self.start as usize..self.end as usize).unwrap_or_default();
        let message = bytes.slice_ref(message);
        Fields::of(&message).map_or_else(|_| Headers::default(), |fields| fields.headers(&message))
    }

    /// Payload and headers.
    #[must_use]
    pub fn message(&self, bytes: &Bytes) -> Message {
        Message::from_parts(self.payload_bytes(bytes), self.headers(bytes))
    }

    /// The same item in memory of its own, unless it takes most of its batch anyway.
    pub(crate) fn apart(mut self, bytes: &Bytes) -> Option<(Self, Bytes)> {
        let own = bytes.get(self.start as usize..self.end as usize)?;
        if own.len() * 2 > bytes.len() {
            return None;
        }
        let own = Bytes::copy_from_slice(own);
        let start = std::mem::take(&mut self.start);
        self.end -= start;
        self.payload_start -= start;
        self.payload_end -= start;
        Some((self, own))
    }
}

/// Which messages of a batch have not been taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cursor {
    at: usize,
    next_id: u64,
    next_number: u64,
    left: u64,
    size: u64,
    last_size: u64,
}

impl Cursor {
    /// Delivery id of the next message to be taken.
    #[must_use]
    pub fn next_id(&self) -> u64 {
        self.next_id
    }

    /// How many messages are left.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.left
    }

    /// Whether all have been taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// The size (CR-4) of what is left.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The size of the last message.
    #[must_use]
    pub fn last_size(&self) -> u64 {
        self.last_size
    }

    /// The next message; `bytes` are those of the batch.
    #[inline(always)] // once for every message
    pub fn next(&mut self, bytes: &[u8]) -> Option<Item> {
        if self.left == 0 {
            return None;
        }
        let mut at = self.at;
        at = if *bytes.get(at)? == 0x1a { at + 1 } else { pass_over(bytes, at)? };
        let length = usize::try_from(varint::get(bytes, &mut at)?).ok()?;
        let end = at + length;
        let fields = Fields::of(bytes.get(at..end)?).ok()?;
        let number = self.next_number.wrapping_add_signed(fields.gap);
        let item = Item {
            id: self.next_id,
            number,
            attempt: fields.attempt.max(1),
            // All of these are below the limit of a frame, 2^31.
            size: fields.size as u32,
            flags: if fields.tracked { TRACKED } else { 0 },
            start: at as u32,
            end: end as u32,
            payload_start: (at + fields.payload.start) as u32,
            payload_end: (at + fields.payload.end) as u32,
        };
        self.at = end;
        self.next_id += 1;
        self.next_number = number + 1;
        self.left -= 1;
        self.size -= fields.size;
        Some(item)
    }

    /// These messages in memory of their own, unless they take most of their batch anyway. Walks over them: what follows them
    /// in the batch may belong to others.
    pub(crate) fn apart(mut self, bytes: &Bytes) -> Option<(Self, Bytes)> {
        let mut rest = self;
        while rest.next(bytes).is_some() {}
        let own = bytes.get(self.at..rest.at)?;
        if own.len() * 2 > bytes.len() {
            return None;
        }
        self.at = 0;
        Some((self, Bytes::copy_from_slice(own)))
    }

    /// Keeps the first `count` messages only, which have `size` bytes together.
    pub(crate) fn shorten(&mut self, count: u64, size: u64) {
        (self.left, self.size) = (count, size);
    }

    /// Takes off the last `count` messages without handing them out, and returns their size (RC-4).
    pub fn truncate(&mut self, bytes: &[u8], count: u64) -> u64 {
        let count = count.min(self.left);
        let mut rest = *self;
        let (mut kept, mut last) = (0, 0);
        for _ in 0..self.left - count {
            last = rest.next(bytes).map_or(0, |item| item.size.into());
            kept += last;
        }
        let taken = self.size - kept;
        (self.left, self.size, self.last_size) = (self.left - count, kept, last);
        taken
    }
}

/// Where the length of the first message at or after `at` stands: what comes before it has been read.
#[cold]
fn pass_over(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let mut after = at;
        if varint::get(bytes, &mut after)? == 0x1a {
            return Some(after);
        }
        field(bytes, &mut at, IN_DELIVER).ok()?;
    }
}

/// A received `Deliver`, checked as a whole.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Batch {
    /// The bytes in which its items lie.
    pub bytes: Bytes,
    /// At its first message.
    pub cursor: Cursor,
    /// The numbers of its messages.
    pub numbers: Numbers,
    /// Whether some of its messages have been attempted before.
    pub repeats: bool,
    /// How many headers its messages have together.
    pub headers: u64,
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("bytes", &Hidden(&self.bytes))
            .field("cursor", &self.cursor)
            .field("repeats", &self.repeats)
            .finish_non_exhaustive()
    }
}

impl Batch {
    /// The `Deliver` inside a frame, if it is one in the usual encoding.
    pub(in crate::wire) fn inside(frame: &Bytes) -> Option<Bytes> {
        let mut at = 1;
        if frame.first() != Some(&0x12) {
            return None;
        }
        let length = varint::get(frame, &mut at)?;
        (length == (frame.len() - at) as u64).then(|| frame.slice(at..))
    }

    /// Checks a `Deliver` message (FR-4, DL-2, DL-4, DL-5, DL-6).
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn parse(deliver: Bytes, max_message: u64) -> Result<Self, Violation> {
        Self::parse_within(deliver, max_message, u64::MAX)
    }

    /// The same, of at most `most` messages (CR-3). It keeps nothing for more than those, in whatever encoding they are.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn parse_within(deliver: Bytes, max_message: u64, most: u64) -> Result<Self, Violation> {
        Ok(scan(&deliver, max_message, most)?.batch(deliver))
    }

    /// How many of the bytes of its frame are neither messages nor their framing: unknown fields, or known ones that are replaced
    /// by later ones. They cost as much to read as anything, and no credit counts them (LM-3).
    pub(crate) fn junk(&self, frame: usize) -> u64 {
        let (batch, message, header) = FRAMING;
        let useful = self.cursor.size + batch + message * self.cursor.left + header * self.headers;
        (frame as u64).saturating_sub(useful)
    }

    /// The same without what version 1 does not know, if that is most of it: its messages are kept until they are settled, and
    /// credit does not count such fields (LM-5).
    pub(crate) fn slimmed(self) -> Self {
        let worth = self.cursor.size + PER_MESSAGE * self.cursor.left;
        let length = self.bytes.len() as u64;
        if length <= PER_MESSAGE || length <= PINNED * worth {
            return self;
        }
        let first_number = self.items().next().map_or(0, |item| item.number);
        let (mut next_number, mut messages) = (first_number, Vec::new());
        for item in self.items() {
            let message = item.message(&self.bytes);
            let gap = item.number.wrapping_sub(next_number) as i64;
            next_number = item.number + 1;
            let header =
                |(name, value): (&str, &Bytes)| v1::Header { name: name.to_owned(), value: value.clone() };
            messages.push(v1::Message {
                gap,
                attempt: item.attempt,
                tracked: item.is_tracked(),
                headers: message.headers().iter().map(header).collect(),
                payload: message.payload().clone(),
            });
        }
        let deliver = v1::Deliver { first_id: self.cursor.next_id, first_number, messages };
        // It was read before, so that it is read again.
        Self::parse(deliver.encode_to_vec().into(), u64::MAX).unwrap_or(self)
    }

    /// Its messages, in order.
    pub fn items(&self) -> impl Iterator<Item = Item> {
        let mut cursor = self.cursor;
        std::iter::from_fn(move || cursor.next(&self.bytes))
    }
}

/// What a scan has found so far.
#[derive(Default)]
struct Found {
    /// As many messages as there is credit for.
    most: u64,
    first_id: u64,
    first_number: u64,
    count: u64,
    size: u64,
    last_size: u64,
    /// Numbers relative to `first_number`, which may come after the messages. No frame has 2^31 messages, and a gap
    /// is below 2^64, so that 2^95 is never reached.
    offset: i128,
    lowest: i128,
    highest: i128,
    steps: Steps,
    repeats: bool,
    headers: u64,
}

fn scan(deliver: &[u8], max_message: u64, most: u64) -> Result<Found, Violation> {
    let mut found = Found { most, ..Found::default() };
    let mut at = 0;
    while at < deliver.len() {
        if deliver[at] == 0x1a {
            at += 1;
            let bytes =
                delimited(deliver, &mut at).ok_or_else(|| Violation::malformed("a message does not end"))?;
            found.message(&Fields::of(bytes)?, max_message)?;
            continue;
        }
        match field(deliver, &mut at, IN_DELIVER)? {
            (1, Content::Integer(value)) => found.first_id = value,
            (2, Content::Integer(value)) => found.first_number = value,
            (3, Content::Bytes(bytes)) => found.message(&Fields::of(bytes)?, max_message)?,
            (1..=3, _) => return Err(wrong_type()),
            _ => {}
        }
    }
    found.check()
}

impl Found {
    #[inline]
    fn message(&mut self, fields: &Fields, max_message: u64) -> Result<(), Violation> {
        if fields.size > max_message {
            let detail = format!("a message has {} bytes, but max_message is {max_message}", fields.size);
            return Err(Violation::new(Code::MessageSize, "DL-4", detail));
        }
        if fields.gap | self.steps.usual_gap() != 0 {
            self.jump(fields.gap)?;
        }
        self.repeats |= fields.attempt > 1;
        self.headers += fields.headers as u64;
        self.count += 1;
        self.last_size = fields.size;
        self.size += fields.size;
        Ok(())
    }

    /// The number of this message does not follow on. `offset` is what gaps add to the count.
    #[cold]
    fn jump(&mut self, gap: i64) -> Result<(), Violation> {
        if self.count == 0 {
            let detail = "the first message of a batch has a gap";
            return Err(Violation::new(Code::Malformed, "DL-2", detail));
        }
        self.check_count()?; // before anything is kept for it
        let before = self.offset + i128::from(self.count) - 1;
        self.offset += i128::from(gap);
        let after = self.offset + i128::from(self.count);
        self.highest = self.highest.max(before).max(after);
        self.lowest = self.lowest.min(after);
        self.steps.step(self.count, after, gap);
        Ok(())
    }

    /// The batch, once [`Self::check`] has passed.
    fn batch(self, bytes: Bytes) -> Batch {
        let Self { first_id, first_number, count, size, last_size, .. } = self;
        let cursor =
            Cursor { at: 0, next_id: first_id, next_number: first_number, left: count, size, last_size };
        let Self { repeats, headers, .. } = self;
        Batch { bytes, cursor, numbers: self.steps.numbers(first_number, count), repeats, headers }
    }

    /// CR-3, when `count` messages and perhaps one more have come.
    fn check_count(&self) -> Result<(), Violation> {
        if self.count > self.most {
            let detail = format!("a Deliver of more messages than the {} that may still be sent", self.most);
            return Err(Violation::new(Code::Credit, "CR-3", detail));
        }
        Ok(())
    }

    fn check(self) -> Result<Self, Violation> {
        self.check_count()?;
        let Self { first_id, first_number, count, .. } = self;
        if count == 0 {
            let detail = "a Deliver without messages";
            return Err(Violation::new(Code::Malformed, "DL-6", detail));
        }
        let first = i128::from(first_number);
        let highest = self.highest.max(self.offset + i128::from(count) - 1);
        if first + self.lowest < 0 || first + highest > i128::from(MAX_COUNTER) {
            let detail = "a message number is not within 0 and 2^53 - 1";
            return Err(Violation::new(Code::Malformed, "DL-2", detail));
        }
        if first_id.saturating_add(count) > MAX_COUNTER {
            let detail = "the delivery ids exceed 2^53 - 1";
            return Err(Violation::new(Code::Malformed, "DL-1", detail));
        }
        Ok(self)
    }
}
