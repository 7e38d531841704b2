//! Who gets how much credit, and when some is asked back (CR-5 … CR-9, RC-1 … RC-4).

use std::time::Duration;

use super::{
    Puller, Window,
    auto::Counts,
    link::{Leaving, PullLink, Recall},
    wake,
};
use crate::{links::LinkId, time::Time};

/// How long a waiting `recv` may have been served before the credit that it caused is asked back: a quick worker
/// waits again at once, and would only pay for the recall. A window of 0 does not wait (CR-7).
const SECOND_THOUGHTS: Duration = Duration::from_millis(5);

impl<H: Clone + Default> Puller<H> {
    /// Gives each link its part: of a fixed window and the budget, the same to all (CR-5, CR-9); of a window that sets
    /// itself, by need.
    pub(super) fn share_out(&mut self) {
        let links = (self.links.len() as u64).max(1);
        let (budget, budget_bytes) = (self.settings.budget, self.settings.budget_bytes);
        let most = (budget / links, budget_bytes / links);
        let whole = match self.settings.window {
            Window::Fixed { messages, bytes } => (messages.min(most.0), bytes.min(most.1)),
            Window::Auto => self.auto.window(),
        };
        let auto = self.settings.window == Window::Auto;
        let recent: u64 = self.links.iter().map(|(_, link)| link.recent()).sum();
        for id in self.links.ids() {
            let keep = self.may_keep(id);
            let Some(link) = self.links.get_mut(id) else { continue };
            let part = if auto && links > 1 { need(whole, link.recent(), recent, links) } else { whole };
            // Octets without messages are of no use, and the other way round.
            let base = if part.0 > 0 { (part.0, part.1.max(1)) } else { (0, 0) };
            let before = std::mem::replace(&mut link.base, base);
            link.begin_recent();
            if base.0 > before.0 || base.1 > before.1 {
                link.asked_others = None;
                // The rest goes with the next outcomes.
                if !auto || link.grant.unused().0 * 4 < base.0 || link.grant.unused().1 * 4 < base.1 {
                    self.want_grant(id);
                }
            } else if (if auto { link.hoards() } else { base != before }) && link.has_surplus(keep) {
                link.recall = Recall::Due;
                wake(&mut self.wakes, id, link);
            }
        }
    }

    /// Lets the window set itself.
    pub(super) fn tune(&mut self, now: Time) {
        if self.settings.window != Window::Auto || now < self.auto.next() {
            return;
        }
        let stats = &self.stats;
        let counts = Counts {
            done: stats.acked + stats.nacked + stats.rejected - self.answered,
            arrived: (stats.received, stats.received_bytes),
            working: self.in_flight,
            busy: self.in_flight + self.waiting as u64,
            links: self.links.len(),
            round_trip: self.round_trip(),
            budget: (self.settings.budget, self.settings.budget_bytes),
        };
        let changed = self.auto.decide(now, counts);
        if changed || self.links.len() > 1 {
            self.share_out();
        }
    }

    /// When [`Self::tune`] should run although nothing happens on this link: workers are busy, and what waits behind
    /// them may be more than they can do.
    pub(super) fn tune_at(&self, id: LinkId) -> Option<Time> {
        let link = self.links.get(id)?;
        let may_shrink = self.settings.window == Window::Auto
            && self.in_flight > 0
            && (self.auto.has_reserve() || link.grant.outstanding().0 > link.base.0)
            && link.recall == Recall::No
            && (link.queued > 0 || link.grant.unused().0 > 0);
        may_shrink.then(|| self.auto.next())
    }

