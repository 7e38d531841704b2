//! The payloads of a measurement: separate memory for each message, and content that can be checked without a
//! copy.

use bytes::Bytes;

/// Size of the memory that the payloads are taken from in turn, in bytes: larger than the CPU's caches.
const RING: usize = 64 << 20;
/// Content is generated and checked in words of 8 bytes.
const WORD: usize = 8;

/// The contents of the messages, in order.
#[derive(Clone, Debug)]
pub struct Pattern {
    size: usize,
    /// The distance between payloads: the size, rounded up to whole words.
    stride: usize,
    /// Number of payloads before they repeat.
    slots: usize,
    next: usize,
}

impl Pattern {
    /// Messages of `size` bytes, at least 1.
    #[must_use]
    pub fn new(size: usize) -> Self {
        Self::within(size, RING)
    }

    fn within(size: usize, memory: usize) -> Self {
        let stride = size.max(1).next_multiple_of(WORD);
        Self { size, stride, slots: (memory / stride).max(1), next: 0 }
    }

    /// The offset of the next payload.
    fn advance(&mut self) -> usize {
        let at = self.next * self.stride;
        self.next = if self.next + 1 == self.slots { 0 } else { self.next + 1 };
        at
    }

    /// Whether `payload` is the next one, by its length, its first word and its last whole word.
    pub fn check(&mut self, payload: &[u8]) -> bool {
        let at = self.advance();
        let last = (self.size / WORD).saturating_sub(1) * WORD;
        let holds = |from: usize| {
            let word = word((at + from) / WORD);
            payload.get(from..).is_some_and(|rest| rest.iter().zip(word).take(WORD).all(|(a, b)| *a == b))
        };
        payload.len() == self.size && holds(0) && holds(last)
    }

    /// Whether `payload` is any of them: its length is right, and its last whole word matches its first one.
    #[must_use]
    pub fn check_any(&self, payload: &[u8]) -> bool {
        let Some(first) = payload.first_chunk::<WORD>() else { return payload.len() == self.size };
        let at = number(*first) * WORD;
        let last = (self.size / WORD - 1) * WORD;
        let rest = payload.get(last..).and_then(<[u8]>::first_chunk::<WORD>);
        payload.len() == self.size
            && at.is_multiple_of(self.stride)
            && at / self.stride < self.slots
            && rest == Some(&word((at + last) / WORD))
    }
}

/// The payloads.
#[derive(Clone, Debug)]
pub struct Ring {
    bytes: Bytes,
    pattern: Pattern,
}

impl Ring {
    /// Payloads of `size` bytes.
    #[must_use]
    pub fn new(size: usize) -> Self {
        Self::of(Pattern::new(size))
    }

    fn of(pattern: Pattern) -> Self {
        let words = pattern.slots * pattern.stride / WORD;
        let bytes: Vec<u8> = (0..words).flat_map(word).collect();
        Self { bytes: bytes.into(), pattern }
    }

    /// The next payload.
    pub fn payload(&mut self) -> Bytes {
        let at = self.pattern.advance();
        self.bytes.slice(at..at + self.pattern.size)
    }

    /// The next payload, borrowed.
    pub fn slice(&mut self) -> &[u8] {
        let at = self.pattern.advance();
        self.bytes.get(at..at + self.pattern.size).unwrap_or_default()
    }

    /// The whole memory.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The content of word `n`: all words of the ring are different.
fn word(n: usize) -> [u8; WORD] {
    (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()
}

/// The index of a word in the ring; a large number if it is not in the ring.
fn number(word: [u8; WORD]) -> usize {
    // The inverse of the multiplier in `word`, modulo 2^64.
    let n = u64::from_le_bytes(word).wrapping_mul(0xf1de_83e1_9937_733d).wrapping_sub(1);
    usize::try_from(n.min(u64::MAX >> 8)).unwrap_or(usize::MAX >> 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_payload_passes_its_check_in_every_round() {
        const MEMORY: usize = 1 << 16;
        for size in [1, 7, 8, 9, 64, 1000, MEMORY / 2, MEMORY - 3, MEMORY + 3] {
            let mut pattern = Pattern::within(size, MEMORY);
            let mut ring = Ring::of(pattern.clone());
            for _ in 0..ring.pattern.slots + 2 {
                let payload = ring.payload();
                assert_eq!(payload.len(), size);
                assert!(pattern.check(&payload), "{size}");
            }
        }
    }

    #[test]
    fn any_payload_of_the_ring_passes_and_no_other() {
        for size in [1, 8, 9, 64, 1000] {
            let mut ring = Ring::of(Pattern::within(size, 1 << 14));
            let pattern = Pattern::within(size, 1 << 14);
            for _ in 0..40 {
                let payload = ring.payload();
                assert!(pattern.check_any(&payload), "{size}");
                if size >= 8 {
                    let mut changed = payload.to_vec();
                    changed[7] ^= 0x40;
                    assert!(!pattern.check_any(&changed), "{size}");
                }
            }
            assert!(!pattern.check_any(&vec![0; size + 1]));
        }
    }

    #[test]
    fn another_payload_does_not_pass() {
        let mut ring = Ring::of(Pattern::within(64, 1 << 10));
        let (first, second) = (ring.payload(), ring.payload());
        assert_ne!(first.as_ptr(), second.as_ptr());
        assert!(!Pattern::new(64).check(&second));
        assert!(!Pattern::new(64).check(&first[..63]));
        let mut changed = first.to_vec();
        changed[60] ^= 1;
        assert!(!Pattern::new(64).check(&changed));
        assert!(Pattern::new(64).check(&first));
    }
}
