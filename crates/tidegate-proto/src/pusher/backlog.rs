//! Messages that no puller has: new ones, returned ones, ones that wait for a retry, and quarantined ones.

use std::collections::{BTreeMap, VecDeque};

use super::pending::Pending;
use crate::{amount::Amount, message_number::MessageNumber, time::Time};

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Backlog {
    /// Never sent. The high-water mark counts these.
    fresh: VecDeque<Pending>,
    fresh_bytes: u64,
    /// To be sent again, by number, before new messages (RR-3).
    returned: BTreeMap<MessageNumber, Pending>,
    /// To be sent again after a delay (OC-6).
    delayed: BTreeMap<(Time, MessageNumber), Pending>,
    /// To be sent alone (RD-4).
    poison: BTreeMap<MessageNumber, Pending>,
}

impl Backlog {
    pub(super) fn push_fresh(&mut self, pending: Pending) {
        self.fresh_bytes += pending.message.size() as u64;
        self.fresh.push_back(pending);
    }

    /// Puts a message back to the front, in the order of numbers (RD-3).
    pub(super) fn push_returned(&mut self, pending: Pending) {
        let to = if pending.is_poison() { &mut self.poison } else { &mut self.returned };
        to.insert(pending.number, pending);
    }

    pub(super) fn push_delayed(&mut self, until: Time, pending: Pending) {
        self.delayed.insert((until, pending.number), pending);
    }

    /// Takes the next message that may go to any link.
    pub(super) fn pop(&mut self) -> Option<Pending> {
        if let Some((_, pending)) = self.returned.pop_first() {
            return Some(pending);
        }
        let pending = self.fresh.pop_front()?;
        self.fresh_bytes -= pending.message.size() as u64;
        Some(pending)
    }

    /// Takes the next message that is sent alone.
    pub(super) fn pop_poison(&mut self) -> Option<Pending> {
        self.poison.pop_first().map(|(_, pending)| pending)
    }

    pub(super) fn has_poison(&self) -> bool {
        !self.poison.is_empty()
    }

    /// Moves delayed messages whose delay is over to the front.
    pub(super) fn requeue_due(&mut self, now: Time) {
        while let Some(entry) = self.delayed.first_entry().filter(|entry| entry.key().0 <= now) {
            let pending = entry.remove();
            self.push_returned(pending);
        }
    }

    pub(super) fn next_delayed(&self) -> Option<Time> {
        self.delayed.first_key_value().map(|((until, _), _)| *until)
    }

    /// Whether no message waits that may go to any link.
    pub(super) fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.returned.is_empty()
    }

    /// The messages that were never sent.
    #[inline]
    pub(super) fn fresh(&self) -> Amount {
        Amount::new(self.fresh.len() as u64, self.fresh_bytes)
    }

    pub(super) fn delayed(&self) -> usize {
        self.delayed.len()
    }

    pub(super) fn len(&self) -> usize {
        self.fresh.len() + self.returned.len() + self.delayed.len() + self.poison.len()
    }

    /// Takes all messages, in the order of numbers.
    pub(super) fn take_all(&mut self) -> Vec<Pending> {
        let Self { fresh, returned, delayed, poison, .. } = std::mem::take(self);
        let again = returned.into_values().chain(delayed.into_values()).chain(poison.into_values());
        let mut all: Vec<_> = fresh.into_iter().chain(again).collect();
        all.sort_unstable_by_key(|pending| pending.number);
        all
    }
}
