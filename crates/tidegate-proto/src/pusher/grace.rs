//! The reconnect grace: messages that were in flight on a lost link are held for the puller to reconnect (RD-8).
//!
//! ```text
//! link lost ──► held batch ── the puller reconnects ──► attached to its new link ──► in flight
//!                   │                                           │
//!                   └─ grace over ──────────────────────────────┴──► returned, to any link
//! ```

use std::{collections::VecDeque, time::Duration};

use super::{
    Pending, Pusher,
    link::{Detached, PushLink},
};
use crate::{link_id::LinkId, time::Time};

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
