//! What the batches keep in memory of which something is un-acked (LM-5). A delivery lies where it was read, so that a small one
//! which takes long keeps all that was read with it; when that becomes much, deliveries are copied out of their batches.

use std::{
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// A buffer that is read into; a small frame may be the only one in it that is still needed, but not one below an eighth.
const READ: usize = 256 * 1_024;
const PART: usize = 8;
/// With a small budget it is not worth the copies below this.
const LEAST: u64 = 1 << 20;

/// The sum over all batches of a puller.
///
/// It tells about memory, not about the protocol: two machines in the same state are equal whatever it is.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    bytes: Arc<AtomicU64>,
    bound: u64,
}

/// The part of one batch, as long as anything refers to it.
#[derive(Debug, Default)]
pub(super) struct Share {
    of: Option<(Arc<AtomicU64>, u64)>,
}

impl Kept {
    /// Half of the budget may be kept by what is settled. The other half, and as much again, is for what is not.
    pub(super) fn new(budget_bytes: u64) -> Self {
        Self { bytes: Arc::default(), bound: (budget_bytes / 2).max(LEAST) }
    }

    /// Whether another batch of so many bytes may be kept by any of its messages.
    pub(super) fn has_room(&self, length: usize) -> bool {
        self.bytes.load(Ordering::Relaxed) + keeps(length) <= self.bound
    }

    /// Counts a batch of so many bytes.
    pub(super) fn share(&self, length: usize) -> Share {
        let bytes = keeps(length);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Share { of: Some((self.bytes.clone(), bytes)) }
    }
}

/// What a batch of so many bytes keeps at most.
fn keeps(length: usize) -> u64 {
    length.max((length * PART).min(READ)) as u64
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some((all, bytes)) = &self.of {
            all.fetch_sub(*bytes, Ordering::Relaxed);
        }
    }
}

impl PartialEq for Kept {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Kept {}

impl Hash for Kept {
    fn hash<S: Hasher>(&self, _: &mut S) {}
}

impl PartialEq for Share {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Share {}

impl Hash for Share {
    fn hash<S: Hasher>(&self, _: &mut S) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lm_5_a_batch_counts_until_it_is_gone_and_a_small_one_as_the_buffer_that_it_may_keep() {
        // LM-5
        let kept = Kept::new(4 << 20);
        let large = kept.share(1 << 20);
        assert!(kept.has_room(1 << 20) && !kept.has_room((1 << 20) + 1));
        let small: Vec<_> = (0..4).map(|_| kept.share(40_000)).collect();
        assert!(!kept.has_room(1));
        drop(small);
        drop(large);
        assert!(kept.has_room(2 << 20));
        assert_eq!(
            (keeps(100), keeps(32_768), keeps(200_000), keeps(300_000)),
            (800, 262_144, 262_144, 300_000)
        );
    }
}
