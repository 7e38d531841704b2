//! The fields of one message, and of the headers in it.

use bytes::Bytes;

use crate::{
    message::Headers,
    violation::{Code, Violation},
    wire::{MAX_HEADER_NAME, MAX_HEADERS, varint},
};

/// Why the fast path does not read something.
pub(super) enum Unread {
    /// A group: legal, and so rare that the generated code shall read it.
    Odd,
    Wrong(Violation),
}

impl From<&'static str> for Unread {
    fn from(detail: &'static str) -> Self {
        Self::Wrong(Violation::malformed(detail))
    }
}

/// The fields of one `Message`; the payload as a range of its octets.
pub(super) struct Fields {
    pub(super) payload: std::ops::Range<usize>,
    pub(super) gap: i64,
    pub(super) attempt: u32,
    pub(super) tracked: bool,
    headers: usize,
    pub(super) size: u64,
}

impl Fields {
    #[inline]
    pub(super) fn of(octets: &[u8]) -> Result<Self, Unread> {
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

    #[cold]
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

    pub(super) fn headers(&self, octets: &Bytes) -> Headers {
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

pub(super) fn delimited<'a>(octets: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let length = usize::try_from(varint::get(octets, at)?).ok()?;
    let end = at.checked_add(length)?;
    let part = octets.get(*at..end)?;
    *at = end;
    Some(part)
}

/// Passes over a field (GR-1), which must not be one of `known` with the wrong type.
pub(super) fn skip_unknown(octets: &[u8], at: &mut usize, known: &[u64]) -> Result<(), Unread> {
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
