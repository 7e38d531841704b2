//! The messages of a received batch, which are taken one by one, without copying.

use bytes::Bytes;

use super::fields::{Fields, MAX_DELIVER_DEPTH, field};
use crate::{
    amount::Amount,
    message::{Headers, Message},
    wire::varint,
};

/// The flag of an item whose sender waits for the outcome.
const TRACKED: u32 = 1;

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
    /// A cursor at the beginning of a batch of `messages`, which was checked.
    pub(super) fn new(first_id: u64, first_number: u64, messages: Amount, last_size: u64) -> Self {
        let Amount { messages: left, bytes: size } = messages;
        Self { at: 0, next_id: first_id, next_number: first_number, left, size, last_size }
    }

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
