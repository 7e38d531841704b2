//! Bytes that are counted while they exist, to see what a machine keeps.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;

struct Counted {
    bytes: Bytes,
    alive: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// The same bytes. `alive` counts them until the last part of them is dropped.
#[must_use]
pub fn counted(bytes: Bytes, alive: &Arc<AtomicUsize>) -> Bytes {
    alive.fetch_add(bytes.len(), Ordering::Relaxed);
    Bytes::from_owner(Counted { bytes, alive: alive.clone() })
}
