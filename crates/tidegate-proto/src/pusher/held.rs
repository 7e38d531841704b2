//! The held batches: messages that wait for the puller of a lost link, until their grace is over (RD-8).

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::Pending;
use crate::{link::PeerKey, link_id::LinkId, time::Time};

/// The key of a held batch: the end of its grace, and a number.
pub(super) type HeldKey = (Time, u64);

/// Messages that were in flight on one lost link, and are held for its puller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct HeldBatch {
    puller: PeerKey,
    /// The new link of the puller, if it has reconnected.
    pub(super) returned_on: Option<LinkId>,
    /// The time by which the grace is extended, once, when the puller reconnects; `None` afterwards.
    extension: Option<Duration>,
    pub(super) pending: VecDeque<Pending>,
}

/// All held batches. Each has at least one message, so that `max_held` also bounds their number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct HeldBatches {
    batches: BTreeMap<HeldKey, HeldBatch>,
    next: u64,
    messages: usize,
}

impl HeldBatches {
    pub(super) fn len(&self) -> usize {
        self.messages
    }

    /// The next end of a grace.
    pub(super) fn next_expiry(&self) -> Option<Time> {
        self.batches.first_key_value().map(|((until, _), _)| *until)
    }

    fn insert(&mut self, until: Time, batch: HeldBatch) -> HeldKey {
        let key = (until, self.next);
        self.next += 1;
        self.batches.insert(key, batch);
        key
    }

    pub(super) fn add(
        &mut self,
        until: Time,
        extension: Option<Duration>,
        puller: PeerKey,
        pending: VecDeque<Pending>,
    ) {
        if pending.is_empty() {
            return;
        }
        self.messages += pending.len();
        self.insert(until, HeldBatch { puller, returned_on: None, extension, pending });
    }

    /// A puller has reconnected: attaches its batches to its new link, and extends their grace, once.
    pub(super) fn attach(&mut self, puller: PeerKey, link: LinkId, now: Time) -> VecDeque<HeldKey> {
        let waits = |batch: &HeldBatch| batch.puller == puller && batch.returned_on.is_none();
        let keys: Vec<_> =
            self.batches.iter().filter(|(_, batch)| waits(batch)).map(|(key, _)| *key).collect();
        let mut held = VecDeque::new();
        for key in keys {
            let Some(batch) = self.batches.remove(&key) else { continue };
            let until = batch.extension.map_or(key.0, |extension| now + extension);
            held.push_back(
                self.insert(until, HeldBatch { returned_on: Some(link), extension: None, ..batch }),
            );
        }
        held
    }

    /// The new link of a puller was lost too.
    pub(super) fn detach(&mut self, held: VecDeque<HeldKey>) {
        for key in held {
            if let Some(batch) = self.batches.get_mut(&key) {
                batch.returned_on = None;
            }
        }
    }

    /// The next message of a batch, without taking it.
    pub(super) fn front(&self, key: HeldKey) -> Option<&Pending> {
        self.batches.get(&key)?.pending.front()
    }

    /// Takes the next message of a batch.
    pub(super) fn pop(&mut self, key: HeldKey) -> Option<Pending> {
        let batch = self.batches.get_mut(&key)?;
        let pending = batch.pending.pop_front();
        self.messages -= usize::from(pending.is_some());
        if batch.pending.is_empty() {
            self.batches.remove(&key);
        }
        pending
    }

    /// Takes a batch whose grace is over.
    pub(super) fn pop_expired(&mut self, now: Time) -> Option<(HeldKey, HeldBatch)> {
        let entry = self.batches.first_entry().filter(|entry| entry.key().0 <= now)?;
        let (key, batch) = entry.remove_entry();
        self.messages -= batch.pending.len();
        Some((key, batch))
    }

    /// Takes all messages.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Pending> {
        std::mem::take(self).batches.into_values().flat_map(|batch| batch.pending)
    }
}
