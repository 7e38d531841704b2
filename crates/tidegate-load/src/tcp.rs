//! The reference: a plain TCP stream of the same bytes.

use serde::{Deserialize, Serialize};

/// The bytes of each write and of each read. Which pair is the fastest depends on the kernel and on the size of the
/// messages, so each pair of [`Self::grid`] is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Chunks {
    /// The bytes of each write.
    pub write: usize,
    /// The bytes of each read. A reader that empties the socket with each read sleeps after it, so larger reads can be
    /// slower.
    pub read: usize,
}

impl Chunks {
    /// The pairs that are tried.
    pub fn grid() -> impl Iterator<Item = Self> {
        let reads = |write| [16 << 10, 32 << 10, 64 << 10].map(|read| Self { write, read });
        [256 << 10, 1 << 20].into_iter().flat_map(reads)
    }
}

impl Default for Chunks {
    fn default() -> Self {
        Self { write: 256 << 10, read: 64 << 10 }
    }
}
