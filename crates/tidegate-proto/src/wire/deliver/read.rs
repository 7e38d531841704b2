//! A received batch. It is checked as a whole, and then its messages are taken one by one, without copying.

use std::fmt;

use bytes::Bytes;
use prost::Message as _;

use super::{
    fields::{Content, Fields, MAX_DELIVER_DEPTH, delimited, field, wrong_type},
    numbers::{Numbers, Steps},
};
use crate::{
    amount::Amount,
    message::{Headers, Hidden, Message},
    rule::Rule,
    v1,
    violation::{Code, Violation},
    wire::{MAX_COUNTER, varint},
};

/// The flag of an item whose sender waits for the outcome.
const TRACKED: u32 = 1;
/// Memory that each message may take beside its size.
const MESSAGE_OVERHEAD: u64 = 256;
/// A batch may have this many times the bytes of its messages.
const MAX_MEMORY_FACTOR: u64 = 8;
/// The maximum framing of a batch, a message and a header in bytes, if each field occurs once: keys, lengths, numbers.
const MAX_FRAMING: (u64, u64, u64) = (64, 40, 16);

/// A received message: its fields, and its position in the bytes of its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Item {
    /// The delivery id (DL-1).
    pub id: u64,
    /// The number of the message (DL-2).
    pub number: u64,
    /// The attempt, at least 1 (DL-3).
    pub attempt: u32,
    /// The size in bytes, as byte credit counts it (CR-4).
    pub size: u32,
    /// [`TRACKED`]. Every field has 4 or 8 bytes, because items are moved often: copying single bytes at the end of a
    /// structure causes a store-forwarding stall.
    flags: u32,
    /// The positions of the fields of the message, and of the payload among them.
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

    /// The payload. `bytes` are the bytes of the batch.
    #[inline]
    #[must_use]
    pub fn payload<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.payload_start as usize..self.payload_end as usize).unwrap_or_default()
    }

    /// Whether a copy of the payload in place is enough for all that a delivery needs: the message has no headers, its
    /// sender does not wait for the outcome, and the payload has at most `limit` bytes.
    #[inline(always)] // runs for every message
    #[must_use]
    pub fn is_small(&self, limit: usize) -> bool {
        let length = self.payload_end - self.payload_start;
        length == self.size && length as usize <= limit && !self.is_tracked()
    }

    /// A copy of a payload of at most `N` bytes, at the start of an array. What follows it in the array is unspecified:
    /// a copy of constant length is faster.
    #[inline(always)] // runs for every message
    #[must_use]
    pub fn small_payload<const N: usize>(&self, bytes: &[u8]) -> [u8; N] {
        let start = self.payload_start as usize;
        if let Some(all) = bytes.get(start..).and_then(<[u8]>::first_chunk) {
            return *all;
        }
        let (payload, mut copy) = (self.payload(bytes), [0; N]);
        if let Some(start) = copy.get_mut(..payload.len()) {
            start.copy_from_slice(payload);
        }
        copy
    }

    /// The payload, without a copy: it shares the memory of the batch.
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

    /// The message: payload and headers.
    #[must_use]
    pub fn message(&self, bytes: &Bytes) -> Message {
        Message::from_parts(self.payload_bytes(bytes), self.headers(bytes))
    }

    /// Copies the item out of its batch, unless it is most of the batch.
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

/// The messages of a batch that were not yet taken.
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
    /// The delivery id of the next message.
    #[must_use]
    pub fn next_id(&self) -> u64 {
        self.next_id
    }

    /// The number of messages left.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.left
    }

    /// Whether all messages were taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// The size of the messages left, in bytes (CR-4).
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The messages left, and their size.
    #[inline]
    #[must_use]
    pub fn amount(&self) -> Amount {
        Amount { messages: self.left, bytes: self.size }
    }

    /// The size of the last message, in bytes.
    #[must_use]
    pub fn last_size(&self) -> u64 {
        self.last_size
    }

    /// Takes the next message. `bytes` are the bytes of the batch.
    #[inline(always)] // runs for every message
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
            // All of these are below 2^31, the limit of a frame.
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

    /// Copies the messages left out of their batch, unless they are most of it. It decodes them to find their end,
    /// because messages after them may belong to another cursor.
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

    /// Keeps only the first messages, which are `first` of those left.
    pub(crate) fn shorten(&mut self, first: Amount) {
        (self.left, self.size) = (first.messages, first.bytes);
    }

    /// Removes the last `count` messages, and returns their size (RC-4).
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

/// The position of the length of the first message at or after `at`. Fields before it are skipped.
#[cold]
fn pass_over(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let mut after = at;
        if varint::get(bytes, &mut after)? == 0x1a {
            return Some(after);
        }
        field(bytes, &mut at, MAX_DELIVER_DEPTH).ok()?;
    }
}

