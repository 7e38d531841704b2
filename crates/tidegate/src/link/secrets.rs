//! The secrets by which an acceptor recognizes this side when it connects again (HS-9).

use tidegate_proto::{Random, Resume};

/// Source of the `resume` secrets of an endpoint that is connected to (HS-9): the system, or a seed.
pub(crate) struct Secrets(Option<Random>);

impl Secrets {
    /// Draws from `random`, or from the system.
    pub(crate) fn new(random: Option<Random>) -> Self {
        Self(random)
    }

    /// Fills `bytes` from `random`.
    pub(crate) fn fill(bytes: &mut [u8; 16], random: &mut Random) {
        for part in bytes.chunks_exact_mut(8) {
            part.copy_from_slice(&random.next_u64().to_be_bytes());
        }
    }

    /// Returns a new secret, or `None` if the system has no random numbers. Without a secret, a new link
    /// never replaces an old one.
    pub(crate) fn draw(&mut self) -> Option<Resume> {
        let mut bytes = [0; 16];
        match &mut self.0 {
            Some(random) => Self::fill(&mut bytes, random),
            None => getrandom::fill(&mut bytes).ok()?,
        }
        Some(Resume::new(bytes))
    }
}
