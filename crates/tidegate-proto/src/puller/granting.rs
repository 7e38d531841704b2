//! Who gets how much credit (CR-5 … CR-10). What is asked back is in `recalling`.

use std::time::Duration;

use super::{
    Puller, Window,
    auto::{Counts, SAMPLE},
    link::{Leaving, PullLink, Recall},
    wake,
};
use crate::{links::LinkId, time::Time};

/// Of what a link may settle in a sample, in the weights of a fixed window: so that shares of one in many are not lost.
const WEIGHT: u64 = 256;

impl<H: Clone + Default> Puller<H> {
    /// Gives each link its share of the window and the budget (CR-5, CR-9): by need, and at least one message if the hard
    /// cap has as many (CR-6). `gently`: nothing has changed but the need, so that most of it can wait for the next Ack.
    pub(super) fn share_out(&mut self, gently: bool) {
        let links = (self.links.len() as u64).max(1);
        let (budget, budget_bytes) = (self.settings.budget, self.settings.budget_bytes);
        let auto = self.settings.window == Window::Auto;
        let whole = match self.settings.window {
            Window::Fixed { messages: 0, .. } => (0, 0),
            Window::Fixed { bytes, .. } => (self.cap, bytes.min(budget_bytes)),
            Window::Auto => self.auto.window(),
        };
        let all: u64 =
            self.links.iter().map(|(_, link)| if auto { link.recent() } else { link.weight }).sum();
        for id in self.links.ids() {
            let keep = self.may_keep(id);
            let Some(link) = self.links.get_mut(id) else { continue };
            let part = if self.cap < links {
                // More links than places: one each, for those that get one.
                (1, whole.1.min(budget_bytes) / links)
            } else if auto && links > 1 {
                need(whole, link.recent(), all, links)
            } else if auto {
                (whole.0.min(budget), whole.1.min(budget_bytes))
            } else if whole.0 == 0 {
                (0, 0)
            } else {
                fixed_share(whole, link.weight, all, links)
            };
            // Bytes without messages are of no use, and the other way round.
            let base = if part.0 > 0 { (part.0, part.1.max(1)) } else { (0, 0) };
            let before = std::mem::replace(&mut link.base, base);
            if auto {
                link.begin_recent();
            }
            if base.0 > before.0 || base.1 > before.1 {
                link.asked_others = None;
                // The rest goes with the next outcomes.
                if !gently || link.grant.unused().0 * 4 < base.0 || link.grant.unused().1 * 4 < base.1 {
                    self.want_grant(id);
                }
            } else if (if gently { link.hoards() } else { base != before }) && link.has_surplus(keep) {
                link.recall = Recall::Due;
                wake(&mut self.wakes, id, link);
            }
        }
    }

    /// Lets the window set itself, and the shares of a fixed one follow what links settle.
    pub(super) fn tune(&mut self, now: Time) {
        match self.settings.window {
            Window::Auto if now >= self.auto.next() => {}
            // With no more places than links there is nothing to share by need.
            Window::Fixed { messages: 1.., .. }
                if self.links.len() > 1 && self.cap > self.links.len() as u64 && now >= self.share_at =>
            {
                return self.weigh_links(now);
            }
            _ => return,
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
            self.share_out(true);
        }
    }

    /// With a fixed window, what a link has settled counts half as much with each sample in which something was settled.
    fn weigh_links(&mut self, now: Time) {
        // With many links it costs more, and is done less often.
        self.share_at = now + SAMPLE * (1 + u32::try_from(self.links.len() / 100).unwrap_or(u32::MAX));
        if self.links.iter().all(|(_, link)| link.recent() == 0) {
            return;
        }
        for id in self.links.ids() {
            if let Some(link) = self.links.get_mut(id) {
                link.weight = link.weight / 2 + link.recent().saturating_mul(WEIGHT);
                link.begin_recent();
            }
        }
        self.share_out(true);
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
        let dry: Vec<_> = self.dry.iter().collect();
        dry.into_iter().for_each(|id| self.want_grant(id));
    }

    /// The `recv` that caused credit beyond windows has what it wanted (CR-7).
    pub(super) fn wake_floored(&mut self) {
        for id in self.links.ids() {
            if let Some(link) = self.links.get_mut(id).filter(|link| link.floored) {
                wake(&mut self.wakes, id, link);
            }
        }
    }

    /// Places that nothing has taken: a delivery, or credit for one that is not overdue.
    pub(super) fn free_places(&self) -> u64 {
        self.cap.saturating_sub(self.in_flight + self.queued + self.unused - self.overdue)
    }

    /// How much more a link may be granted of both budgets.
    fn left_for(&self, link: &PullLink<H>) -> (u64, u64) {
        let (held, links) = (link.grant.outstanding(), self.links.len() as u64);
        let Self { committed, settings, .. } = self;
        (
            left(settings.budget, committed.0, held.0, links),
            left(settings.budget_bytes, committed.1, held.1, links),
        )
    }