/// A received `Deliver`, checked as a whole.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Batch {
    /// The bytes that contain its messages.
    pub bytes: Bytes,
    /// A cursor at its first message.
    pub cursor: Cursor,
    /// The numbers of its messages.
    pub numbers: Numbers,
    /// Whether some of its messages have an attempt above 1.
    pub repeats: bool,
    /// The number of headers of all its messages.
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
    /// The `Deliver` of a frame in the usual encoding.
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
    /// The first rule that the message breaks.
    pub fn parse(deliver: Bytes, max_message: u64) -> Result<Self, Violation> {
        Self::parse_within(deliver, max_message, u64::MAX)
    }

    /// Checks a `Deliver` message like [`Self::parse`], and that it has at most `max_messages` messages (CR-3). Nothing
    /// is kept for further messages, in whatever encoding they are.
    ///
    /// # Errors
    /// The first rule that the message breaks.
    pub fn parse_within(deliver: Bytes, max_message: u64, max_messages: u64) -> Result<Self, Violation> {
        Ok(scan(&deliver, max_message, max_messages)?.batch(deliver))
    }

    /// The number of bytes of its frame that are neither messages nor their framing: unknown fields, and known fields
    /// that later ones replace. They cost time to read, and no credit counts them (LM-3).
    pub(crate) fn unknown_bytes(&self, frame: usize) -> u64 {
        let (batch, message, header) = MAX_FRAMING;
        let useful = self.cursor.size + batch + message * self.cursor.left + header * self.headers;
        (frame as u64).saturating_sub(useful)
    }

    /// Copies the batch without unknown fields, if these are most of it. Its bytes are kept until its messages are
    /// settled, and credit does not count such fields (LM-5).
    pub(crate) fn without_unknown(self) -> Self {
        let worth = self.cursor.size + MESSAGE_OVERHEAD * self.cursor.left;
        let length = self.bytes.len() as u64;
        if length <= MESSAGE_OVERHEAD || length <= MAX_MEMORY_FACTOR * worth {
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
        // This cannot fail, because the same messages were parsed before.
        Self::parse(deliver.encode_to_vec().into(), u64::MAX).unwrap_or(self)
    }

    /// Its messages, in order.
    pub fn items(&self) -> impl Iterator<Item = Item> {
        let mut cursor = self.cursor;
        std::iter::from_fn(move || cursor.next(&self.bytes))
    }
}

/// The state of a scan.
#[derive(Default)]
struct Scan {
    /// The unused credit, in messages.
    max_messages: u64,
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

fn scan(deliver: &[u8], max_message: u64, max_messages: u64) -> Result<Scan, Violation> {
    let mut found = Scan { max_messages, ..Scan::default() };
    let mut at = 0;
    while at < deliver.len() {
        if deliver[at] == 0x1a {
            at += 1;
            let bytes =
                delimited(deliver, &mut at).ok_or_else(|| Violation::malformed("a message does not end"))?;
            found.message(&Fields::of(bytes)?, max_message)?;
            continue;
        }
        match field(deliver, &mut at, MAX_DELIVER_DEPTH)? {
            (1, Content::Integer(value)) => found.first_id = value,
            (2, Content::Integer(value)) => found.first_number = value,
            (3, Content::Bytes(bytes)) => found.message(&Fields::of(bytes)?, max_message)?,
            (1..=3, _) => return Err(wrong_type()),
            _ => {}
        }
    }
    found.check()
}

impl Scan {
    #[inline]
    fn message(&mut self, fields: &Fields, max_message: u64) -> Result<(), Violation> {
        if fields.size > max_message {
            let detail = format!("a message has {} bytes; max_message is {max_message}", fields.size);
            return Err(Violation::new(Code::MessageSize, Rule::Dl4, detail));
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

    /// Adds a gap to `offset`, the sum of all gaps, for a message that does not continue the current run.
    #[cold]
    fn jump(&mut self, gap: i64) -> Result<(), Violation> {
        if self.count == 0 {
            let detail = "the first message of a batch has a gap; it must be 0";
            return Err(Violation::new(Code::Malformed, Rule::Dl2, detail));
        }
        self.check_count()?; // before memory is taken for it
        let before = self.offset + i128::from(self.count) - 1;
        self.offset += i128::from(gap);
        let after = self.offset + i128::from(self.count);
        self.highest = self.highest.max(before).max(after);
        self.lowest = self.lowest.min(after);
        self.steps.step(self.count, after, gap);
        Ok(())
    }

    /// The batch, after [`Self::check`] has passed.
    fn batch(self, bytes: Bytes) -> Batch {
        let Self { first_id, first_number, count, size, last_size, .. } = self;
        let cursor =
            Cursor { at: 0, next_id: first_id, next_number: first_number, left: count, size, last_size };
        let Self { repeats, headers, .. } = self;
        Batch { bytes, cursor, numbers: self.steps.numbers(first_number, count), repeats, headers }
    }

    /// Checks the credit for the messages counted so far (CR-3).
    fn check_count(&self) -> Result<(), Violation> {
        if self.count > self.max_messages {
            let detail =
                format!("a Deliver has more messages than the unused credit of {}", self.max_messages);
            return Err(Violation::new(Code::Credit, Rule::Cr3, detail));
        }
        Ok(())
    }

    fn check(self) -> Result<Self, Violation> {
        self.check_count()?;
        let Self { first_id, first_number, count, .. } = self;
        if count == 0 {
            let detail = "a Deliver has no messages";
            return Err(Violation::new(Code::Malformed, Rule::Dl6, detail));
        }
        let first = i128::from(first_number);
        let highest = self.highest.max(self.offset + i128::from(count) - 1);
        if first + self.lowest < 0 || first + highest > i128::from(MAX_COUNTER) {
            let detail = "a message number is outside 0 to 2^53 - 1";
            return Err(Violation::new(Code::Malformed, Rule::Dl2, detail));
        }
        if first_id.saturating_add(count) > MAX_COUNTER {
            let detail = "the delivery ids exceed 2^53 - 1";
            return Err(Violation::new(Code::Malformed, Rule::Dl1, detail));
        }
        Ok(self)
    }
}
