//! Words: how an ack reaches the core without a lock.
//!
//! A page has a word for each delivery of a batch. The delivery stores its ack there, and the socket collects it later.
//!
//! ```text
//! OPEN ──(the delivery: ack)──► size + 2 ──(the socket, under the lane's lock: collect)──► COLLECTED
//!   └──────────(any other outcome, under the lane's lock)───────────────────────────────────▲
//! ```
//! A word has one writer at any time, so that plain stores suffice: first the delivery, as its last access, then the
//! socket. Words are used again when every word that was handed out is COLLECTED.
//!
//! `tests/tests/loom.rs` compiles this file with the types of loom, and checks every order of these accesses.

use super::atomic::{AtomicBool, AtomicU32, Ordering};

const OPEN: u32 = 0;
const COLLECTED: u32 = 1;
/// A word of an acked delivery is its size plus this. Sizes are below 2^31, the limit of a frame.
const ACKED: u32 = 2;

pub(super) struct Words {
    words: Box<[AtomicU32]>,
    /// Acks are to be collected at once: nothing else may collect them soon.
    attention: AtomicBool,
}

/// What a word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WordState {
    Open,
    Collected,
    /// Acked and not collected, with the size of the delivery.
    Acked(u32),
}

impl Words {
    pub(super) fn new(count: usize) -> Self {
        let words = (0..count).map(|_| AtomicU32::new(OPEN)).collect();
        Self { words, attention: AtomicBool::new(false) }
    }

    pub(super) fn len(&self) -> usize {
        self.words.len()
    }

    /// The ack of a delivery: its last access to its word. Returns whether it should be collected at once.
    #[inline]
    pub(super) fn ack(&self, index: u32, size: u32) -> bool {
        if let Some(word) = self.words.get(index as usize) {
            // Release: what the application did before the ack happens before the collection.
            word.store(size.saturating_add(ACKED), Ordering::Release);
        }
        // If this misses a flag that is set at the same time, the watch collects the ack. The page may be in use again,
        // for other deliveries: then the ack was collected, and a flag that is set now causes one more collection.
        self.attention.load(Ordering::Relaxed)
    }

    /// Makes later acks be collected at once.
    pub(super) fn attend(&self) {
        self.attention.store(true, Ordering::Relaxed);
    }

    /// Marks a word as settled, under the lane's lock: collected now, or settled in another way than by an ack.
    pub(super) fn collect(&self, index: u32) {
        if let Some(word) = self.words.get(index as usize) {
            word.store(COLLECTED, Ordering::Relaxed);
        }
    }

    /// Reads a word, under the lane's lock.
    #[inline]
    pub(super) fn state(&self, index: u32) -> WordState {
        match self.words.get(index as usize).map_or(COLLECTED, |word| word.load(Ordering::Acquire)) {
            OPEN => WordState::Open,
            COLLECTED => WordState::Collected,
            acked => WordState::Acked(acked - ACKED),
        }
    }

    /// Opens the first `used` words again. Returns false, and does nothing, if one of them is not collected: then a
    /// delivery still refers to it.
    pub(super) fn reopen(&self, used: u32) -> bool {
        let used = self.words.iter().take(used as usize);
        if used.clone().any(|word| word.load(Ordering::Relaxed) != COLLECTED) {
            return false;
        }
        used.for_each(|word| word.store(OPEN, Ordering::Relaxed));
        self.attention.store(false, Ordering::Relaxed);
        true
    }
}
