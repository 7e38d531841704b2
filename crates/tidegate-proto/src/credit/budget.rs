//! The budget of a puller, for all its links together.

use super::Granting;
use crate::amount::Amount;

/// The budget of a puller: what its pushers together can make it hold (CR-9).
///
/// ```text
/// committed = unused credit + un-acked deliveries, of all links
/// left      = limit - committed, or 0
/// ```
/// This is always so, because only the methods of [`Granting`] change what is committed. A grant of at most
/// [`Self::left_for`] never raises it above the limit. Two things can: a minimum grant, by one message and one byte
/// (CR-6), and the last message within a byte limit, by its excess (CR-2).
///
/// ```
/// use tidegate_proto::{
///     Amount,
///     credit::{Budget, Granting},
/// };
/// # fn main() -> Result<(), tidegate_proto::Violation> {
/// let mut budget = Budget::new(Amount::new(100, 4_000));
/// let (mut one, mut other) = (Granting::default(), Granting::default());
/// // Each of two links may have three quarters of the budget.
/// let left = budget.left_for(&one, 2);
/// assert_eq!(left, Amount::new(75, 3_000));
/// one.raise(&mut budget, left);
/// // The last quarter is reserved for links below their equal share.
/// assert_eq!(budget.left_for(&one, 2), Amount::ZERO);
/// let left = budget.left_for(&other, 2);
/// assert_eq!(left, Amount::new(25, 1_000));
/// other.raise(&mut budget, left);
/// assert_eq!(budget.left(), Amount::ZERO);
/// // Ten deliveries use credit, but they are committed until they are settled.
/// one.accept(&mut budget, 0, Amount::new(10, 500), 50)?;
/// assert_eq!(budget.left(), Amount::ZERO);
/// one.settle(&mut budget, Amount::new(10, 500));
/// assert_eq!(budget.left(), Amount::new(10, 500));
/// // A lost link frees all that it had.
/// one.end(&mut budget);
/// assert_eq!(budget.committed(), other.outstanding());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    limit: Amount,
    committed: Amount,
}

impl Budget {
    /// A budget of `limit` for all links of a puller.
    #[must_use]
    pub fn new(limit: Amount) -> Self {
        Self { limit, committed: Amount::ZERO }
    }

    /// The budget, however much of it is committed.
    #[must_use]
    pub fn limit(&self) -> Amount {
        self.limit
    }

    /// Unused credit and un-acked deliveries of all links.
    #[must_use]
    pub fn committed(&self) -> Amount {
        self.committed
    }

    /// The part of the budget that is not committed.
    #[must_use]
    pub fn left(&self) -> Amount {
        self.limit.saturating_sub(self.committed)
    }

    /// The part of the budget that one of `links` links may still be granted. A quarter of the budget is reserved for
    /// links below their equal share (CR-9).
    #[must_use]
    pub fn left_for(&self, link: &Granting, links: usize) -> Amount {
        let (Self { limit, committed }, held) = (self, link.outstanding());
        let links = (links as u64).max(1);
        Amount {
            messages: budget_left(limit.messages, committed.messages, held.messages, links),
            bytes: budget_left(limit.bytes, committed.bytes, held.bytes, links),
        }
    }

    /// Credit is granted, or a message has exceeded its byte limit.
    #[inline]
    pub(super) fn commit(&mut self, amount: Amount) {
        self.committed += amount;
    }

    /// Deliveries are settled, or credit is given up.
    #[inline]
    pub(super) fn free(&mut self, amount: Amount) {
        self.committed -= amount;
    }
}

/// The part of a budget, in messages or in bytes, that a link may still be granted. The link has `held` of it, and all
/// links together `committed`.
fn budget_left(budget: u64, committed: u64, held: u64, links: u64) -> u64 {
    let equal = (budget / links).max(1);
    let open = (budget - budget / 4).saturating_sub(committed);
    budget.saturating_sub(committed).min(equal.saturating_sub(held).max(open))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cr_9_a_quarter_of_a_budget_is_reserved_for_links_below_their_equal_share() {
        // CR-9
        assert_eq!(budget_left(100, 0, 0, 1), 100, "a single link gets all of it");
        assert_eq!(budget_left(100, 60, 60, 2), 15, "three quarters are open to all");
        assert_eq!(budget_left(100, 80, 80, 2), 0);
        assert_eq!(budget_left(100, 75, 0, 2), 25, "the last quarter is for links with little");
        assert_eq!(budget_left(100, 80, 10, 5), 10, "up to an equal share");
        assert_eq!(
            (budget_left(1, 0, 0, 7), budget_left(3, 2, 0, 7)),
            (1, 1),
            "small budgets can be spent completely"
        );
    }
}
