//! Messages that no puller has: new ones, returned ones, ones that wait for a retry, and quarantined ones.

use std::collections::{BTreeMap, VecDeque};

use super::flight::Extra;
use crate::{message::Message, time::Time};

/// A message and its history.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pending {
    pub(super) number: u64,
    /// The attempt of its next delivery (DL-3).
    pub(super) attempt: u32,
    /// Lost links on which it was in flight. They do not count as failures (OC-11).
    pub(super) losses: u32,
    /// Those lost links whose pullers did not return (RD-4).
    pub(super) unreturned: u32,
    /// Deliveries by earlier processes that did not fail. They count neither as failures nor as losses (RD-11).
    pub(super) restored: u32,
    /// Its settle time-out has passed, so that a puller may have processed it (OC-12).
    pub(super) timed_out: bool,
    /// It was sent again to the puller that had it before, and is held for that puller until then (RD-8).
    pub(super) held_until: Option<Time>,
    pub(super) tracked: bool,
    pub(super) message: Message,
}

impl Pending {
    pub(super) fn fresh(number: u64, tracked: bool, message: Message) -> Self {
        Self {
            number,
            attempt: 1,
            losses: 0,
            unreturned: 0,
            restored: 0,
            timed_out: false,
            held_until: None,
            tracked,
            message,
        }
    }

    /// Whether it may be a poison message, and is sent alone (RD-4).
    pub(super) fn is_poison(&self) -> bool {
        self.unreturned >= 2
    }

    /// The part of its history that is kept while it is in flight.
    pub(super) fn extra(&self) -> Extra {
        let Self { losses, unreturned, restored, timed_out, tracked, .. } = *self;
        Extra { losses, unreturned, restored, timed_out, tracked, ..Extra::default() }
    }

    /// Attempts that failed, without lost links and restarts: what the limit on attempts counts (OC-11).
    pub(super) fn failures(&self) -> u32 {
        self.attempt.saturating_sub(self.losses).saturating_sub(self.restored)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Backlog {
    /// Never sent. The high-water mark counts these.
    fresh: VecDeque<Pending>,
    fresh_bytes: u64,
    /// To be sent again, by number, before new messages (RR-3).
    returned: BTreeMap<u64, Pending>,
    /// To be sent again after a delay (OC-6).
    delayed: BTreeMap<(Time, u64), Pending>,
    /// To be sent alone (RD-4).
    poison: BTreeMap<u64, Pending>,
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

    pub(super) fn fresh(&self) -> (usize, u64) {
        (self.fresh.len(), self.fresh_bytes)
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
