//! Amounts of messages.

use std::{
    iter::Sum,
    ops::{Add, AddAssign, Sub, SubAssign},
};

/// A number of messages, and a number of bytes (CR-4).
///
/// Windows, limits, credit and budgets count both, and a message needs both (CR-2). So `min`, `max` and the
/// subtractions apply to each part by itself. `+` and `-` overflow like those of integers.
///
/// ```
/// use tidegate_proto::Amount;
///
/// let window = Amount::new(4, 1_000);
/// let un_acked = Amount::new(1, 300) + Amount::new(1, 900);
/// assert_eq!(un_acked, Amount::new(2, 1_200));
/// assert_eq!(window.saturating_sub(un_acked), Amount::new(2, 0));
/// assert!(window.admits_message());
/// assert!(!window.saturating_sub(un_acked).admits_message());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Amount {
    /// The number of messages. For a limit, delivery ids below it may be used.
    pub messages: u64,
    /// The number of bytes.
    pub bytes: u64,
}

impl Amount {
    /// No messages and no bytes.
    pub const ZERO: Self = Self { messages: 0, bytes: 0 };
    /// More than any credit.
    pub const MAX: Self = Self { messages: u64::MAX, bytes: u64::MAX };

    /// An amount of `messages` messages and `bytes` bytes.
    #[inline]
    #[must_use]
    pub const fn new(messages: u64, bytes: u64) -> Self {
        Self { messages, bytes }
    }

    /// The smaller number of messages, and the smaller number of bytes.
    #[inline]
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self { messages: self.messages.min(other.messages), bytes: self.bytes.min(other.bytes) }
    }

    /// The larger number of messages, and the larger number of bytes.
    #[inline]
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self { messages: self.messages.max(other.messages), bytes: self.bytes.max(other.bytes) }
    }

    /// The sum. A part that would be above `u64::MAX` is `u64::MAX`.
    #[inline]
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        Self {
            messages: self.messages.saturating_add(other.messages),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    /// The difference. A part that would be below 0 is 0.
    #[inline]
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self {
            messages: self.messages.saturating_sub(other.messages),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }

    /// Whether credit of this amount admits a message: at least one message, and at least one byte (CR-2).
    #[inline]
    #[must_use]
    pub fn admits_message(self) -> bool {
        self.messages > 0 && self.bytes > 0
    }
}

impl Add for Amount {
    type Output = Self;

    #[inline]
    fn add(self, other: Self) -> Self {
        Self { messages: self.messages + other.messages, bytes: self.bytes + other.bytes }
    }
}

impl Sub for Amount {
    type Output = Self;

    #[inline]
    fn sub(self, other: Self) -> Self {
        Self { messages: self.messages - other.messages, bytes: self.bytes - other.bytes }
    }
}

impl AddAssign for Amount {
    #[inline]
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Amount {
    #[inline]
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::ZERO, Add::add)
    }
}