    /// Raises the limits of a link as far as its share, the hard cap, the budget and a waiting `recv` allow (CR-5, CR-6,
    /// CR-9), without being asked (CR-10).
    pub(super) fn raise(&mut self, now: Time, id: LinkId) {
        let budget = self.settings.budget;
        let wanted = self.is_wanted() && self.queued == 0;
        let (done, free, many) = (self.done(), self.free_places(), self.links.len() > 1);
        let Some(link) = self.links.get(id) else { return };
        let (left, left_bytes) = self.left_for(link);
        let Some(link) = self.links.get_mut(id) else { return };
        if link.recall != Recall::No || link.leaving != Leaving::No || link.ended {
            // RC-2. It is not fed before the Skip, which asks for a grant of its own.
            self.hungry.remove(id);
            return;
        }
        let (message_limit, byte_limit) = link.grant.limits();
        let room = self.bare.room(link.ticket, link.rest_until.is_some(), free);
        let (mut window, mut window_bytes) = link.base;
        // What it may send again is no more work: there is room for it whatever the window and its cap (RD-9).
        let expected = self.memory.expected(link.session.peer.key);
        let expects = expected > 0 && now < link.expects_until;
        // Bytes without messages are of no use: none if the budget has no message left.
        let has_messages = link.grant.unused().0 > 0 || self.committed.0 < budget;
        let mut again = 0;
        if expects && has_messages {
            again = link.grant.wanted(expected, 0).0.saturating_sub(message_limit);
            if expected > window || again > room {
                self.floored += usize::from(!link.floored);
                link.floored = true;
                link.recall_at.get_or_insert(link.expects_until);
            }
            (window, window_bytes) = (window.max(expected), window_bytes.max(expected << 20));
        }
        let (want, want_bytes) = link.grant.wanted(window, window_bytes);
        let got = want.saturating_sub(message_limit).min(left).min(room.max(again));
        // What an overshoot took is committed already. Else a budget of one byte would cover it byte by byte, in as many Acks.
        let overshoot = if left_bytes > 0 { link.grant.overshoot() } else { 0 };
        let got_bytes = want_bytes.saturating_sub(byte_limit).min(overshoot + left_bytes);
        let mut limits = (message_limit + got, byte_limit + got_bytes);
        let (floor, floor_bytes) = link.grant.floor();
        // The minimum grant takes a place like any other: there is none beyond the cap (CR-6).
        if wanted && (limits.0 >= floor || room > got) {
            let floored = limits.0 < floor || limits.1 < floor_bytes;
            limits = (limits.0.max(floor), limits.1.max(floor_bytes));
            self.floored += usize::from(floored && !link.floored);
            link.floored |= floored;
        }
        let (before, unused) = (link.grant.outstanding(), link.grant.unused().0);
        if limits.0 > message_limit {
            link.limit_before = message_limit;
            link.unused_since = now;
            self.bare.leave(&mut link.ticket);
        }
        let granted = link.grant.raise(limits.0, limits.1);
        self.dry.served(id, granted);
        self.hungry.served(id, granted);
        let after = link.grant.outstanding();
        self.committed.0 += after.0 - before.0;
        self.committed.1 += after.1 - before.1;
        let granted = link.grant.unused().0 - unused;
        self.unused += granted;
        // The last place: somebody else may come to need it.
        if granted > 0 && many && free <= granted {
            link.check_at = Some(link.patient_until(now));
        }
        let is_dry = link.grant.unused().0 == 0 || link.grant.unused().1 == 0;
        if is_dry {
            self.dry.insert(id);
        } else {
            self.dry.remove(id);
        }
        // What comes again waits its turn for the budget, but is no reason to take some from others. What is kept for others
        // does not come back to this link, but with what it settles itself.
        let kept = (
            left == 0 && self.committed.0 < budget,
            left_bytes == 0 && self.committed.1 < self.settings.budget_bytes,
        );
        let lacks = |link: &PullLink<H>, window: (u64, u64)| {
            let (limits, need) = (link.grant.limits(), link.grant.wanted(window.0, window.1));
            (limits.0 < need.0 && !kept.0) || (limits.1 < need.1 && !kept.1)
        };
        let rests = link.rest_until.is_some();
        let in_want = !rests && lacks(link, link.base);
        let waits_for_repeats = expects && lacks(link, (expected, 0));
        link.wants_repeats = waits_for_repeats;
        let mut begins = link.asked_others.is_none();
        if in_want || waits_for_repeats {
            begins |= self.hungry.insert(id);
        } else {
            self.hungry.remove(id);
        }
        // Once for each thing that was done: credit that only goes round would go round for ever.
        let in_need = in_want || (wanted && is_dry && !rests);
        if in_need && (begins || is_dry) && link.asked_others != Some(done) {
            link.asked_others = Some(done);
            if in_want {
                self.recall_surplus(now);
            }
            self.rotate(now);
        }
    }

