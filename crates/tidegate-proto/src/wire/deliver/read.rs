//! A received batch. It is checked as a whole before its messages are taken.

use std::fmt;

use bytes::Bytes;
use prost::Message as _;

use super::{
    cursor::{Cursor, Item},
    fields::{Content, Fields, MAX_DELIVER_DEPTH, delimited, field, wrong_type},
    numbers::{Numbers, Steps},
};
use crate::{
    amount::Amount,
    message::Hidden,
    rule::Rule,
    v1,
    violation::{Code, Violation},
    wire::{MAX_COUNTER, varint},
};

/// Memory that each message may take beside its size.
const MESSAGE_OVERHEAD: u64 = 256;
/// A batch may have this many times the bytes of its messages.
const MAX_MEMORY_FACTOR: u64 = 8;
/// The maximum framing of a batch, a message and a header in bytes, if each field occurs once: keys, lengths, numbers.
const MAX_FRAMING: (u64, u64, u64) = (64, 40, 16);

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
        let Amount { messages, bytes } = self.cursor.amount();
        let useful = bytes + batch + message * messages + header * self.headers;
        (frame as u64).saturating_sub(useful)
    }

    /// Copies the batch without unknown fields, if these are most of it. Its bytes are kept until its messages are
    /// settled, and credit does not count such fields (LM-5).
    pub(crate) fn without_unknown(self) -> Self {
        let worth = self.cursor.size() + MESSAGE_OVERHEAD * self.cursor.len();
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
        let deliver = v1::Deliver { first_id: self.cursor.next_id(), first_number, messages };
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
        let cursor = Cursor::new(first_id, first_number, Amount::new(count, size), last_size);
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
