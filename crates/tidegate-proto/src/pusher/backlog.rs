//! Messages that no puller has: new ones, returned ones, ones that wait to be retried, and suspects.

use std::collections::{BTreeMap, VecDeque};

use super::flight::Extra;
use crate::{message::Message, time::Time};

/// A message and its history.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pending {
    pub(super) number: u64,
    /// The attempt that its next delivery will be (DL-3).
    pub(super) attempt: u32,
    /// Lost links on which it was in flight: not counted as failures (OC-11).
    pub(super) losses: u32,
    /// Those of them whose pullers did not come back (RD-4).
    pub(super) deaths: u32,
    /// A puller took too long over it, and may have processed it all the same (OC-12).
    pub(super) timed_out: bool,
    /// It was on its way to the puller that had had it before, which has until then (RD-8).
    pub(super) owed: Option<Time>,
    pub(super) tracked: bool,
    pub(super) message: Message,
}

impl Pending {
    pub(super) fn fresh(number: u64, tracked: bool, message: Message) -> Self {
        Self { number, attempt: 1, losses: 0, deaths: 0, timed_out: false, owed: None, tracked, message }
    }

    /// Whether it has to go out alone (RD-4).
    pub(super) fn is_suspect(&self) -> bool {
        self.deaths >= 2
    }

    /// What goes with it into flight.
    pub(super) fn extra(&self) -> Extra {
        let Self { losses, deaths, timed_out, tracked, .. } = *self;
        Extra { losses, deaths, timed_out, tracked, ..Extra::default() }
    }

    /// Attempts that failed and were not lost links: what a limit on attempts counts (OC-11).
    pub(super) fn failures(&self) -> u32 {
        self.attempt.saturating_sub(self.losses)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Backlog {
    /// Never sent: what the high-water mark counts.
    fresh: VecDeque<Pending>,
    fresh_bytes: u64,
    /// To be sent again, by number: they go first (RR-3).
    returned: BTreeMap<u64, Pending>,
    /// To be sent again later (OC-6).
    delayed: BTreeMap<(Time, u64), Pending>,
    /// To be sent alone (RD-4).
    suspects: BTreeMap<u64, Pending>,
}

impl Backlog {
    pub(super) fn push_fresh(&mut self, pending: Pending) {
        self.fresh_bytes += pending.message.size() as u64;
        self.fresh.push_back(pending);
    }

    /// Back to the front, in the order of numbers (RD-3).
    pub(super) fn push_returned(&mut self, pending: Pending) {
        let to = if pending.is_suspect() { &mut self.suspects } else { &mut self.returned };
        to.insert(pending.number, pending);
    }

    pub(super) fn push_delayed(&mut self, until: Time, pending: Pending) {
        self.delayed.insert((until, pending.number), pending);
    }

    /// The next one that may go to any link.
    pub(super) fn pop(&mut self) -> Option<Pending> {
        if let Some((_, pending)) = self.returned.pop_first() {
            return Some(pending);
        }
        let pending = self.fresh.pop_front()?;
        self.fresh_bytes -= pending.message.size() as u64;
        Some(pending)
    }

    /// The next one that must go alone.
    pub(super) fn pop_suspect(&mut self) -> Option<Pending> {
        self.suspects.pop_first().map(|(_, pending)| pending)
    }

    pub(super) fn has_suspects(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// Moves what is due to the front.
    pub(super) fn wake_delayed(&mut self, now: Time) {
        while let Some(entry) = self.delayed.first_entry().filter(|entry| entry.key().0 <= now) {
            let pending = entry.remove();
            self.push_returned(pending);
        }
    }

    pub(super) fn next_delayed(&self) -> Option<Time> {
        self.delayed.first_key_value().map(|((until, _), _)| *until)
    }

    /// Whether nothing waits that could go to any link.
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
        self.fresh.len() + self.returned.len() + self.delayed.len() + self.suspects.len()
    }

    /// Everything, in the order of numbers.
    pub(super) fn take_all(&mut self) -> Vec<Pending> {
        let Self { fresh, returned, delayed, suspects, .. } = std::mem::take(self);
        let again = returned.into_values().chain(delayed.into_values()).chain(suspects.into_values());
        let mut all: Vec<_> = fresh.into_iter().chain(again).collect();
        all.sort_unstable_by_key(|pending| pending.number);
        all
    }
}
