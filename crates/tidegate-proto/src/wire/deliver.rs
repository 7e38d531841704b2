//! `Deliver`, written and read by hand: a message is encoded straight into the buffer that the socket gets, and a
//! received one is a slice of the buffer that the socket filled. `tests/deliver.rs` shows that the octets are those
//! of the generated code, both ways.
//!
//! Field keys (number << 3 | wire type), as in the .proto file:
//! Frame.deliver 0x12; Deliver: first_id 0x08, first_number 0x10, messages 0x1a;
//! Message: headers 0x0a, gap 0x10, attempt 0x18, tracked 0x20, payload 0x2a; Header: name 0x0a, value 0x12.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message as _;

use super::{MAX_HEADER_NAME, MAX_HEADERS, MAX_NUMBER, v1, varint};
use crate::{
    message::{Headers, Message},
    violation::{Code, Violation},
};

/// Room for what stands before the messages: length 4, key 1 and length 5, first_id 11, first_number 11.
const HEAD: usize = 32;
/// From this size on a payload is not copied into the buffer: it goes out as a piece of its own, in a batch of its
/// own. Below it a copy is cheaper than one more piece and one more frame.
const LARGE: usize = 16 * 1_024;
/// A batch is sealed when it has this many octets, so that the peer can begin while we go on.
const FULL: usize = 128 * 1_024;
/// The smallest buffer taken for a batch: an idle link must stay small.
const SMALLEST: usize = 1_024;

/// A batch that messages are still being added to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct OpenBatch {
    buf: BytesMut,
    tail: Option<Bytes>,
    first_id: u64,
    first_number: u64,
    next_number: u64,
    count: u32,
    /// What the last batch needed: the next one will need about as much.
    hint: usize,
}

/// A whole `Deliver` frame with its length: `room[start..]`, then `tail`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sealed {
    /// The buffer; what is before `start` was not needed.
    pub room: Bytes,
    /// Where the frame begins in it.
    pub start: usize,
    /// The payload of the only message, if it is large.
    pub tail: Option<Bytes>,
}

