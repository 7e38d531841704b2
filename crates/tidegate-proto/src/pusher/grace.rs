//! Messages that were in flight on lost links, and wait for their pullers to come back (RD-8).
//!
//! ```text
//! link lost ──► lot ── the puller is back: its new link owes it ──► in flight
//!                │                                  │ grace over
//!                └─ grace over: the puller counts as dead ─► returned, to any link
//! ```

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    Pending, Pusher,
    link::{Parting, PushLink},
};
use crate::{identity::PeerKey, links::LinkId, time::Time};

/// Names a lot: when waiting for it is over, and a number.
pub(super) type LotKey = (Time, u64);

/// What was in flight on one lost link.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Lot {
    puller: PeerKey,
    /// The link over which the puller has come back.
    back: Option<LinkId>,
    /// It had come back before, so that the grace was given a second time: not a third.
    extended: bool,
    pending: VecDeque<Pending>,
}

/// All lots. Each holds at least one message, so that there are no more of them than messages may be held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Absent {
    lots: BTreeMap<LotKey, Lot>,
    next: u64,
    messages: usize,
}

impl Absent {
    pub(super) fn len(&self) -> usize {
        self.messages
    }

    /// When waiting for the next lot is over.
    pub(super) fn next_over(&self) -> Option<Time> {
        self.lots.first_key_value().map(|((until, _), _)| *until)
    }

    fn insert(&mut self, until: Time, lot: Lot) -> LotKey {
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
        self.insert(until, Lot { puller, back: None, extended, pending });
    }

    /// A puller is back: its lots now belong to this link, for so long once more.
    fn attach(&mut self, puller: PeerKey, link: LinkId, until: Time) -> VecDeque<LotKey> {
        let waits = |lot: &Lot| lot.puller == puller && lot.back.is_none();
        let keys: Vec<_> = self.lots.iter().filter(|(_, lot)| waits(lot)).map(|(key, _)| *key).collect();
        let mut owed = VecDeque::new();
        for key in keys {
            let Some(lot) = self.lots.remove(&key) else { continue };
            let until = if lot.extended { key.0 } else { until };
            owed.push_back(self.insert(until, Lot { back: Some(link), extended: true, ..lot }));
        }
        owed
    }

    /// The link that had come back is lost too.
    fn detach(&mut self, owed: VecDeque<LotKey>) {
        for key in owed {
            if let Some(lot) = self.lots.get_mut(&key) {
                lot.back = None;
            }
        }
    }

    /// What [`Self::pop`] would give.
    pub(super) fn front(&self, key: LotKey) -> Option<&Pending> {
        self.lots.get(&key)?.pending.front()
    }

    /// The next message of a lot.
    pub(super) fn pop(&mut self, key: LotKey) -> Option<Pending> {
        let lot = self.lots.get_mut(&key)?;
        let pending = lot.pending.pop_front();
        self.messages -= usize::from(pending.is_some());
        if lot.pending.is_empty() {
            self.lots.remove(&key);
        }
        pending
    }

    /// A lot for which waiting is over.
    fn pop_over(&mut self, now: Time) -> Option<(LotKey, Lot)> {
        let entry = self.lots.first_entry().filter(|entry| entry.key().0 <= now)?;
        let (key, lot) = entry.remove_entry();
        self.messages -= lot.pending.len();
        Some((key, lot))
    }

    /// Everything.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Pending> {
        std::mem::take(self).lots.into_values().flat_map(|lot| lot.pending)
    }
}

impl Pusher {
    /// What was un-acked on a link waits for its puller, if that may come back; what it cannot have seen, and all else,
    /// goes back at once (RD-3, RD-8).
    pub(super) fn part_with(&mut self, now: Time, parting: Parting) {
        let Parting { puller, may_return, owed, un_acked: all } = parting;
        self.absent.detach(owed);
        let grace = self.settings.grace;
        // Nobody can come back who is not known again.
        let puller = puller.filter(|_| may_return && !grace.is_zero());
        let may_return = puller.is_some();
        self.stats.returned += all.len() as u64;
        self.losses.count(now, all.iter().map(|(pending, _)| pending));
        let (mut waiting, mut waiting_on) = (VecDeque::new(), VecDeque::new());
        // What it had before is still its own although this link has not brought it: for as long as it was.
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
            // It may be here already, over another link.
            let here = |link: &PushLink| link.session.peer.key == Some(puller) && link.takes_owed();
            let back = self.links.iter().find(|(_, link)| here(link)).map(|(id, _)| id);
            if let Some(id) = back {
                self.welcome_back(now, id);
            }
        }
        self.pump();
    }

    /// RD-3, RD-4. `dead`: the message was in flight, and its puller is gone for good.
    fn put_back(&mut self, now: Time, mut pending: Pending, dead: bool) {
        pending.deaths = pending.deaths.saturating_add(u32::from(dead));
        if dead && pending.is_suspect() {
            let delay = self.retry_delay(pending.deaths - 1, Duration::ZERO);
            self.backlog.push_delayed(now + delay, pending);
        } else {
            self.backlog.push_returned(pending);
        }
    }

    /// A link has opened: what its puller had on a lost one goes to it, before anything else.
    pub(super) fn welcome_back(&mut self, now: Time, id: LinkId) {
        let until = now + self.settings.grace;
        let Some(link) = self.links.get_mut(id).filter(|link| link.takes_owed()) else { return };
        let Some(puller) = link.session.peer.key else { return };
        let mut owed = self.absent.attach(puller, id, until);
        link.owed.append(&mut owed);
        self.refresh(id);
    }

    /// Grace is over for some: they go to whoever is next.
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
