//! The numbers of messages.

/// The number of a message among those of its pusher: it is the same at each attempt (DL-2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MessageNumber(u64);

impl MessageNumber {
    pub(crate) const MIN: Self = Self(0);
    pub(crate) const MAX: Self = Self(u64::MAX);

    #[inline]
    pub(crate) const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number, as frames and the types of the API contain it.
    #[inline]
    pub(crate) const fn get(self) -> u64 {
        self.0
    }
}
