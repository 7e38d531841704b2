//! The reconnect grace: messages that were in flight on a lost link are held for the puller to reconnect (RD-8).
//!
//! ```text
//! link lost ──► held batch ── the puller reconnects ──► attached to its new link ──► in flight
//!                   │                                           │
//!                   └─ grace over ──────────────────────────────┴──► returned, to any link
//! ```

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    Pending, Pusher,
    link::{Detached, PushLink},
};
use crate::{link::PeerKey, link_id::LinkId, time::Time};

/// The key of a held batch: the end of its grace, and a number.
pub(super) type HeldKey = (Time, u64);

/// Messages that were in flight on one lost link, and are held for its puller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct HeldBatch {
    puller: PeerKey,
    /// The new link of the puller, if it has reconnected.
    returned_on: Option<LinkId>,
    /// The time by which the grace is extended, once, when the puller reconnects; `None` afterwards.
    extension: Option<Duration>,
    pending: VecDeque<Pending>,
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
    fn attach(&mut self, puller: PeerKey, link: LinkId, now: Time) -> VecDeque<HeldKey> {
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
    fn detach(&mut self, held: VecDeque<HeldKey>) {
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
    fn pop_expired(&mut self, now: Time) -> Option<(HeldKey, HeldBatch)> {
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

impl Pusher {
    /// Requeues the un-acked messages of a lost link. If the puller may reconnect, those that it may have received are
    /// held for it (RD-8). All others are returned at once (RD-3).
    pub(super) fn requeue_unacked(&mut self, now: Time, detached: Detached) {
        let Detached { puller, may_return, held, un_acked: all } = detached;
        self.held_batches.detach(held);
        let grace = self.settings.grace;
        // A puller without a key cannot be recognized when it reconnects.
        let puller = puller.filter(|_| may_return);
        let may_return = puller.is_some();
        self.stats.returned += all.len() as u64;
        self.slow_start.count_lost(now, all.iter().map(|(pending, _)| pending.message.size()));
        let (mut waiting, mut waiting_on) = (VecDeque::new(), VecDeque::new());
        // Messages that were held for this puller, and not written to the lost link, stay held until their grace is
        // over.
        let mut until = Time(u64::MAX);
        for (pending, seen) in all {
            match pending.held_until {
                _ if seen && may_return && !grace.is_zero() => waiting.push_back(pending),
                Some(held_until) if may_return && !seen => {
                    until = until.min(held_until);
                    waiting_on.push_back(pending);
                }
                _ => self.requeue(now, pending, seen),
            }
        }
        if let Some(puller) = puller {
            self.held_batches.add(now + grace, Some(grace), puller, waiting);
            self.held_batches.add(until, None, puller, waiting_on);
            // The puller may already have another link.
            let here = |link: &PushLink| link.session.peer.key == Some(puller) && link.takes_held();
            let back = self.links.iter().find(|(_, link)| here(link)).map(|(id, _)| id);
            if let Some(id) = back {
                self.resume_held(now, id);
            }
        }
        self.pump();
    }

    /// Requeues one message (RD-3, RD-4). `dead`: the message was in flight, and its puller did not return.
    fn requeue(&mut self, now: Time, mut pending: Pending, dead: bool) {
        pending.unreturned = pending.unreturned.saturating_add(u32::from(dead));
        if dead && pending.is_poison() {
            let delay = self.retry_delay(pending.unreturned - 1, Duration::ZERO);
            self.backlog.push_delayed(now + delay, pending);
        } else {
            self.backlog.push_returned(pending);
        }
    }

    /// A link has opened: attaches the batches that are held for its puller, so that they are sent on it first.
    pub(super) fn resume_held(&mut self, now: Time, id: LinkId) {
        let Some(link) = self.links.get_mut(id).filter(|link| link.takes_held()) else { return };
        let Some(puller) = link.session.peer.key else { return };
        let mut held = self.held_batches.attach(puller, id, now);
        link.held.append(&mut held);
        self.refresh(id);
    }

    /// Requeues the batches whose grace is over, for any puller.
    pub(super) fn expire_held(&mut self, now: Time) {
        while let Some((key, batch)) = self.held_batches.pop_expired(now) {
            if let Some(link) = batch.returned_on.and_then(|id| self.links.get_mut(id)) {
                link.held.retain(|held| *held != key);
            }
            for pending in batch.pending {
                // Without a loss, it was in flight when the pusher itself restarted, which is no loss (RD-11).
                let dead = batch.returned_on.is_none() && pending.losses > 0;
                self.requeue(now, pending, dead);
            }
            if let Some(id) = batch.returned_on {
                self.refresh(id);
            }
        }
    }
}