impl Sealed {
    /// Octets of the frame.
    #[must_use]
    pub fn len(&self) -> usize {
        self.room.len() - self.start + self.tail.as_ref().map_or(0, Bytes::len)
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl OpenBatch {
    /// Whether nothing has been added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Octets so far, about.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buf.len() + self.tail.as_ref().map_or(0, Bytes::len)
    }

    /// Whether it must be sealed before `message` is added.
    #[must_use]
    pub fn is_full_for(&self, message: &Message) -> bool {
        self.count > 0 && (self.tail.is_some() || self.buf.len() >= FULL || message.payload().len() >= LARGE)
    }

    /// Adds a message and returns where in the buffer it lies, for [`read_message`].
    pub fn push(&mut self, id: u64, number: u64, attempt: u32, tracked: bool, message: &Message) -> u32 {
        let payload = message.payload();
        if self.count == 0 {
            self.begin(id, number);
        }
        let gap = number.wrapping_sub(self.next_number) as i64;
        self.next_number = number + 1;
        self.count += 1;
        let at = self.buf.len();
        if gap == 0 && attempt <= 1 && !tracked && message.headers().is_empty() && payload.len() < LARGE {
            self.push_plain(payload);
        } else {
            self.push_any(gap, attempt, tracked, message);
        }
        at as u32
    }

    /// The batch as a frame; this one is empty then. An empty batch gives an empty frame.
    pub fn seal(&mut self) -> Sealed {
        if self.count == 0 {
            return Sealed::default();
        }
        let mut room = self.buf.split();
        let tail = self.tail.take();
        self.hint = room.len();
        self.count = 0;
        let mut start = HEAD;
        if self.first_number > 0 {
            start = varint::put_before(&mut room, start, self.first_number) - 1;
            room[start] = 0x10;
        }
        if self.first_id > 0 {
            start = varint::put_before(&mut room, start, self.first_id) - 1;
            room[start] = 0x08;
        }
        let tail_len = tail.as_ref().map_or(0, Bytes::len);
        start = varint::put_before(&mut room, start, (self.hint - start + tail_len) as u64) - 1;
        room[start] = 0x12;
        let length = (self.hint - start + tail_len) as u32;
        start -= 4;
        room[start..start + 4].copy_from_slice(&length.to_be_bytes());
        Sealed { room: room.freeze(), start, tail }
    }

    /// Gives memory back that an idle link does not need.
    pub fn shrink(&mut self) {
        if self.count == 0 {
            self.buf = BytesMut::new();
            self.hint = 0;
        }
    }

    fn begin(&mut self, id: u64, number: u64) {
        let want = (self.hint + self.hint / 4).clamp(SMALLEST, FULL + FULL / 4);
        if self.buf.capacity() < want {
            self.buf = BytesMut::with_capacity(want);
        }
        self.buf.put_bytes(0, HEAD);
        self.first_id = id;
        self.first_number = number;
        self.next_number = number;
    }

    fn push_plain(&mut self, payload: &Bytes) {
        let length = payload.len();
        if length == 0 {
            self.buf.extend_from_slice(&[0x1a, 0]);
        } else if length < 0x7e {
            self.buf.reserve(length + 4);
            self.buf.extend_from_slice(&[0x1a, length as u8 + 2, 0x2a, length as u8]);
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
            if payload.len() < LARGE {
                buf.extend_from_slice(payload);
            } else {
                self.tail = Some(payload.clone());
            }
        }
    }
}

/// Octets of a length-delimited field with a one-octet key.
const fn field(length: usize) -> usize {
    1 + varint::length(length as u64) + length
}

fn put_key(buf: &mut BytesMut, key: u8, length: usize) {
    buf.put_u8(key);
    varint::put(buf, length as u64);
}

/// Reads a message back from where [`OpenBatch::push`] put it: what a pusher retains is what it sent.
///
/// `None` if there is no message at that place, which only a wrong `at` can cause.
#[must_use]
pub fn read_message(room: &Bytes, tail: Option<&Bytes>, at: u32) -> Option<(Message, u32)> {
    let mut at = at as usize + 1;
    let inner = usize::try_from(varint::get(room, &mut at)?).ok()?;
    if let Some(tail) = tail {
        let head = inner.checked_sub(tail.len())?;
        let head = room.slice(at..at.checked_add(head).filter(|end| *end <= room.len())?);
        // The payload's own key and length stand at the end of the head.
        let cut = head.len().checked_sub(1 + varint::length(tail.len() as u64))?;
        let head = head.slice(..cut);
        let fields = Fields::of(&head).ok()?;
        return Some((Message::from_parts(tail.clone(), fields.headers(&head)), fields.attempt.max(1)));
    }
    let octets = room.slice(at..at.checked_add(inner).filter(|end| *end <= room.len())?);
    let fields = Fields::of(&octets).ok()?;
    let headers = fields.headers(&octets);
    Some((Message::from_parts(octets.slice(fields.payload), headers), fields.attempt.max(1)))
}

/// Where the octets of a message lie that [`OpenBatch::push`] put at `at`, without a large payload.
#[must_use]
pub fn message_span(room: &Bytes, tail: Option<&Bytes>, at: u32) -> Option<std::ops::Range<usize>> {
    let start = at as usize;
    let mut at = start + 1;
    let inner = usize::try_from(varint::get(room, &mut at)?).ok()?;
    let end = (at + inner).checked_sub(tail.map_or(0, Bytes::len))?;
    (end <= room.len()).then_some(start..end)
}

/// A received message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Item {
    /// Its delivery id (DL-1).
    pub id: u64,
    /// Its number (DL-2).
    pub number: u64,
    /// 1 or more (DL-3).
    pub attempt: u32,
    /// Whether the sender waits for the outcome (OC-5).
    pub tracked: bool,
    /// Payload and headers.
    pub message: Message,
}

/// A received `Deliver`, checked as a whole; its messages are taken one by one, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Batch {
    deliver: Bytes,
    next_id: u64,
    next_number: u64,
    left: u64,
    size: u64,
    last_size: u64,
}

/// Why the fast path does not read something.
enum Unread {
    /// A group: legal, and so rare that the generated code shall read it.
    Odd,
    Wrong(Violation),
}

impl From<&'static str> for Unread {
    fn from(detail: &'static str) -> Self {
        Self::Wrong(Violation::malformed(detail))
    }
}

impl Batch {
    /// The `Deliver` inside a frame, if it is one in the usual encoding.
    pub(super) fn inside(frame: &Bytes) -> Option<Bytes> {
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
        let odd = match Self::scan(&deliver, max_message) {
            Ok(batch) => return Ok(Self { deliver, ..batch }),
            Err(Unread::Wrong(violation)) => return Err(violation),
            Err(Unread::Odd) => v1::Deliver::decode(deliver),
        };
        let plain = odd.map_err(|e| Violation::malformed(format!("not a Deliver: {e}")))?.encode_to_vec();
        let plain = Bytes::from(plain);
        match Self::scan(&plain, max_message) {
            Ok(batch) => Ok(Self { deliver: plain, ..batch }),
            Err(Unread::Wrong(violation)) => Err(violation),
            Err(Unread::Odd) => Err(Violation::malformed("a group")),
        }
    }