    /// The least of all links.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.links.iter().filter_map(|(_, link)| link.session.round_trip()).min()
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
    pub(super) fn raise(&mut self, now: Time, id: LinkId) {
        let (budget, budget_bytes) = (self.settings.budget, self.settings.budget_bytes);
        let (waiting, asked, auto) = (self.waiting > 0, self.asked, self.settings.window == Window::Auto);
        let done = self.done();
        let Some(link) = self.links.get_mut(id) else { return };
        // Who polls with messages in hand has a fixed window filled, and is not in want: it stays at its word.
        let polled = asked && (auto || link.grant.outstanding().0 == link.grant.unused().0);
        if link.recall != Recall::No || link.leaving != Leaving::No || link.ended {
            // RC-2. It is not fed before the Skip, which asks for a grant of its own.
            self.hungry.remove(&id);
            return;
        }
        let (message_limit, byte_limit) = link.grant.limits();
        let (mut window, mut window_bytes) = link.base;
        // What it may send again is no more work: there is room for it whatever the window (RD-9).
        let expected = self.memory.expected(link.session.peer.instance);
        // Octets without messages are of no use: none if the budget has no message left.
        let has_messages = link.grant.unused().0 > 0 || self.committed.0 < budget;
        let expects = expected > window && now < link.expects_until;
        if expects && has_messages {
            (window, window_bytes) = (expected, window_bytes.max(expected << 20));
            self.floored += usize::from(!link.floored);
            link.floored = true;
            link.recall_at.get_or_insert(link.expects_until);
        }
        let (want, want_bytes) = link.grant.wanted(window, window_bytes);
        let more = want.saturating_sub(message_limit);
        let more_bytes = want_bytes.saturating_sub(byte_limit);
        let got = more.min(budget.saturating_sub(self.committed.0));
        // What an overshoot took is committed already. Else a budget of one octet would cover it octet by octet, in as many Acks.
        let left_bytes = budget_bytes.saturating_sub(self.committed.1);
        let overshoot = if left_bytes > 0 { link.grant.overshoot() } else { 0 };
        let got_bytes = more_bytes.min(overshoot + left_bytes);
        let mut limits = (message_limit + got, byte_limit + got_bytes);
        if (waiting || polled) && self.queued == 0 {
            let (floor, floor_bytes) = link.grant.floor();
            let floored = limits.0 < floor || limits.1 < floor_bytes;
            limits = (limits.0.max(floor), limits.1.max(floor_bytes));
            self.floored += usize::from(floored && !link.floored);
            link.floored |= floored;
        }
        let before = link.grant.outstanding();
        if limits.0 > message_limit {
            link.limit_before = message_limit;
        }
        link.grant.raise(limits.0, limits.1);
        let after = link.grant.outstanding();
        self.committed.0 += after.0 - before.0;
        self.committed.1 += after.1 - before.1;
        if link.grant.unused().0 == 0 || link.grant.unused().1 == 0 {
            self.dry.insert(id);
        } else {
            self.dry.remove(&id);
        }
        // What comes again waits its turn for the budget, but is no reason to take some from others.
        let lacks = |link: &PullLink<H>, window: (u64, u64)| {
            let (limits, need) = (link.grant.limits(), link.grant.wanted(window.0, window.1));
            limits.0 < need.0 || limits.1 < need.1
        };
        let in_want = lacks(link, link.base);
        let waits_for_repeats = expects && lacks(link, (expected, 0));
        if !in_want && !waits_for_repeats {
            self.hungry.remove(&id);
            return;
        }
        let begins = self.hungry.insert(id) || link.asked_others.is_none();
        // Once for each thing that was done: credit that only goes round would go round for ever.
        if begins && in_want && link.asked_others != Some(done) {
            link.asked_others = Some(done);
            self.recall_surplus(now);
        }
    }

    /// Grows with each delivery that is handed out, and with each that is settled.
    fn done(&self) -> u64 {
        2 * (self.stats.acked + self.stats.nacked + self.stats.rejected) + self.in_flight
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
    fn recall_surplus(&mut self, now: Time) {
        // While somebody waits, one message's credit is every link's own (CR-6): what is asked back of it would be granted again
        // at once, and two links could take it from each other for ever.
        let wanted = self.is_wanted();
        let own = u64::from(wanted && self.queued == 0);
        for id in self.links.ids() {
            let keep = self.may_keep(id);
            let memory = &self.memory;
            // So it is with what may come again, as long as it is waited for (RD-9).
            let expects = |link: &PullLink<H>| {
                now < link.expects_until && memory.expected(link.session.peer.instance) > link.base.0
            };
            let spares = |link: &PullLink<H>| {
                link.has_surplus(keep)
                    // What is queued is given back to nobody while somebody waits for it (RC-4).
                    && (link.grant.unused().0 > own || (!wanted && link.queued > keep))
                    && !expects(link)
            };
            if let Some(link) = self.links.get_mut(id).filter(|link| spares(link)) {
                link.recall = Recall::Due;
                wake(&mut self.wakes, id, link);
            }
        }
    }

    /// With a window of 0, one delivery of a socket may wait for the next `recv` (CR-7).
    fn may_keep(&self, id: LinkId) -> u64 {
        let Some(link) = self.links.get(id) else { return 0 };
        u64::from(link.base.0 == 0 && self.queued == link.queued)
    }

    /// Decides whether the credit that a waiting `recv` caused is to be asked back.
    pub(super) fn reconsider_floor(&mut self, now: Time, id: LinkId) {
        let keep = self.may_keep(id);
        let wanted = self.is_wanted();
        let Some(link) = self.links.get_mut(id).filter(|link| link.floored) else { return };
        if wanted {
            link.recall_at = None;
            return;
        }
        if !link.has_surplus(keep) {
            link.recall_at = None;
            if link.recall == Recall::No {
                link.floored = false;
                self.floored -= 1;
            }
            return;
        }
        let at = *link.recall_at.get_or_insert(if link.base.0 == 0 { now } else { now + SECOND_THOUGHTS });
        if at <= now {
            link.recall_at = None;
            link.recall = Recall::Due;
        }
    }

    /// After a Skip: deliveries beyond the window that nobody has begun go to somebody who can (RC-4).
    pub(super) fn release_surplus(&mut self, id: LinkId) {
        let keep = self.may_keep(id);
        let (wanted, leaving) = (self.is_wanted(), self.leaving);
        let Some(link) = self.links.get_mut(id) else { return };
        let surplus = if leaving {
            link.queued
        } else if wanted {
            0
        } else {
            link.grant.outstanding().0.saturating_sub(link.base.0.max(keep)).min(link.queued)
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

/// The part of a link in a window that sets itself: as much as it has settled of all that was, and a little for when
/// it begins to send. A small window is for those who use it; the others have credit while a `recv` waits (CR-6).
fn need(whole: (u64, u64), recent: u64, all: u64, links: u64) -> (u64, u64) {
    let part = |whole: u64| {
        let used = u128::from(whole) * u128::from(recent);
        let used = u64::try_from(used.div_ceil(u128::from(all.max(1)))).unwrap_or(whole);
        used.max(whole / (4 * links))
    };
    (part(whole.0), part(whole.1))
}
