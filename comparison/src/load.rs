//! The payloads: each message has memory of its own, and content that the receiver checks.

use anyhow::{Result, ensure};
use bytes::Bytes;

/// Larger than the CPU's caches.
const RING: usize = 64 << 20;
const WORD: usize = 8;

/// A ring of payloads.
pub struct Ring {
    bytes: Bytes,
    size: usize,
    slots: usize,
    next: usize,
}

impl Ring {
    /// Payloads of `size` bytes, which must be a multiple of 8.
    pub fn new(size: usize) -> Self {
        let slots = (RING / size).max(1);
        let words = slots * size / WORD;
        let bytes: Vec<u8> = (0..words).flat_map(|n| word(n).to_le_bytes()).collect();
        Self { bytes: bytes.into(), size, slots, next: 0 }
    }

    /// The next payload.
    pub fn payload(&mut self) -> Bytes {
        let at = self.next * self.size;
        self.next = (self.next + 1) % self.slots;
        self.bytes.slice(at..at + self.size)
    }

    /// The next payload, borrowed.
    pub fn slice(&mut self) -> &[u8] {
        let at = self.next * self.size;
        self.next = (self.next + 1) % self.slots;
        &self.bytes[at..at + self.size]
    }

    /// The memory of the whole ring.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Checks received payloads: length, first word and last word.
pub struct Check {
    size: usize,
    slots: usize,
    next: usize,
}

impl Check {
    pub fn new(size: usize) -> Self {
        Self { size, slots: (RING / size).max(1), next: 0 }
    }

    /// # Errors
    /// The payload is not the one that comes next.
    pub fn next(&mut self, payload: &[u8]) -> Result<()> {
        let words = self.size / WORD;
        let first = self.next * words;
        self.next = (self.next + 1) % self.slots;
        let at = |index: usize| {
            payload.get(index * WORD..).and_then(<[u8]>::first_chunk).map(|w| u64::from_le_bytes(*w))
        };
        let holds = payload.len() == self.size
            && at(0) == Some(word(first))
            && at(words - 1) == Some(word(first + words - 1));
        ensure!(holds, "a received message differs from the message sent");
        Ok(())
    }
}

fn word(n: usize) -> u64 {
    (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The time from the first message after the warm-up to the last one.
pub struct Clock {
    received: u64,
    count: u64,
    began: Option<std::time::Instant>,
}

impl Clock {
    pub fn new(count: u64) -> Self {
        Self { received: 0, count, began: None }
    }

    /// Counts one message. Returns the messages per second at the last one.
    #[inline]
    pub fn tick(&mut self) -> Option<f64> {
        self.received += 1;
        if self.received == self.count / 10 + 1 {
            self.began = Some(std::time::Instant::now());
        }
        let began = self.began.filter(|_| self.received == self.count)?;
        let measured = self.count - self.count / 10 - 1;
        Some(measured as f64 / began.elapsed().as_secs_f64())
    }
}