    fn scan(deliver: &Bytes, max_message: u64) -> Result<Self, Unread> {
        let (mut first_id, mut first_number, mut at) = (0, 0, 0);
        let (mut count, mut size, mut last_size) = (0u64, 0u64, 0u64);
        // Numbers relative to first_number, which may come after the messages.
        let (mut offset, mut lowest, mut highest) = (0i128, 0i128, 0i128);
        while at < deliver.len() {
            match deliver[at] {
                0x1a => {
                    at += 1;
                    let octets = delimited(deliver, &mut at).ok_or("a message does not end")?;
                    let fields = Fields::of(octets)?;
                    if fields.size > max_message {
                        let detail =
                            format!("a message has {} octets, but max_message is {max_message}", fields.size);
                        return Err(Unread::Wrong(Violation::new(Code::MessageSize, "DL-4", detail)));
                    }
                    offset += i128::from(fields.gap) + i128::from(count > 0);
                    if count == 0 && fields.gap != 0 {
                        let detail = "the first message of a batch has a gap";
                        return Err(Unread::Wrong(Violation::new(Code::Malformed, "DL-2", detail)));
                    }
                    (lowest, highest) = (lowest.min(offset), highest.max(offset));
                    count += 1;
                    last_size = fields.size;
                    size += fields.size;
                }
                0x08 => {
                    at += 1;
                    first_id = varint::get(deliver, &mut at).ok_or("first_id does not end")?;
                }
                0x10 => {
                    at += 1;
                    first_number = varint::get(deliver, &mut at).ok_or("first_number does not end")?;
                }
                _ => skip_unknown(deliver, &mut at, &[1, 2, 3])?,
            }
        }
        if count == 0 {
            let detail = "a Deliver without messages";
            return Err(Unread::Wrong(Violation::new(Code::Malformed, "DL-6", detail)));
        }
        let first = i128::from(first_number);
        if first + lowest < 0 || first + highest >= i128::from(MAX_NUMBER) {
            let detail = "a message number is not within 0 and 2^63 - 1";
            return Err(Unread::Wrong(Violation::new(Code::Malformed, "DL-2", detail)));
        }
        if first_id.checked_add(count).is_none() {
            let detail = "delivery ids overflow";
            return Err(Unread::Wrong(Violation::new(Code::Malformed, "DL-1", detail)));
        }
        Ok(Self {
            deliver: Bytes::new(),
            next_id: first_id,
            next_number: first_number,
            left: count,
            size,
            last_size,
        })
    }

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

    /// The size (CR-4) of all messages together.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The size of the last one.
    #[must_use]
    pub fn last_size(&self) -> u64 {
        self.last_size
    }

    /// Takes off the last `count` messages without handing them out, and returns their size (RC-4).
    pub fn truncate(&mut self, count: u64) -> u64 {
        let count = count.min(self.left);
        let mut rest = self.clone();
        let (mut kept, mut last) = (0, 0);
        for item in rest.by_ref().take(usize::try_from(self.left - count).unwrap_or(usize::MAX)) {
            last = item.message.size() as u64;
            kept += last;
        }
        let taken = self.size - kept;
        (self.left, self.size, self.last_size) = (self.left - count, kept, last);
        taken
    }
}

impl Iterator for Batch {
    type Item = Item;

    #[inline]
    fn next(&mut self) -> Option<Item> {
        if self.left == 0 {
            return None;
        }
        let mut at = 0;
        loop {
            match *self.deliver.get(at)? {
                0x1a => {
                    at += 1;
                    let length = usize::try_from(varint::get(&self.deliver, &mut at)?).ok()?;
                    let fields = Fields::of(self.deliver.get(at..at + length)?).ok()?;
                    let headers = if fields.headers == 0 {
                        Headers::default()
                    } else {
                        fields.headers(&self.deliver.slice(at..at + length))
                    };
                    let payload = self.deliver.slice(at + fields.payload.start..at + fields.payload.end);
                    self.deliver.advance(at + length);
                    let number = self.next_number.wrapping_add_signed(fields.gap);
                    let item = Item {
                        id: self.next_id,
                        number,
                        attempt: fields.attempt.max(1),
                        tracked: fields.tracked,
                        message: Message::from_parts(payload, headers),
                    };
                    self.next_id += 1;
                    self.next_number = number + 1;
                    self.left -= 1;
                    self.size -= fields.size;
                    return Some(item);
                }
                0x08 | 0x10 => {
                    at += 1;
                    varint::get(&self.deliver, &mut at)?;
                }
                _ => skip_unknown(&self.deliver, &mut at, &[]).ok()?,
            }
        }
    }
}

/// The fields of one `Message`; the payload as a range of its octets.
struct Fields {
    payload: std::ops::Range<usize>,
    gap: i64,
    attempt: u32,
    tracked: bool,
    headers: usize,
    size: u64,
}

