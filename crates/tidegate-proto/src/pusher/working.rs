//! Deliveries that `Working` has named (OC-13). A repeated sign of work costs one lookup, however many there are.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{delivery_id::DeliveryId, time::Time};

/// The deliveries of one link that are being worked on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Working {
    signs: BTreeMap<DeliveryId, Sign>,
    /// By [`Sign::queued_at`].
    queue: BTreeSet<(Time, DeliveryId)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Sign {
    /// The time of the last sign of work.
    at: Time,
    /// The time under which the delivery is in the queue. The queue is updated only when that time is overdue.
    queued_at: Time,
}

impl Working {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.signs.len()
    }

    pub(super) fn has(&self, id: DeliveryId) -> bool {
        self.signs.contains_key(&id)
    }

    /// A sign of work has arrived.
    pub(super) fn sign(&mut self, id: DeliveryId, at: Time) {
        let queue = &mut self.queue;
        let first = || {
            queue.insert((at, id));
            Sign { at, queued_at: at }
        };
        self.signs.entry(id).or_insert_with(first).at = at;
    }

    /// The delivery is settled.
    pub(super) fn forget(&mut self, id: DeliveryId) {
        if let Some(sign) = self.signs.remove(&id) {
            self.queue.remove(&(sign.queued_at, id));
        }
    }

    /// A time that no delivery's last sign of work is older than.
    pub(super) fn oldest(&self) -> Option<Time> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// The deliveries without a sign of work for `timeout`.
    pub(super) fn overdue(&mut self, now: Time, timeout: Duration) -> Vec<DeliveryId> {
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
    fn oc_13_a_repeated_sign_of_work_counts_without_moving_the_queue() {
        // OC-13, LM-3
        let second = Duration::from_secs(1);
        let start = Time(5_000_000);
        let mut working = Working::default();
        let id = DeliveryId::new(7);
        working.sign(id, start);
        let queue = working.queue.clone();
        (1..10).for_each(|n| working.sign(id, start + n * second));
        assert_eq!(working.queue, queue);
        assert_eq!(working.overdue(start + 10 * second, 10 * second), []);
        assert_eq!(working.oldest(), Some(start + 9 * second));
        assert_eq!(working.overdue(start + 19 * second, 10 * second), [id]);
        working.forget(id);
        assert_eq!(working, Working::default());
    }
}
