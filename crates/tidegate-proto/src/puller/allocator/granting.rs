//! Grants credit to links (CR-5 … CR-10). Recalls are in `recalling`.

use std::time::Duration;

use super::auto::{MIN_SAMPLE, WindowInput};
use crate::{
    amount::Amount,
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
        let budget = self.budget.limit();
        let auto = self.settings.window == Window::Auto;
        let whole = match self.settings.window {
            Window::Fixed { messages: 0, .. } => Amount::ZERO,
            Window::Fixed { bytes, .. } => Amount::new(self.cap, bytes.min(budget.bytes)),
            Window::Auto => self.auto.window(),
        };
        let all: u64 =
            self.links.iter().map(|(_, link)| if auto { link.recent() } else { link.weight }).sum();
        for id in self.links.ids() {
            let keep = self.may_keep(id);
            let Some(link) = self.links.get_mut(id) else { continue };
            let part = if self.cap < links {
                // There are more links than places: each link that gets a place gets one.
                Amount::new(1, whole.bytes.min(budget.bytes) / links)
            } else if auto && links > 1 {
                auto_share(whole, link.recent(), all, links)
            } else if auto {
                whole.min(budget)
            } else if whole.messages == 0 {
                Amount::ZERO
            } else {
                fixed_share(whole, link.weight, all, links)
            };
            // Credit in bytes is useless without credit in messages, and vice versa.
            let base = if part.messages > 0 { part.max(Amount::new(1, 1)) } else { Amount::ZERO };
            let before = std::mem::replace(&mut link.base, base);
            if auto {
                link.begin_recent();
            }
            if base.messages > before.messages || base.bytes > before.bytes {
                link.asked_others = None;
                let unused = link.grant.unused();
                // Other links get their grants with their next outcomes.
                if !gently || unused.messages * 4 < base.messages || unused.bytes * 4 < base.bytes {
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
            arrived: Amount::new(stats.received, stats.received_bytes),
            working: self.in_flight,
            busy: self.in_flight + self.waiting as u64,
            links: self.links.len(),
            round_trip: self.round_trip(),
            budget: self.budget.limit(),
        };
        let changed = self.auto.decide(now, counts);
        if changed || self.links.len() > 1 {
            self.assign_shares(true);
        }
    }

    /// Updates the weights of a fixed window, after as many deliveries were settled as it has: earlier ones count half.
    /// If the application had to wait, this happens with each sample in which something was settled.
    fn weigh_links(&mut self, now: Time) {
        // With many links this costs more, so that it is done less often.
        self.share_at = now + MIN_SAMPLE * (1 + u32::try_from(self.links.len() / 100).unwrap_or(u32::MAX));
        // Before each link had its turn, a few deliveries of a slow worker say nothing about need. If they moved the
        // shares, messages would move back and forth with them. If workers lack messages, a few are enough.
        let settled: u64 = self.links.iter().map(|(_, link)| link.recent()).sum();
        if settled == 0 {
            return;
        }
        let has_waited = std::mem::take(&mut self.has_waited);
        if settled < self.cap && !has_waited {
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
            && (self.auto.has_reserve() || link.grant.outstanding().messages > link.base.messages)
            && link.recall == Recall::No
            && (link.queued.messages > 0 || link.grant.unused().messages > 0);
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
        self.cap.saturating_sub(self.in_flight + self.queued.messages + self.unused - self.overdue)
    }

    /// The part of the budget that a link may still be granted.
    fn left_for(&self, link: &PullLink<H>) -> Amount {
        self.budget.left_for(&link.grant, self.links.len())
    }

    /// Raises the limits of a link as far as its share, the cap, the budget and a waiting `recv` allow (CR-5, CR-6,
    /// CR-9, CR-10).
    pub(in crate::puller) fn raise(&mut self, now: Time, id: LinkId) {
        let wanted = self.lacks_deliveries();
        let (done, free, many) = (self.done(), self.free_places(), self.links.len() > 1);
        let Some(link) = self.links.get(id) else { return };
        // Without memory for its next message, a link gets nothing (LM-4).
        let blocked = !self.has_memory(id, link);
        let left = if blocked { Amount::ZERO } else { self.left_for(link) };
        let was_usable = link.grant.is_usable();
        let Some(link) = self.links.get_mut(id) else { return };
        if link.recall != Recall::No || link.leaving != Leaving::No || link.ended {
            // RC-2: no limit is raised before the Skip, which causes a grant.
            self.waiting_for_budget.remove(id);
            return;
        }
        let before = link.grant.limits();
        let room = self.place_queue.room(link.ticket, link.no_credit_until.is_some(), free);
        let mut window = link.base;
        // RD-9: the messages that are being worked on and may be redelivered get credit, whatever the window and the
        // cap.
        let expected = self.dedup.expected(link.session.peer.key);
        let expects = expected > 0 && now < link.expects_until;
        // Credit in bytes is useless without credit in messages, so that none is granted if the message budget is
        // spent.
        let has_messages = link.grant.unused().messages > 0 || self.budget.left().messages > 0;
        let mut again = 0;
        if expects && has_messages {
            again = link.grant.wanted(Amount::new(expected, 0)).saturating_sub(before).messages;
            if expected > window.messages || again > room {
                self.minimum_grants += usize::from(!link.has_minimum_grant);
                link.has_minimum_grant = true;
                link.recall_at.get_or_insert(link.expects_until);
            }
            window = window.max(Amount::new(expected, expected << 20));
        }
        let want = link.grant.wanted(window).saturating_sub(before);
        // Bytes beyond the limit are already committed, so that the new limit may include them. Otherwise, a budget of
        // one byte would raise the limit by one byte in each Ack.
        let overshoot = if left.bytes > 0 { link.grant.overshoot() } else { 0 };
        let got = Amount {
            messages: want.messages.min(left.messages).min(room.max(again)),
            bytes: want.bytes.min(overshoot + left.bytes),
        };
        let mut limits = before + got;
        let minimum = link.grant.minimum_grant();
        // The minimum grant takes a place like any other credit, so that it does not exceed the cap (CR-6).
        if wanted && !blocked && (limits.messages >= minimum.messages || room > got.messages) {
            let below_minimum = limits.messages < minimum.messages || limits.bytes < minimum.bytes;
            limits = limits.max(minimum);
            self.minimum_grants += usize::from(below_minimum && !link.has_minimum_grant);
            link.has_minimum_grant |= below_minimum;
        }
        let unused = link.grant.unused().messages;
        if limits.messages > before.messages {
            link.limit_before = before.messages;
            link.unused_since = now;
            self.place_queue.leave(&mut link.ticket);
        }
        let granted = link.grant.raise(&mut self.budget, limits);
        let starts = !was_usable && link.grant.is_usable();
        self.without_credit.served(id, granted);
        self.waiting_for_budget.served(id, granted);
        let granted = link.grant.unused().messages - unused;
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
        let still_left = self.budget.left();
        let reserved_messages = left.messages == 0 && still_left.messages > 0;
        let reserved_bytes = !blocked && left.bytes == 0 && still_left.bytes > 0;
        let lacks = |link: &PullLink<H>, window: Amount| {
            let lacking = link.grant.wanted(window).saturating_sub(link.grant.limits());
            (lacking.messages > 0 && !reserved_messages) || (lacking.bytes > 0 && !reserved_bytes)
        };
        let is_resting = link.no_credit_until.is_some();
        let in_want = !is_resting && lacks(link, link.base);
        let waits_for_repeats = expects && lacks(link, Amount::new(expected, 0));
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
        if self.waiting_for_budget.len() > 0 && self.budget.left().admits_message() {
            let found = self.waiting_for_budget.turn().find(|id| self.can_be_granted(*id));
            self.waiting_for_budget.end_turn(found);
            found.into_iter().for_each(|id| self.request_grant(id));
        }
        if self.leaving || self.free_places() == 0 {
            return;
        }
        let wanted = self.lacks_deliveries();
        if let Some(id) = self.place_queue.first()
            && (wanted || self.links.get(id).is_some_and(|link| link.base.messages > 0))
            && (wanted || self.budget.left().messages > 0)
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
        let left = self.left_for(link);
        let want = link.grant.wanted(link.base).saturating_sub(link.grant.limits());
        let lacks = link.wants_repeats || (want.messages > 0 && self.has_room(id));
        self.has_memory(id, link) && ((lacks && left.messages > 0) || (want.bytes > 0 && left.bytes > 0))
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

/// The share of a link in a fixed window: one message, three quarters of the other messages by what it has settled
/// recently, and the last quarter in equal parts.
fn fixed_share(whole: Amount, weight: u64, all: u64, links: u64) -> Amount {
    let spare = whole.messages - links;
    let messages = if all == 0 {
        1 + spare / links
    } else {
        let equal = spare / 4 / links;
        let by_need = u128::from(spare - equal * links) * u128::from(weight) / u128::from(all);
        1 + equal + u64::try_from(by_need).unwrap_or(spare)
    };
    let bytes = u128::from(whole.bytes) * u128::from(messages) / u128::from(whole.messages.max(1));
    Amount::new(messages, u64::try_from(bytes).unwrap_or(whole.bytes))
}

/// The share of a link in an automatic window: its part of the deliveries that were settled recently, and at least a
/// quarter of an equal share, for when it begins to send. In a small window this minimum is 0: such links get credit
/// while a `recv` waits (CR-6).
fn auto_share(whole: Amount, recent: u64, all: u64, links: u64) -> Amount {
    let part = |whole: u64| {
        let used = u128::from(whole) * u128::from(recent);
        let used = u64::try_from(used.div_ceil(u128::from(all.max(1)))).unwrap_or(whole);
        used.max(whole / (4 * links))
    };
    Amount::new(part(whole.messages), part(whole.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cr_5_the_shares_of_a_fixed_window_follow_need_and_stay_within_it() {
        // CR-5, CR-6
        for (window, weights) in
            [(10, vec![0, 0, 0]), (10, vec![9, 0, 0]), (1_000, vec![5, 5, 0, 90]), (3, vec![1, 2, 3])]
        {
            let (whole, all, links) =
                (Amount::new(window, 8 << 20), weights.iter().sum(), weights.len() as u64);
            let shares: Vec<_> =
                weights.iter().map(|weight| fixed_share(whole, *weight, all, links)).collect();
            assert!(shares.iter().all(|share| share.messages >= 1), "{shares:?}");
            assert_eq!(shares.iter().copied().sum::<Amount>().max(whole), whole, "{shares:?}");
        }
        assert_eq!(fixed_share(Amount::new(1_000, 100), 90, 90, 2).messages, 1 + 124 + 750);
    }
}