impl Fields {
    #[inline]
    fn of(octets: &[u8]) -> Result<Self, Unread> {
        let mut at = 1;
        // The usual message is a payload and nothing else.
        if octets.first() == Some(&0x2a) {
            let length = varint::get(octets, &mut at).ok_or("a payload's length does not end")?;
            if length == (octets.len() - at) as u64 {
                let payload = at..octets.len();
                return Ok(Self { payload, gap: 0, attempt: 0, tracked: false, headers: 0, size: length });
            }
        }
        Self::of_any(octets)
    }

    fn of_any(octets: &[u8]) -> Result<Self, Unread> {
        let mut all = Self { payload: 0..0, gap: 0, attempt: 0, tracked: false, headers: 0, size: 0 };
        let mut at = 0;
        while at < octets.len() {
            let key = octets[at];
            match key {
                0x0a => {
                    at += 1;
                    let header = delimited(octets, &mut at).ok_or("a header does not end")?;
                    let (name, value) = header_fields(header)?;
                    if name.is_empty() || name.len() > MAX_HEADER_NAME {
                        let detail = format!("a header name has {} octets, not 1 to 256", name.len());
                        return Err(Unread::Wrong(Violation::new(Code::Malformed, "DL-5", detail)));
                    }
                    all.headers += 1;
                    all.size += (name.len() + value.len()) as u64;
                }
                0x10 | 0x18 | 0x20 => {
                    at += 1;
                    let value = varint::get(octets, &mut at).ok_or("an integer does not end")?;
                    match key {
                        0x10 => all.gap = varint::unzigzag(value),
                        0x18 => all.attempt = value as u32,
                        _ => all.tracked = value != 0,
                    }
                }
                0x2a => {
                    at += 1;
                    let payload = delimited(octets, &mut at).ok_or("a payload does not end")?;
                    all.payload = at - payload.len()..at;
                }
                _ => skip_unknown(octets, &mut at, &[1, 2, 3, 4, 5])?,
            }
        }
        if all.headers > MAX_HEADERS {
            let detail = format!("a message has {} headers, more than {MAX_HEADERS}", all.headers);
            return Err(Unread::Wrong(Violation::new(Code::Malformed, "DL-5", detail)));
        }
        all.size += all.payload.len() as u64;
        Ok(all)
    }

    fn headers(&self, octets: &Bytes) -> Headers {
        let mut headers = Headers::default();
        let mut at = 0;
        while headers.len() < self.headers && at < octets.len() {
            if octets[at] != 0x0a {
                if skip_unknown(octets, &mut at, &[]).is_err() {
                    break;
                }
                continue;
            }
            at += 1;
            let Some(header) = delimited(octets, &mut at) else { break };
            if let Ok((name, value)) = header_fields(header) {
                headers.push(name.to_owned(), octets.slice_ref(value));
            }
        }
        headers
    }
}

fn header_fields(octets: &[u8]) -> Result<(&str, &[u8]), Unread> {
    let (mut name, mut value, mut at) = ("", &octets[..0], 0);
    while at < octets.len() {
        match octets[at] {
            0x0a => {
                at += 1;
                let text = delimited(octets, &mut at).ok_or("a header name does not end")?;
                name = std::str::from_utf8(text).map_err(|_| "a header name is not UTF-8")?;
            }
            0x12 => {
                at += 1;
                value = delimited(octets, &mut at).ok_or("a header value does not end")?;
            }
            _ => skip_unknown(octets, &mut at, &[1, 2])?,
        }
    }
    Ok((name, value))
}

fn delimited<'a>(octets: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let length = usize::try_from(varint::get(octets, at)?).ok()?;
    let end = at.checked_add(length)?;
    let part = octets.get(*at..end)?;
    *at = end;
    Some(part)
}

/// Passes over a field (GR-1), which must not be one of `known` with the wrong type.
fn skip_unknown(octets: &[u8], at: &mut usize, known: &[u64]) -> Result<(), Unread> {
    let key =
        varint::get(octets, at).filter(|key| *key <= u32::MAX.into()).ok_or("a field's key does not end")?;
    let number = key >> 3;
    if number == 0 {
        return Err("field number 0".into());
    }
    if known.contains(&number) {
        // A longer encoding of the key of a known field, or the wrong type: the generated code decides.
        return Err(Unread::Odd);
    }
    let skipped = match key & 7 {
        0 => varint::get(octets, at).map(|_| ()),
        1 => skip(octets, at, 8),
        2 => delimited(octets, at).map(|_| ()),
        3 | 4 => return Err(Unread::Odd),
        5 => skip(octets, at, 4),
        _ => None,
    };
    skipped.ok_or_else(|| "an unknown field does not end".into())
}

fn skip(octets: &[u8], at: &mut usize, count: usize) -> Option<()> {
    *at = at.checked_add(count).filter(|end| *end <= octets.len())?;
    Some(())
}