    /// Grows with each delivery that is handed out, and with each that is settled.
    pub(super) fn done(&self) -> u64 {
        2 * (self.stats.acked + self.stats.nacked + self.stats.rejected) + self.in_flight
    }

    /// Budget or places have come back: of the links that went without, the next one in turn that can be served gets some. When
    /// it has been served, this runs again.
    pub(super) fn feed_hungry(&mut self) {
        if self.hungry.len() > 0
            && self.committed.0 < self.settings.budget
            && self.committed.1 < self.settings.budget_bytes
        {
            let found = self.hungry.turn().find(|id| self.would_get(*id));
            self.hungry.end_turn(found);
            found.into_iter().for_each(|id| self.want_grant(id));
        }
        if self.leaving || self.free_places() == 0 {
            return;
        }
        let wanted = self.is_wanted() && self.queued == 0;
        if let Some(id) = self.bare.first()
            && (wanted || self.links.get(id).is_some_and(|link| link.base.0 > 0))
            && (wanted || self.committed.0 < self.settings.budget)
            && self.has_room(id)
        {
            self.want_grant(id);
        } else if wanted && self.cap != u64::MAX {
            let found = self.dry.turn().find(|id| self.has_room(*id));
            self.dry.end_turn(found);
            found.into_iter().for_each(|id| self.want_grant(id));
        }
    }

    /// Whether a link that lacks some of its share would be granted some now.
    fn would_get(&self, id: LinkId) -> bool {
        let Some(link) = self.links.get(id).filter(|link| link.may_be_granted()) else { return false };
        let (limits, (left, left_bytes)) = (link.grant.limits(), self.left_for(link));
        let want = link.grant.wanted(link.base.0, link.base.1);
        let lacks = link.wants_repeats || (want.0 > limits.0 && self.has_room(id));
        (lacks && left > 0) || (want.1 > limits.1 && left_bytes > 0)
    }

    /// Whether there is a place for one message more of a link.
    fn has_room(&self, id: LinkId) -> bool {
        self.links.get(id).is_some_and(|link| {
            link.may_be_granted()
                && self.bare.room(link.ticket, link.rest_until.is_some(), self.free_places()) > 0
        })
    }
}

/// How much more a link that has `held` may be granted of a budget of which `committed` is granted. A quarter of the budget is
/// kept for links below their equal part (CR-9).
fn left(budget: u64, committed: u64, held: u64, links: u64) -> u64 {
    let equal = (budget / links.max(1)).max(1);
    let open = (budget - budget / 4).saturating_sub(committed);
    budget.saturating_sub(committed).min(equal.saturating_sub(held).max(open))
}

/// The share of a link in a fixed window: one message, three quarters of the others by what it has settled of late, and the last
/// quarter in equal parts.
fn fixed_share(whole: (u64, u64), weight: u64, all: u64, links: u64) -> (u64, u64) {
    let spare = whole.0 - links;
    let messages = if all == 0 {
        1 + spare / links
    } else {
        let equal = spare / 4 / links;
        let by_need = u128::from(spare - equal * links) * u128::from(weight) / u128::from(all);
        1 + equal + u64::try_from(by_need).unwrap_or(spare)
    };
    let bytes = u128::from(whole.1) * u128::from(messages) / u128::from(whole.0.max(1));
    (messages, u64::try_from(bytes).unwrap_or(whole.1))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cr_9_a_quarter_of_a_budget_is_kept_for_links_below_their_equal_part() {
        // CR-9
        assert_eq!(left(100, 0, 0, 1), 100, "one link has it all");
        assert_eq!(left(100, 60, 60, 2), 15, "three quarters are open to all");
        assert_eq!(left(100, 80, 80, 2), 0);
        assert_eq!(left(100, 75, 0, 2), 25, "the last one is for who has little");
        assert_eq!(left(100, 80, 10, 5), 10, "up to an equal part");
        assert_eq!((left(1, 0, 0, 7), left(3, 2, 0, 7)), (1, 1), "small budgets are used up");
    }

    #[test]
    fn cr_5_the_shares_of_a_fixed_window_follow_need_and_stay_within_it() {
        // CR-5, CR-6
        for (window, weights) in
            [(10, vec![0, 0, 0]), (10, vec![9, 0, 0]), (1_000, vec![5, 5, 0, 90]), (3, vec![1, 2, 3])]
        {
            let (all, links) = (weights.iter().sum(), weights.len() as u64);
            let shares: Vec<_> =
                weights.iter().map(|w| fixed_share((window, 8 << 20), *w, all, links)).collect();
            assert!(shares.iter().all(|share| share.0 >= 1), "{shares:?}");
            assert!(shares.iter().map(|share| share.0).sum::<u64>() <= window, "{shares:?}");
            assert!(shares.iter().map(|share| share.1).sum::<u64>() <= 8 << 20, "{shares:?}");
        }
        assert_eq!(fixed_share((1_000, 100), 90, 90, 2).0, 1 + 124 + 750);
    }
}
