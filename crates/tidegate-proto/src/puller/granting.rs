//! Who gets how much credit, and when some is asked back (CR-5 … CR-9, RC-1 … RC-4).

use std::time::Duration;

use super::{
    Puller,
    link::{Leaving, Recall},
    wake,
};
use crate::{links::LinkId, time::Time};

/// How long a waiting `recv` may have been served before the credit that it caused is asked back: a quick worker
/// waits again at once, and would only pay for the recall. A window of 0 does not wait (CR-7).
const SECOND_THOUGHTS: Duration = Duration::from_millis(5);

impl<H: Clone + Default> Puller<H> {
    /// Each link's part of the budget changes with the number of links (CR-9).
    pub(super) fn share_out(&mut self) {
        let window = self.settings.window.targets();
        let links = (self.links.len() as u64).max(1);
        let messages = window.0.min(self.settings.budget / links);
        // Octets without messages are of no use, and the other way round.
        let bytes = window.1.min(self.settings.budget_bytes / links).max(u64::from(messages > 0));
        let before = std::mem::replace(&mut self.base, if messages > 0 { (messages, bytes) } else { (0, 0) });
        if self.base.0 > before.0 || self.base.1 > before.1 {
            for id in self.links.ids() {
                self.want_grant(id);
            }
        } else if self.base != before {
            self.recall_surplus();
        }
    }

    pub(super) fn want_grant(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(id) {
            link.grant_due = true;
            wake(&mut self.wakes, id, link);
        }
    }

    /// Links without unused credit get a chance, now that a `recv` waits (CR-6).
    pub(super) fn feed_dry(&mut self) {
        for id in std::mem::take(&mut self.dry) {
            self.want_grant(id);
        }
    }

    /// The `recv` that caused credit beyond windows has what it wanted (CR-7).
    pub(super) fn wake_floored(&mut self) {
        for id in self.links.ids() {
            if let Some(link) = self.links.get_mut(id).filter(|link| link.floored) {
                wake(&mut self.wakes, id, link);
            }
        }
    }

    /// Raises the limits of a link as far as window, budget and a waiting `recv` allow (CR-5, CR-6, CR-9), without
    /// being asked (CR-10).
    pub(super) fn raise(&mut self, id: LinkId) {
        let (budget, budget_bytes) = (self.settings.budget, self.settings.budget_bytes);
        let Some(link) = self.links.get_mut(id) else { return };
        if link.recall != Recall::No || link.leaving != Leaving::No || link.ended {
            // RC-2. It is not fed before the Skip, which asks for a grant of its own.
            self.hungry.remove(&id);
            return;
        }
        let (message_limit, byte_limit) = link.grant.limits();
        let (want, want_bytes) = link.grant.wanted(self.base.0, self.base.1);
        let more = want.saturating_sub(message_limit);
        let more_bytes = want_bytes.saturating_sub(byte_limit);
        let got = more.min(budget.saturating_sub(self.committed.0));
        let got_bytes = more_bytes.min(budget_bytes.saturating_sub(self.committed.1));
        let mut limits = (message_limit + got, byte_limit + got_bytes);
        if self.waiting > 0 && self.queued == 0 {
            let (floor, floor_bytes) = link.grant.floor();
            let floored = limits.0 < floor || limits.1 < floor_bytes;
            limits = (limits.0.max(floor), limits.1.max(floor_bytes));
            self.floored += usize::from(floored && !link.floored);
            link.floored |= floored;
        }
        let before = link.grant.outstanding();
        link.grant.raise(limits.0, limits.1);
        let after = link.grant.outstanding();
        self.committed.0 += after.0 - before.0;
        self.committed.1 += after.1 - before.1;
        if link.grant.unused().0 == 0 || link.grant.unused().1 == 0 {
            self.dry.insert(id);
        } else {
            self.dry.remove(&id);
        }
        if got < more || got_bytes < more_bytes {
            if self.hungry.insert(id) {
                self.recall_surplus();
            }
        } else {
            self.hungry.remove(&id);
        }
    }

    /// Budget has come back: who went without is next.
    pub(super) fn feed_hungry(&mut self) {
        if let Some(id) = self.hungry.first().copied()
            && self.committed.0 < self.settings.budget
            && self.committed.1 < self.settings.budget_bytes
        {
            self.want_grant(id);
        }
    }

    /// Asks every link for unused credit that holds more than its part.
    pub(super) fn recall_surplus(&mut self) {
        for id in self.links.ids() {
            let keep = self.may_keep(id);
            let base = self.base.0;
            if let Some(link) = self.links.get_mut(id).filter(|link| link.has_surplus(base, keep)) {
                link.recall = Recall::Due;
                wake(&mut self.wakes, id, link);
            }
        }
    }

    /// With a window of 0, one delivery of a socket may wait for the next `recv` (CR-7).
    fn may_keep(&self, id: LinkId) -> u64 {
        let here = self.links.get(id).map_or(0, |link| link.queued);
        u64::from(self.base.0 == 0 && self.queued == here)
    }

    /// Decides whether the credit that a waiting `recv` caused is to be asked back.
    pub(super) fn reconsider_floor(&mut self, now: Time, id: LinkId) {
        let keep = self.may_keep(id);
        let (base, waiting) = (self.base.0, self.waiting);
        let Some(link) = self.links.get_mut(id).filter(|link| link.floored) else { return };
        if waiting > 0 {
            link.recall_at = None;
            return;
        }
        if !link.has_surplus(base, keep) {
            if link.recall == Recall::No {
                link.floored = false;
                link.recall_at = None;
                self.floored -= 1;
            }
            return;
        }
        let at = *link.recall_at.get_or_insert(if base == 0 { now } else { now + SECOND_THOUGHTS });
        if at <= now {
            link.recall_at = None;
            link.recall = Recall::Due;
        }
    }

    /// After a Skip: deliveries beyond the window that nobody has begun go to somebody who can (RC-4).
    pub(super) fn release_surplus(&mut self, id: LinkId) {
        let keep = self.may_keep(id);
        let (base, waiting, leaving) = (self.base.0, self.waiting, self.leaving);
        let Some(link) = self.links.get_mut(id) else { return };
        let surplus = if leaving {
            link.queued
        } else if waiting > 0 {
            0
        } else {
            link.grant.outstanding().0.saturating_sub(base.max(keep)).min(link.queued)
        };
        let before = link.grant.outstanding();
        let released = link.release(surplus);
        let after = link.grant.outstanding();
        self.committed.0 -= before.0 - after.0;
        self.committed.1 -= before.1 - after.1;
        self.queued -= released;
        self.stats.released += released;
        // Given back so that another can have them: no reason to hold the news back.
        link.hurry |= released > 0;
    }
}
