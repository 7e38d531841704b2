//! Grants credit to links (CR-5 … CR-10). Recalls are in `recalling`.

use std::time::Duration;

use super::auto::{MIN_SAMPLE, WindowInput};
use crate::{
    link_id::LinkId,
    puller::{
        Puller, Window,
        link::{Leaving, PullLink, Recall},
        mark_ready,
    },
    time::Time,
};

/// The weight of one settled delivery, large enough that halving it does not lose small shares at once.
const WEIGHT_PER_MESSAGE: u64 = 256;

impl<H: Clone + Default> Puller<H> {
    /// Computes each link's share of the window and the budget (CR-5, CR-9): by need, and at least one message if the
    /// cap allows one for each link (CR-6). `gently`: only the need has changed, so that most changes can wait for the
    /// next `Ack`.
    pub(in crate::puller) fn assign_shares(&mut self, gently: bool) {
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
                // There are more links than places: each link that gets a place gets one.
                (1, whole.1.min(budget_bytes) / links)
            } else if auto && links > 1 {
                auto_share(whole, link.recent(), all, links)
            } else if auto {
                (whole.0.min(budget), whole.1.min(budget_bytes))
            } else if whole.0 == 0 {
                (0, 0)
            } else {
                fixed_share(whole, link.weight, all, links)
            };
            // Credit in bytes is useless without credit in messages, and vice versa.
            let base = if part.0 > 0 { (part.0, part.1.max(1)) } else { (0, 0) };
            let before = std::mem::replace(&mut link.base, base);
            if auto {
                link.begin_recent();
            }
            if base.0 > before.0 || base.1 > before.1 {
                link.asked_others = None;
                // Other links get their grants with their next outcomes.
                if !gently || link.grant.unused().0 * 4 < base.0 || link.grant.unused().1 * 4 < base.1 {
                    self.request_grant(id);
                }
            } else if (if gently { link.is_far_over_window() } else { base != before })
                && link.has_surplus(keep)
            {
                link.recall = Recall::Due;
                mark_ready(&mut self.ready_links, id, link);
            }
        }
    }

    /// Updates the automatic window, or the shares of a fixed window, by what links settle.
    pub(in crate::puller) fn tune(&mut self, now: Time) {
        match self.settings.window {
            Window::Auto if now >= self.auto.next_decision() => {}
            // If there are not more places than links, nothing can be shared by need.
            Window::Fixed { messages: 1.., .. }
                if self.links.len() > 1 && self.cap > self.links.len() as u64 && now >= self.share_at =>
            {
                return self.weigh_links(now);
            }
            _ => return,
        }
        let stats = &self.stats;
        let counts = WindowInput {
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
            self.assign_shares(true);
        }
    }

    /// Updates the weights of a fixed window: with each sample in which something was settled, earlier deliveries count
    /// half.
    fn weigh_links(&mut self, now: Time) {
        // With many links this costs more, so that it is done less often.
        self.share_at = now + MIN_SAMPLE * (1 + u32::try_from(self.links.len() / 100).unwrap_or(u32::MAX));
        if self.links.iter().all(|(_, link)| link.recent() == 0) {
            return;
        }
        for id in self.links.ids() {
            if let Some(link) = self.links.get_mut(id) {
                link.weight = link.weight / 2 + link.recent().saturating_mul(WEIGHT_PER_MESSAGE);
                link.begin_recent();
            }
        }
        self.assign_shares(true);
    }

    /// When [`Self::tune`] should run even if nothing happens on this link: the window may shrink while workers are
    /// busy, so that deliveries that wait behind them can be released.
    pub(in crate::puller) fn tune_at(&self, id: LinkId) -> Option<Time> {
        let link = self.links.get(id)?;
        let may_shrink = self.settings.window == Window::Auto
            && self.in_flight > 0
            && (self.auto.has_reserve() || link.grant.outstanding().0 > link.base.0)
            && link.recall == Recall::No
            && (link.queued > 0 || link.grant.unused().0 > 0);
        may_shrink.then(|| self.auto.next_decision())
    }

    /// The lowest round-trip time of all links.
    pub(in crate::puller) fn round_trip(&self) -> Option<Duration> {
        self.links.iter().filter_map(|(_, link)| link.session.round_trip()).min()
    }

    pub(in crate::puller) fn request_grant(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(id) {
            link.grant_due = true;
            mark_ready(&mut self.ready_links, id, link);
        }
    }

    /// Wakes the links without unused credit, because a `recv` waits (CR-6).
    pub(in crate::puller) fn wake_without_credit(&mut self) {
        let links: Vec<_> = self.without_credit.iter().collect();
        links.into_iter().for_each(|id| self.request_grant(id));
    }

    /// Wakes the links with credit beyond their window, because no `recv` waits any more (CR-7).
    pub(in crate::puller) fn wake_minimum_grants(&mut self) {
        for id in self.links.ids() {
            if let Some(link) = self.links.get_mut(id).filter(|link| link.has_minimum_grant) {
                mark_ready(&mut self.ready_links, id, link);
            }
        }
    }

    /// The number of free places: neither a delivery nor unused credit takes them. Overdue credit takes none.
    pub(in crate::puller) fn free_places(&self) -> u64 {
        self.cap.saturating_sub(self.in_flight + self.queued + self.unused - self.overdue)
    }

    /// The part of both budgets that a link may still be granted.
    fn left_for(&self, link: &PullLink<H>) -> (u64, u64) {
        let (held, links) = (link.grant.outstanding(), self.links.len() as u64);
        let Self { committed, settings, .. } = self;
        (
            budget_left(settings.budget, committed.0, held.0, links),
            budget_left(settings.budget_bytes, committed.1, held.1, links),
        )
    }

    /// Raises the limits of a link as far as its share, the cap, the budget and a waiting `recv` allow (CR-5, CR-6,
    /// CR-9, CR-10).
    pub(in crate::puller) fn raise(&mut self, now: Time, id: LinkId) {
        let budget = self.settings.budget;
        let wanted = self.is_wanted() && self.queued == 0;
        let (done, free, many) = (self.done(), self.free_places(), self.links.len() > 1);
        let Some(link) = self.links.get(id) else { return };
        // Without memory for its next message, a link gets nothing (LM-4).
        let blocked = !self.has_memory(id, link);
        let (left, left_bytes) = if blocked { (0, 0) } else { self.left_for(link) };
        let was_usable = link.grant.is_usable();
        let Some(link) = self.links.get_mut(id) else { return };
        if link.recall != Recall::No || link.leaving != Leaving::No || link.ended {
            // RC-2: no limit is raised before the Skip, which causes a grant.
            self.waiting_for_budget.remove(id);
            return;
        }
        let (message_limit, byte_limit) = link.grant.limits();
        let room = self.place_queue.room(link.ticket, link.no_credit_until.is_some(), free);
        let (mut window, mut window_bytes) = link.base;
        // RD-9: the messages that are being worked on and may be redelivered get credit, whatever the window and the
        // cap.
        let expected = self.dedup.expected(link.session.peer.key);
        let expects = expected > 0 && now < link.expects_until;
        // Credit in bytes is useless without credit in messages, so that none is granted if the message budget is
        // spent.
        let has_messages = link.grant.unused().0 > 0 || self.committed.0 < budget;
        let mut again = 0;
        if expects && has_messages {
            again = link.grant.wanted(expected, 0).0.saturating_sub(message_limit);
            if expected > window || again > room {
                self.minimum_grants += usize::from(!link.has_minimum_grant);
                link.has_minimum_grant = true;
                link.recall_at.get_or_insert(link.expects_until);
            }
            (window, window_bytes) = (window.max(expected), window_bytes.max(expected << 20));
        }
        let (want, want_bytes) = link.grant.wanted(window, window_bytes);
        let got = want.saturating_sub(message_limit).min(left).min(room.max(again));
        // Bytes beyond the limit are already committed, so that the new limit may include them. Otherwise, a budget of
        // one byte would raise the limit by one byte in each Ack.
        let overshoot = if left_bytes > 0 { link.grant.overshoot() } else { 0 };
        let got_bytes = want_bytes.saturating_sub(byte_limit).min(overshoot + left_bytes);
        let mut limits = (message_limit + got, byte_limit + got_bytes);
        let (minimum, minimum_bytes) = link.grant.minimum_grant();
        // The minimum grant takes a place like any other credit, so that it does not exceed the cap (CR-6).
        if wanted && !blocked && (limits.0 >= minimum || room > got) {
            let below_minimum = limits.0 < minimum || limits.1 < minimum_bytes;
            limits = (limits.0.max(minimum), limits.1.max(minimum_bytes));
            self.minimum_grants += usize::from(below_minimum && !link.has_minimum_grant);
            link.has_minimum_grant |= below_minimum;
        }
        let (before, unused) = (link.grant.outstanding(), link.grant.unused().0);
        if limits.0 > message_limit {
            link.limit_before = message_limit;
            link.unused_since = now;
            self.place_queue.leave(&mut link.ticket);
        }
        let granted = link.grant.raise(limits.0, limits.1);
        let starts = !was_usable && link.grant.is_usable();
        self.without_credit.served(id, granted);
        self.waiting_for_budget.served(id, granted);
        let after = link.grant.outstanding();
        self.committed.0 += after.0 - before.0;
        self.committed.1 += after.1 - before.1;
        let granted = link.grant.unused().0 - unused;
        self.unused += granted;
        if blocked {
            self.wait_for_memory(id);
        } else if starts {
            self.reserve_memory(now, id);
        }
        let Some(link) = self.links.get_mut(id) else { return };
        // This was the last place. Another link may need it later.
        if granted > 0 && many && free <= granted {
            link.check_at = Some(link.patient_until(now));
        }
        let no_credit = !link.grant.is_usable();
        if no_credit {
            self.without_credit.insert(id);
        } else {
            self.without_credit.remove(id);
        }
        // Credit for redelivered messages waits for budget, but causes no recalls. A link that lacks only what is
        // reserved for others does not wait for budget: it gets credit with the deliveries that it settles itself.
        let reserved = (
            left == 0 && self.committed.0 < budget,
            !blocked && left_bytes == 0 && self.committed.1 < self.settings.budget_bytes,
        );
        let lacks = |link: &PullLink<H>, window: (u64, u64)| {
            let (limits, need) = (link.grant.limits(), link.grant.wanted(window.0, window.1));
            (limits.0 < need.0 && !reserved.0) || (limits.1 < need.1 && !reserved.1)
        };
        let is_resting = link.no_credit_until.is_some();
        let in_want = !is_resting && lacks(link, link.base);
        let waits_for_repeats = expects && lacks(link, (expected, 0));
        link.wants_repeats = waits_for_repeats;
        let mut begins = link.asked_others.is_none();
        if in_want || waits_for_repeats {
            begins |= self.waiting_for_budget.insert(id);
        } else {
            self.waiting_for_budget.remove(id);
        }
        // Recall from other links only once for each delivery that was handed out or settled. Otherwise, credit that no
        // link uses would move between links for ever.
        let in_need = in_want || (wanted && no_credit && !is_resting);
        if in_need && (begins || no_credit) && link.asked_others != Some(done) {
            link.asked_others = Some(done);
            if in_want {
                self.recall_surplus(now);
            }
            self.rotate(now);
        }
    }

    /// A counter that grows with each delivery that is handed out or settled.
    pub(in crate::puller) fn done(&self) -> u64 {
        2 * (self.stats.acked + self.stats.nacked + self.stats.rejected) + self.in_flight
    }

    /// Budget or places have become free: wakes the next waiting link that can get some. It runs again after that link
    /// was served.
    pub(in crate::puller) fn grant_to_next(&mut self) {
        self.grant_memory();
        if self.waiting_for_budget.len() > 0
            && self.committed.0 < self.settings.budget
            && self.committed.1 < self.settings.budget_bytes
        {
            let found = self.waiting_for_budget.turn().find(|id| self.can_be_granted(*id));
            self.waiting_for_budget.end_turn(found);
            found.into_iter().for_each(|id| self.request_grant(id));
        }
        if self.leaving || self.free_places() == 0 {
            return;
        }
        let wanted = self.is_wanted() && self.queued == 0;
        if let Some(id) = self.place_queue.first()
            && (wanted || self.links.get(id).is_some_and(|link| link.base.0 > 0))
            && (wanted || self.committed.0 < self.settings.budget)
            && self.has_room(id)
        {
            self.request_grant(id);
        } else if wanted && self.cap != u64::MAX {
            let found = self.without_credit.turn().find(|id| self.has_room(*id));
            self.without_credit.end_turn(found);
            found.into_iter().for_each(|id| self.request_grant(id));
        }
    }

    /// Whether a link that waits for budget could be granted some now.
    pub(super) fn can_be_granted(&self, id: LinkId) -> bool {
        let Some(link) = self.links.get(id).filter(|link| link.may_be_granted()) else { return false };
        let (limits, (left, left_bytes)) = (link.grant.limits(), self.left_for(link));
        let want = link.grant.wanted(link.base.0, link.base.1);
        let lacks = link.wants_repeats || (want.0 > limits.0 && self.has_room(id));
        self.has_memory(id, link) && ((lacks && left > 0) || (want.1 > limits.1 && left_bytes > 0))
    }

    /// Whether a link could get one more place.
    pub(super) fn has_room(&self, id: LinkId) -> bool {
        self.links.get(id).is_some_and(|link| {
            link.may_be_granted()
                && self.has_memory(id, link)
                && self.place_queue.room(link.ticket, link.no_credit_until.is_some(), self.free_places()) > 0
        })
    }
}

