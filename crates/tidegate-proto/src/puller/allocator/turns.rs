//! Links that wait for budget or credit, in the order in which they are served.

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
};

use crate::link_id::LinkId;

/// The number of links that are considered when budget or places become free, so that the cost does not depend on how
/// many links wait.
const MAX_LINKS_PER_TURN: usize = 16;

/// A link that was found goes to the end, so that a link that cannot be served, or whose driver is slow, does not block
/// others. If other links have taken what was free, it gets its earlier number back, so that it is not passed over
/// again and again.
#[derive(Clone, Debug, Default)]
pub(in crate::puller) struct Turns {
    next: u64,
    order: BTreeMap<u64, LinkId>,
    numbers: BTreeMap<LinkId, Number>,
}

#[derive(Clone, Copy, Debug)]
struct Number {
    now: u64,
    /// Its number before it was found.
    before: Option<u64>,
}

impl Turns {
    /// Adds a link, and returns whether it was not waiting before.
    pub(in crate::puller) fn insert(&mut self, link: LinkId) -> bool {
        let begins = !self.numbers.contains_key(&link);
        if begins {
            self.put_last(link, None);
        }
        begins
    }

    pub(in crate::puller) fn remove(&mut self, link: LinkId) {
        if let Some(number) = self.numbers.remove(&link) {
            self.order.remove(&number.now);
        }
    }

    fn put_last(&mut self, link: LinkId, before: Option<u64>) {
        self.remove(link);
        self.numbers.insert(link, Number { now: self.next, before });
        self.order.insert(self.next, link);
        self.next += 1;
    }

    pub(in crate::puller) fn len(&self) -> usize {
        self.order.len()
    }

    pub(in crate::puller) fn iter(&self) -> impl Iterator<Item = LinkId> + '_ {
        self.order.values().copied()
    }

    /// The links to consider now. Call [`Self::end_turn`] with the one that was found.
    pub(in crate::puller) fn turn(&self) -> impl Iterator<Item = LinkId> + '_ {
        self.iter().take(MAX_LINKS_PER_TURN)
    }

    /// Ends a turn. `found` is the link that was found, if any. The next turn begins with other links.
    pub(in crate::puller) fn end_turn(&mut self, found: Option<LinkId>) {
        if let Some(found) = found {
            let number = self.numbers.get(&found).map(|number| number.before.unwrap_or(number.now));
            self.put_last(found, number);
        } else if self.is_long() {
            let passed_over: Vec<_> = self.turn().collect();
            passed_over.into_iter().for_each(|link| self.put_last(link, None));
        }
    }

    /// The driver of a link has run. If the link was found before and was not `granted` anything, it gets its earlier
    /// number back.
    #[inline]
    pub(in crate::puller) fn served(&mut self, link: LinkId, granted: bool) {
        if let Some(number) = self.numbers.get_mut(&link)
            && let Some(before) = number.before.take()
            && !granted
        {
            self.order.remove(&std::mem::replace(&mut number.now, before));
            self.order.insert(before, link);
        }
    }

    /// Whether more links wait than are considered in one turn.
    pub(in crate::puller) fn is_long(&self) -> bool {
        self.len() > MAX_LINKS_PER_TURN
    }
}

// Only the order counts, not the numbers, which never repeat.
impl Hash for Turns {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.len().hash(state);
        self.order.values().for_each(|link| link.hash(state));
    }
}

impl PartialEq for Turns {
    fn eq(&self, other: &Self) -> bool {
        self.order.values().eq(other.order.values())
    }
}

impl Eq for Turns {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::link::Links;

    #[test]
    fn cr_9_every_link_that_waits_is_considered_even_if_many_cannot_be_served() {
        // CR-9
        let mut links = Links::default();
        let ids: Vec<_> = (0..100).map(|_| links.insert(())).collect();
        let mut turns = Turns::default();
        ids.iter().for_each(|id| assert!(turns.insert(*id)));
        assert!(!turns.insert(ids[0]), "it already waits");
        for can_be_served in [99, 0, 50, 49] {
            let rounds = (1..20).find(|_| {
                let found = turns.turn().find(|id| *id == ids[can_be_served]);
                turns.end_turn(found);
                found.is_some()
            });
            assert!(
                rounds.is_some_and(|rounds| rounds <= 100 / MAX_LINKS_PER_TURN + 1),
                "{can_be_served}: {rounds:?}"
            );
        }
        let mut served = BTreeSet::new();
        for _ in 0..100 {
            let found = turns.turn().next();
            turns.end_turn(found);
            served.extend(found);
        }
        assert_eq!(served.len(), 100, "each link is first once");
        ids[3..].iter().for_each(|id| turns.remove(*id));
        assert_eq!((turns.turn().count(), turns.is_long()), (3, false));
        turns.end_turn(Some(ids[0]));
        turns.end_turn(Some(ids[2]));
        assert_eq!(turns.iter().collect::<Vec<_>>(), [ids[1], ids[0], ids[2]]);
        turns.served(ids[0], true);
        turns.served(ids[2], false);
        turns.served(ids[2], false);
        assert_eq!(turns.iter().last(), Some(ids[0]), "the other link was found and not served");
    }
}
