//! Deliveries that their puller says it is working on (OC-13). A sign of work that comes again costs no more than finding its
//! delivery: a puller may give as many as it likes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::time::Time;

/// Those of one link, by delivery id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Working {
    signs: BTreeMap<u64, Sign>,
    /// By [`Sign::queued_at`].
    queue: BTreeSet<(Time, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Sign {
    /// When the last one came.
    at: Time,
    /// The same when the delivery was put where it is in the queue. It is moved when its time seems to be up.
    queued_at: Time,
}

impl Working {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.signs.len()
    }

    pub(super) fn has(&self, id: u64) -> bool {
        self.signs.contains_key(&id)
    }

    /// A sign of work has come.
    pub(super) fn sign(&mut self, id: u64, at: Time) {
        let queue = &mut self.queue;
        let first = || {
            queue.insert((at, id));
            Sign { at, queued_at: at }
        };
        self.signs.entry(id).or_insert_with(first).at = at;
    }

    /// The delivery has its outcome.
    pub(super) fn forget(&mut self, id: u64) {
        if let Some(sign) = self.signs.remove(&id) {
            self.queue.remove(&(sign.queued_at, id));
        }
    }

    /// The last sign of none of them is older.
    pub(super) fn oldest(&self) -> Option<Time> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Those without a sign for so long.
    pub(super) fn overdue(&mut self, now: Time, timeout: Duration) -> Vec<u64> {
        let mut ids = Vec::new();
        let mut moved = Vec::new();
        for (_, id) in self.queue.iter().take_while(|(at, _)| *at + timeout <= now) {
            match self.signs.get_mut(id) {
                Some(sign) if sign.at + timeout > now => {
                    moved.push((std::mem::replace(&mut sign.queued_at, sign.at), *id));
                }
                _ => ids.push(*id),
            }
        }
        for (before, id) in moved {
            self.queue.remove(&(before, id));
            self.queue.extend(self.signs.get(&id).map(|sign| (sign.queued_at, id)));
        }
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oc_13_a_sign_of_work_that_comes_again_moves_nothing_and_counts_all_the_same() {
        // OC-13, LM-3
        let second = Duration::from_secs(1);
        let start = Time(5_000_000);
        let mut working = Working::default();
        working.sign(7, start);
        let queue = working.queue.clone();
        (1..10).for_each(|n| working.sign(7, start + n * second));
        assert_eq!(working.queue, queue);
        assert_eq!(working.overdue(start + 10 * second, 10 * second), []);
        assert_eq!(working.oldest(), Some(start + 9 * second));
        assert_eq!(working.overdue(start + 19 * second, 10 * second), [7]);
        working.forget(7);
        assert_eq!(working, Working::default());
    }
}
