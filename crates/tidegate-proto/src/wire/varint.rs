//! Protobuf's variable-length integers, for the hand-written codec of `Deliver`.

use bytes::{BufMut, BytesMut};

/// The number of bytes of `value`.
pub(super) const fn length(value: u64) -> usize {
    // One byte for each 7 bits, rounded up; 0 has one byte.
    ((64 - (value | 1).leading_zeros() as usize) * 9 + 64) / 64
}

/// Appends `value`.
pub(super) fn put(buf: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        buf.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    buf.put_u8(value as u8);
}

/// Writes `value` into `room` so that it ends at `end`, and returns its beginning. `room` must be large enough.
pub(super) fn put_before(room: &mut [u8], end: usize, mut value: u64) -> usize {
    let start = end - length(value);
    for byte in &mut room[start..end] {
        *byte = (value & 0x7f) as u8 | 0x80;
        value >>= 7;
    }
    room[end - 1] &= 0x7f;
    start
}

/// Encodes a signed integer as an unsigned one, small magnitudes first (`sint64`).
pub(super) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Decodes an integer that [`zigzag`] has encoded.
pub(super) const fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

/// Reads one integer at `*at`, and advances `at`. Returns `None` if the integer does not end, or has more than 64 bits.
#[inline]
pub(super) fn get(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let first = *bytes.get(*at)?;
    *at += 1;
    if first < 0x80 {
        return Some(u64::from(first));
    }
    let mut value = u64::from(first & 0x7f);
    let mut shift = 7;
    loop {
        let byte = *bytes.get(*at)?;
        *at += 1;
        if shift == 63 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
        shift += 7;
        if shift > 63 {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_survive_the_round_trip_and_have_the_computed_length() {
        let edges = (0..64).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit, (1 << bit) + 1]).chain([u64::MAX]);
        for value in edges {
            let mut buf = BytesMut::new();
            put(&mut buf, value);
            assert_eq!(buf.len(), length(value), "{value}");
            let mut at = 0;
            assert_eq!(get(&buf, &mut at), Some(value));
            assert_eq!(at, buf.len());
            let mut room = [0; 16];
            let start = put_before(&mut room, 16, value);
            assert_eq!(&room[start..], &buf[..]);
            assert_eq!(zigzag(unzigzag(value)), value);
        }
    }

    #[test]
    fn an_integer_that_does_not_end_is_refused() {
        assert_eq!(get(&[0x80; 9], &mut 0), None);
        assert_eq!(get(&[0xff; 11], &mut 0), None);
        assert_eq!(get(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], &mut 0), None);
        assert_eq!(get(&[], &mut 0), None);
    }
}
