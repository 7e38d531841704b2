//! The ids of links.

/// Identifies a link of one machine. The id of a closed link is not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId {
    pub(crate) index: u32,
    pub(crate) epoch: u32,
}

impl LinkId {
    /// The id as one number, for logs and statistics.
    #[must_use]
    pub fn as_u64(self) -> u64 {
        u64::from(self.epoch) << 32 | u64::from(self.index)
    }
}