/// The part of a budget that a link may still be granted. The link has `held` of it, and all links together
/// `committed`. A quarter of the budget is reserved for links below their equal share (CR-9).
fn budget_left(budget: u64, committed: u64, held: u64, links: u64) -> u64 {
    let equal = (budget / links.max(1)).max(1);
    let open = (budget - budget / 4).saturating_sub(committed);
    budget.saturating_sub(committed).min(equal.saturating_sub(held).max(open))
}

/// The share of a link in a fixed window: one message, three quarters of the other messages by what it has settled
/// recently, and the last quarter in equal parts.
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

/// The share of a link in an automatic window: its part of the deliveries that were settled recently, and at least a
/// quarter of an equal share, for when it begins to send. In a small window this minimum is 0: such links get credit
/// while a `recv` waits (CR-6).
fn auto_share(whole: (u64, u64), recent: u64, all: u64, links: u64) -> (u64, u64) {
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
    fn cr_9_a_quarter_of_a_budget_is_reserved_for_links_below_their_equal_share() {
        // CR-9
        assert_eq!(budget_left(100, 0, 0, 1), 100, "a single link gets all of it");
        assert_eq!(budget_left(100, 60, 60, 2), 15, "three quarters are open to all");
        assert_eq!(budget_left(100, 80, 80, 2), 0);
        assert_eq!(budget_left(100, 75, 0, 2), 25, "the last quarter is for links with little");
        assert_eq!(budget_left(100, 80, 10, 5), 10, "up to an equal share");
        assert_eq!(
            (budget_left(1, 0, 0, 7), budget_left(3, 2, 0, 7)),
            (1, 1),
            "small budgets can be spent completely"
        );
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
