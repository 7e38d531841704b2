//! The memory that batches with un-acked deliveries keep (LM-5). A delivery is a slice of the buffer into which its
//! batch was read, so that one small delivery keeps the whole buffer. If batches keep too much, deliveries are copied
//! out of them.

use std::{
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// The size of a read buffer. A frame may keep all of it, unless it is smaller than 1/8 of it: then the reader has
/// copied it.
const READ_BUFFER: usize = 256 * 1_024;
const MAX_BUFFER_FACTOR: usize = 8;
/// The minimum of the bound: with a small budget, less is not worth the copies.
const MIN_BOUND: u64 = 1 << 20;

/// The sum over all batches of a puller.
///
/// It describes memory, not the state of the protocol. So it takes no part in comparisons of machines.
#[derive(Clone, Debug)]
pub(super) struct RetainedBytes {
    bytes: Arc<AtomicU64>,
    bound: u64,
}

/// The memory of one batch, counted while any delivery refers to it.
#[derive(Debug, Default)]
pub(super) struct RetainedShare {
    of: Option<(Arc<AtomicU64>, u64)>,
}

impl RetainedBytes {
    /// Batches may keep up to half of the byte budget.
    pub(super) fn new(budget_bytes: u64) -> Self {
        Self { bytes: Arc::default(), bound: (budget_bytes / 2).max(MIN_BOUND) }
    }

    /// Whether another batch of `length` bytes is within the bound.
    pub(super) fn has_room(&self, length: usize) -> bool {
        self.bytes.load(Ordering::Relaxed) + retained_by(length) <= self.bound
    }

    /// Counts a batch of `length` bytes.
    pub(super) fn share(&self, length: usize) -> RetainedShare {
        let bytes = retained_by(length);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        RetainedShare { of: Some((self.bytes.clone(), bytes)) }
    }
}

/// The most memory that a batch of `length` bytes keeps.
fn retained_by(length: usize) -> u64 {
    length.max((length * MAX_BUFFER_FACTOR).min(READ_BUFFER)) as u64
}

impl Drop for RetainedShare {
    fn drop(&mut self) {
        if let Some((all, bytes)) = &self.of {
            all.fetch_sub(*bytes, Ordering::Relaxed);
        }
    }
}

impl PartialEq for RetainedBytes {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for RetainedBytes {}

impl Hash for RetainedBytes {
    fn hash<S: Hasher>(&self, _: &mut S) {}
}

impl PartialEq for RetainedShare {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for RetainedShare {}

impl Hash for RetainedShare {
    fn hash<S: Hasher>(&self, _: &mut S) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lm_5_a_batch_counts_until_it_is_dropped_with_the_buffer_that_it_may_keep() {
        // LM-5
        let retained = RetainedBytes::new(4 << 20);
        let large = retained.share(1 << 20);
        assert!(retained.has_room(1 << 20) && !retained.has_room((1 << 20) + 1));
        let small: Vec<_> = (0..4).map(|_| retained.share(40_000)).collect();
        assert!(!retained.has_room(1));
        drop(small);
        drop(large);
        assert!(retained.has_room(2 << 20));
        assert_eq!(
            (retained_by(100), retained_by(32_768), retained_by(200_000), retained_by(300_000)),
            (800, 262_144, 262_144, 300_000)
        );
    }
}
