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
use crate::{identity::PeerKey, links::LinkId, time::Time};

/// The key of a held batch: the end of its grace, and a number.
pub(super) type HeldKey = (Time, u64);

/// Messages that were in flight on one lost link, and are held for its puller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct HeldBatch {
    puller: PeerKey,
    /// The new link of the puller, if it has reconnected.
    back: Option<LinkId>,
    /// The grace was extended once because the puller has reconnected. It is not extended again.
    extended: bool,
    pending: VecDeque<Pending>,
}

/// All held batches. Each has at least one message, so that `max_held` also bounds their number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct HeldBatches {
    lots: BTreeMap<HeldKey, HeldBatch>,
    next: u64,
    messages: usize,
}

impl HeldBatches {
    pub(super) fn len(&self) -> usize {
        self.messages
    }

    /// The next end of a grace.
    pub(super) fn next_over(&self) -> Option<Time> {
        self.lots.first_key_value().map(|((until, _), _)| *until)
    }

    fn insert(&mut self, until: Time, lot: HeldBatch) -> HeldKey {
        let key = (until, self.next);
        self.next += 1;
        self.lots.insert(key, lot);
        key
    }

    fn add(&mut self, until: Time, extended: bool, puller: PeerKey, pending: VecDeque<Pending>) {
        if pending.is_empty() {
            return;
        }
        self.messages += pending.len();
        self.insert(until, HeldBatch { puller, back: None, extended, pending });
    }

    /// A puller has reconnected: attaches its batches to its new link, and extends their grace to `until`, once.
    fn attach(&mut self, puller: PeerKey, link: LinkId, until: Time) -> VecDeque<HeldKey> {
        let waits = |lot: &HeldBatch| lot.puller == puller && lot.back.is_none();
        let keys: Vec<_> = self.lots.iter().filter(|(_, lot)| waits(lot)).map(|(key, _)| *key).collect();
        let mut owed = VecDeque::new();
        for key in keys {
            let Some(lot) = self.lots.remove(&key) else { continue };
            let until = if lot.extended { key.0 } else { until };
            owed.push_back(self.insert(until, HeldBatch { back: Some(link), extended: true, ..lot }));
        }
        owed
    }

    /// The new link of a puller was lost too.
    fn detach(&mut self, owed: VecDeque<HeldKey>) {
        for key in owed {
            if let Some(lot) = self.lots.get_mut(&key) {
                lot.back = None;
            }
        }
    }

    /// The next message of a batch, without taking it.
    pub(super) fn front(&self, key: HeldKey) -> Option<&Pending> {
        self.lots.get(&key)?.pending.front()
    }

    /// Takes the next message of a batch.
    pub(super) fn pop(&mut self, key: HeldKey) -> Option<Pending> {
        let lot = self.lots.get_mut(&key)?;
        let pending = lot.pending.pop_front();
        self.messages -= usize::from(pending.is_some());
        if lot.pending.is_empty() {
            self.lots.remove(&key);
        }
        pending
    }

    /// Takes a batch whose grace is over.
    fn pop_over(&mut self, now: Time) -> Option<(HeldKey, HeldBatch)> {
        let entry = self.lots.first_entry().filter(|entry| entry.key().0 <= now)?;
        let (key, lot) = entry.remove_entry();
        self.messages -= lot.pending.len();
        Some((key, lot))
    }

    /// Takes all messages.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Pending> {
        std::mem::take(self).lots.into_values().flat_map(|lot| lot.pending)
    }
}

impl Pusher {
    /// Requeues the un-acked messages of a lost link. If the puller may reconnect, those that it may have received are
    /// held for it (RD-8). All others are returned at once (RD-3).
    pub(super) fn part_with(&mut self, now: Time, parting: Detached) {
        let Detached { puller, may_return, owed, un_acked: all } = parting;
        self.absent.detach(owed);
        let grace = self.settings.grace;
        // A puller without a key cannot be recognized when it reconnects.
        let puller = puller.filter(|_| may_return && !grace.is_zero());
        let may_return = puller.is_some();
        self.stats.returned += all.len() as u64;
        self.losses.count(now, all.iter().map(|(pending, _)| pending));
        let (mut waiting, mut waiting_on) = (VecDeque::new(), VecDeque::new());
        // Messages that were held for this puller, and not written to the lost link, stay held until their grace is
        // over.
        let mut until = now + grace;
        for (pending, seen) in all {
            match pending.owed {
                _ if seen && may_return => waiting.push_back(pending),
                Some(owed_until) if may_return => {
                    until = until.min(owed_until);
                    waiting_on.push_back(pending);
                }
                _ => self.put_back(now, pending, seen),
            }
        }
        if let Some(puller) = puller {
            self.absent.add(now + grace, false, puller, waiting);
            self.absent.add(until, true, puller, waiting_on);
            // The puller may already have another link.
            let here = |link: &PushLink| link.session.peer.key == Some(puller) && link.takes_owed();
            let back = self.links.iter().find(|(_, link)| here(link)).map(|(id, _)| id);
            if let Some(id) = back {
                self.welcome_back(now, id);
            }
        }
        self.pump();
    }

    /// Requeues one message (RD-3, RD-4). `dead`: the message was in flight, and its puller did not return.
    fn put_back(&mut self, now: Time, mut pending: Pending, dead: bool) {
        pending.deaths = pending.deaths.saturating_add(u32::from(dead));
        if dead && pending.is_suspect() {
            let delay = self.retry_delay(pending.deaths - 1, Duration::ZERO);
            self.backlog.push_delayed(now + delay, pending);
        } else {
            self.backlog.push_returned(pending);
        }
    }

    /// A link has opened: attaches the batches that are held for its puller, so that they are sent on it first.
    pub(super) fn welcome_back(&mut self, now: Time, id: LinkId) {
        let until = now + self.settings.grace;
        let Some(link) = self.links.get_mut(id).filter(|link| link.takes_owed()) else { return };
        let Some(puller) = link.session.peer.key else { return };
        let mut owed = self.absent.attach(puller, id, until);
        link.owed.append(&mut owed);
        self.refresh(id);
    }

    /// Requeues the batches whose grace is over, for any puller.
    pub(super) fn give_up_absent(&mut self, now: Time) {
        while let Some((key, lot)) = self.absent.pop_over(now) {
            if let Some(link) = lot.back.and_then(|id| self.links.get_mut(id)) {
                link.owed.retain(|owed| *owed != key);
            }
            for pending in lot.pending {
                self.put_back(now, pending, lot.back.is_none());
            }
            if let Some(id) = lot.back {
                self.refresh(id);
            }
        }
    }
}
