//! The ids of deliveries.

use std::{
    fmt,
    ops::{Add, Sub},
};

use crate::v1;

/// The id of a delivery on its link: 0 for the first one, then 1, and so on (DL-1). Each attempt of a message is a
/// delivery of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct DeliveryId(u64);

/// Deliveries of one link with consecutive ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct DeliveryRange {
    pub(crate) first: DeliveryId,
    /// The id after the last one.
    pub(crate) end: DeliveryId,
}

impl DeliveryId {
    #[inline]
    pub(crate) const fn new(id: u64) -> Self {
        Self(id)
    }

    /// The id, as frames contain it.
    #[inline]
    pub(crate) const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Add<u64> for DeliveryId {
    type Output = Self;

    #[inline]
    fn add(self, deliveries: u64) -> Self {
        Self(self.0 + deliveries)
    }
}

impl Sub for DeliveryId {
    type Output = u64;

    /// The number of deliveries from `first` to before this one.
    #[inline]
    fn sub(self, first: Self) -> u64 {
        self.0 - first.0
    }
}

impl DeliveryRange {
    /// The `count` deliveries from `first` on.
    #[inline]
    pub(crate) fn new(first: DeliveryId, count: u64) -> Self {
        Self { first, end: first + count }
    }

    /// The deliveries of an outcome that was checked (OC-10).
    pub(crate) fn of(outcome: &v1::Outcome) -> Self {
        Self::new(DeliveryId(outcome.first), outcome.count)
    }

    #[inline]
    pub(crate) fn count(self) -> u64 {
        self.end - self.first
    }

    pub(crate) fn is_empty(self) -> bool {
        self.first >= self.end
    }

    pub(crate) fn contains(self, id: DeliveryId) -> bool {
        (self.first..self.end).contains(&id)
    }

    pub(crate) fn ids(self) -> impl Iterator<Item = DeliveryId> {
        (self.first.0..self.end.0).map(DeliveryId)
    }

    /// Joins a range that follows this one, or precedes it. Returns false if it does neither.
    #[inline]
    pub(crate) fn join(&mut self, other: Self) -> bool {
        if self.end == other.first {
            self.end = other.end;
        } else if other.end == self.first {
            self.first = other.first;
        } else {
            return false;
        }
        true
    }
}
