//! The fields of one message, and of the headers in it.

use bytes::Bytes;

use crate::{
    message::Headers,
    rule::Rule,
    violation::{Code, Violation},
    wire::{MAX_HEADER_NAME, MAX_HEADERS, varint},
};

/// The maximum nesting of groups in a message of each kind, as in the generated code.
pub(in crate::wire) const MAX_FRAME_DEPTH: u32 = 100;
pub(in crate::wire) const MAX_DELIVER_DEPTH: u32 = MAX_FRAME_DEPTH - 1;
const MAX_MESSAGE_DEPTH: u32 = MAX_DELIVER_DEPTH - 1;
const MAX_HEADER_DEPTH: u32 = MAX_MESSAGE_DEPTH - 1;

/// The fields of one `Message`; the payload as a range of its bytes.
pub(super) struct Fields {
    pub(super) payload: std::ops::Range<usize>,
    pub(super) gap: i64,
    pub(super) attempt: u32,
    pub(super) tracked: bool,
    pub(super) headers: usize,
    pub(super) size: u64,
}

impl Fields {
    #[inline]
    pub(super) fn of(bytes: &[u8]) -> Result<Self, Violation> {
        let mut at = 1;
        // A message is usually only a payload.
        if bytes.first() == Some(&0x2a)
            && let Some(length) = varint::get(bytes, &mut at)
            && length == (bytes.len() - at) as u64
        {
            let payload = at..bytes.len();
            return Ok(Self { payload, gap: 0, attempt: 0, tracked: false, headers: 0, size: length });
        }
        Self::of_any(bytes)
    }

    #[cold]
    fn of_any(bytes: &[u8]) -> Result<Self, Violation> {
        let mut all = Self { payload: 0..0, gap: 0, attempt: 0, tracked: false, headers: 0, size: 0 };
        let mut at = 0;
        while at < bytes.len() {
            // If several pullers take turns, most messages have a gap and a payload.
            match bytes[at] {
                0x10 => {
                    at += 1;
                    let gap = varint::get(bytes, &mut at);
                    all.gap =
                        varint::unzigzag(gap.ok_or_else(|| Violation::malformed("a gap does not end"))?);
                    continue;
                }
                0x2a => {
                    at += 1;
                    let payload = delimited(bytes, &mut at);
                    let payload = payload.ok_or_else(|| Violation::malformed("a payload does not end"))?;
                    all.payload = at - payload.len()..at;
                    continue;
                }
                _ => {}
            }
            match field(bytes, &mut at, MAX_MESSAGE_DEPTH)? {
                (1, Content::Bytes(header)) => {
                    let (name, value) = header_fields(header)?;
                    if name.is_empty() || name.len() > MAX_HEADER_NAME {
                        let detail = format!("a header name has {} bytes; it must have 1 to 256", name.len());
                        return Err(Violation::new(Code::Malformed, Rule::Dl5, detail));
                    }
                    all.headers += 1;
                    all.size += (name.len() + value.len()) as u64;
                }
                (2, Content::Integer(value)) => all.gap = varint::unzigzag(value),
                (3, Content::Integer(value)) => all.attempt = value as u32,
                (4, Content::Integer(value)) => all.tracked = value != 0,
                (5, Content::Bytes(payload)) => all.payload = at - payload.len()..at,
                (1..=5, _) => return Err(wrong_type()),
                _ => {}
            }
        }
        if all.headers > MAX_HEADERS {
            let detail = format!("a message has {} headers; the maximum is {MAX_HEADERS}", all.headers);
            return Err(Violation::new(Code::Malformed, Rule::Dl5, detail));
        }
        all.size += all.payload.len() as u64;
        Ok(all)
    }

    pub(super) fn headers(&self, bytes: &Bytes) -> Headers {
        let mut headers = Headers::default();
        let mut at = 0;
        while headers.len() < self.headers && at < bytes.len() {
            match field(bytes, &mut at, MAX_MESSAGE_DEPTH) {
                Ok((1, Content::Bytes(header))) => {
                    if let Ok((name, value)) = header_fields(header) {
                        headers.push(name.to_owned(), bytes.slice_ref(value));
                    }
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        headers
    }
}

fn header_fields(bytes: &[u8]) -> Result<(&str, &[u8]), Violation> {
    let (mut name, mut value, mut at) = ("", &bytes[..0], 0);
    while at < bytes.len() {
        match field(bytes, &mut at, MAX_HEADER_DEPTH)? {
            (1, Content::Bytes(text)) => {
                name = std::str::from_utf8(text)
                    .map_err(|_| Violation::malformed("a header name is not UTF-8"))?;
            }
            (2, Content::Bytes(bytes)) => value = bytes,
            (1 | 2, _) => return Err(wrong_type()),
            _ => {}
        }
    }
    Ok((name, value))
}

/// The content of a field. Contents that version 1 does not use are [`Content::Other`].
pub(in crate::wire) enum Content<'a> {
    Integer(u64),
    Bytes(&'a [u8]),
    Other,
}

/// Reads a field at `at` in any legal encoding, and advances `at`. Returns the number and the content of the field. It
/// allocates nothing.
#[inline]
pub(in crate::wire) fn field<'a>(
    bytes: &'a [u8],
    at: &mut usize,
    depth: u32,
) -> Result<(u64, Content<'a>), Violation> {
    read_field(bytes, at, depth).ok_or_else(|| Violation::malformed("a field does not end, or is not valid"))
}

#[cold]
pub(in crate::wire) fn wrong_type() -> Violation {
    Violation::malformed("a known field has the wrong type")
}

fn read_field<'a>(bytes: &'a [u8], at: &mut usize, depth: u32) -> Option<(u64, Content<'a>)> {
    let key = varint::get(bytes, at).filter(|key| *key <= u32::MAX.into())?;
    let number = key >> 3;
    if number == 0 || depth == 0 {
        return None;
    }
    let content = match key & 7 {
        0 => Content::Integer(varint::get(bytes, at)?),
        1 => skip(bytes, at, 8)?,
        2 => Content::Bytes(delimited(bytes, at)?),
        3 => group(bytes, at, number, depth)?,
        5 => skip(bytes, at, 4)?,
        _ => return None, // the end of a group that has not begun, or an invalid wire type
    };
    Some((number, content))
}

pub(super) fn delimited<'a>(bytes: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let length = usize::try_from(varint::get(bytes, at)?).ok()?;
    let end = at.checked_add(length)?;
    let part = bytes.get(*at..end)?;
    *at = end;
    Some(part)
}

fn skip(bytes: &[u8], at: &mut usize, count: usize) -> Option<Content<'static>> {
    *at = at.checked_add(count).filter(|end| *end <= bytes.len())?;
    Some(Content::Other)
}

/// Skips a group, which must end with the number with which it began.
fn group(bytes: &[u8], at: &mut usize, number: u64, depth: u32) -> Option<Content<'static>> {
    loop {
        let start = *at;
        let key = varint::get(bytes, at)?;
        if key & 7 == 4 {
            return (key >> 3 == number).then_some(Content::Other);
        }
        *at = start;
        read_field(bytes, at, depth - 1)?;
    }
}
