//! Recalls credit from links (CR-6, CR-7, CR-9, RC-1 … RC-4).

use std::time::Duration;

use crate::{
    link_id::LinkId,
    puller::{
        Puller,
        link::{Leaving, PullLink, RECALL_DELAY, Recall},
        mark_ready,
    },
    time::Time,
};

/// The time for which a link that has not used its credit gets none that other links could use (CR-6).
const NO_CREDIT_TIME: Duration = Duration::from_millis(100);
/// The time after which unanswered recalled credit takes no places any more, or two round trips if they take longer
/// (CR-6).
const MIN_RECALL_TIMEOUT: Duration = Duration::from_millis(100);

impl<H: Clone + Default> Puller<H> {
    /// Recalls unused credit from every link that is over its share.
    pub(in crate::puller) fn recall_surplus(&mut self, now: Time) {
        // While the application waits, each link keeps credit for one message (CR-6). If it were recalled, it would be
        // granted again at once, and two links could take it from each other for ever.
        let wanted = self.is_wanted();
        let own = u64::from(wanted && self.queued.messages == 0);
        for id in self.links.ids() {
            let keep = self.may_keep(id);
            let dedup = &self.dedup;
            // The same applies to credit for messages that may be redelivered (RD-9).
            let expects = |link: &PullLink<H>| {
                now < link.expects_until && dedup.expected(link.session.peer.key) > link.base.messages
            };
            let spares = |link: &PullLink<H>| {
                link.has_surplus(keep)
                    // Queued deliveries are not released while the application waits for one (RC-4).
                    && (link.grant.unused().messages > own || (!wanted && link.queued.messages > keep))
                    && !expects(link)
            };
            if let Some(link) = self.links.get_mut(id).filter(|link| spares(link)) {
                link.recall = Recall::Due;
                mark_ready(&mut self.ready_links, id, link);
            }
        }
    }

    /// Recalls unused credit that takes places, if no place is free and links without credit could use one (CR-6).
    pub(in crate::puller) fn rotate(&mut self, now: Time) {
        if self.unused == 0 || self.links.len() < 2 || self.free_places() > 0 {
            return;
        }
        let few = self.cap < self.links.len() as u64;
        let wanted = self.lacks_deliveries();
        let users = if wanted {
            self.without_credit.iter().filter(|id| self.could_use(*id)).count() as u64
        } else if few {
            self.place_queue.len()
        } else {
            0
        };
        let mut users = users.saturating_sub(self.rotating);
        if users == 0 {
            return;
        }
        // The number of links that must lend their only place although they are not idle.
        let mut lenders = if few { users } else { self.links_without_place().saturating_sub(self.rotating) };
        for id in self.links.ids() {
            if users == 0 {
                return;
            }
            let lends = |link: &&mut PullLink<H>| link.grant.unused().messages > 0 && link.may_be_granted();
            let Some(link) = self.links.get_mut(id).filter(lends) else { continue };
            let mut due = link.unused_until(lenders > 0);
            // Credit for messages that may be redelivered is kept (RD-9).
            if self.dedup.expected(link.session.peer.key) > 0 {
                due = due.max(link.expects_until);
            }
            if due <= now {
                lenders = lenders.saturating_sub(u64::from(few || link.unused_is_last()));
                link.recall = Recall::Due;
                link.rotates = true;
                let answer = link
                    .session
                    .round_trip()
                    .map_or(MIN_RECALL_TIMEOUT, |time| MIN_RECALL_TIMEOUT.max(2 * time));
                link.check_at = Some(now + answer);
                self.rotating += 1;
                users -= 1;
                mark_ready(&mut self.ready_links, id, link);
            } else if link.check_at != Some(due) {
                link.check_at = Some(due);
                mark_ready(&mut self.ready_links, id, link);
            }
        }
    }

    /// The number of links without a place; 0 if another link has unused credit for more than one message. Their own
    /// place is taken by a delivery of a lost link or of a borrower. While the application waits, links lend their only
    /// place to them.
    fn links_without_place(&self) -> u64 {
        let without = |id: &LinkId| self.links.get(*id).is_some_and(|link| link.ticket.waits());
        let spares = |link: &PullLink<H>| {
            link.grant.unused().messages > 0 && !link.unused_is_last() && link.may_be_granted()
        };
        if self.place_queue.len() == 0 || self.links.iter().any(|(_, link)| spares(link)) {
            return 0;
        }
        self.without_credit.iter().filter(without).filter(|id| self.could_use(*id)).count() as u64
    }

    /// Whether a link without credit may be granted some. A link that has not used its last credit may not.
    fn could_use(&self, id: LinkId) -> bool {
        self.links.get(id).is_some_and(|link| link.no_credit_until.is_none() && link.may_be_granted())
    }

    /// Runs the timers of a link that [`Self::rotate`] has set.
    pub(in crate::puller) fn handle_place_timeouts(&mut self, now: Time, id: LinkId) {
        self.handle_memory_timeout(now, id);
        let Some(link) = self.links.get_mut(id) else { return };
        if link.no_credit_until.take_if(|at| *at <= now).is_some() {
            link.asked_others = None;
            self.place_queue.resume(id, &mut link.ticket);
            self.request_grant(id);
        }
        let Some(link) = self.links.get_mut(id) else { return };
        if link.check_at.take_if(|at| *at <= now).is_some() {
            if link.rotates {
                self.write_off(id);
            } else {
                self.rotate(now);
            }
        }
        if self.waiting_for_budget.is_long() || self.without_credit.is_long() {
            // If many links wait, some were not considered when budget or places became free. They are considered here,
            // at least once per heartbeat of each link.
            self.grant_to_next();
        }
    }

    /// The pusher has not answered a recall in time, so that its unused credit takes no places any more. Otherwise
    /// silent pushers could keep all places for seconds (RC-1). Messages that they send anyway are queued until the cap
    /// allows them (CR-6).
    fn write_off(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(id) else { return };
        self.rotating -= u64::from(std::mem::take(&mut link.rotates));
        if !link.overdue && !link.retired {
            link.overdue = true;
            self.overdue += link.grant.unused().messages;
            self.stats.overdue_recalls += 1;
        }
        self.grant_to_next();
    }

    /// A `Skip` has arrived, which gave up `given_up` ids. `overdue`: their places were already taken from the link.
    pub(in crate::puller) fn end_rotation(&mut self, now: Time, id: LinkId, given_up: u64, overdue: bool) {
        let Some(link) = self.links.get_mut(id) else { return };
        let rotates = std::mem::take(&mut link.rotates);
        self.rotating -= u64::from(rotates);
        let rotated = rotates || overdue;
        self.queue_for_place(id);
        let few = self.cap < self.links.len() as u64;
        // If there is a free place for each link without one, this link gets its place back.
        let short = self.free_places() < self.place_queue.len();
        let Some(link) = self.links.get_mut(id) else { return };
        if rotated && given_up > 0 {
            link.no_credit_until = Some(now + NO_CREDIT_TIME);
            if few || link.is_idle(now) {
                self.place_queue.suspend(&mut link.ticket, false);
            } else if short {
                self.place_queue.suspend(&mut link.ticket, true);
            }
        }
    }

    /// Adds a link to the queue for places if it has neither credit nor deliveries.
    pub(in crate::puller) fn queue_for_place(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(id) else { return };
        if link.may_be_granted() && link.grant.outstanding().messages == 0 {
            self.place_queue.enter(id, &mut link.ticket);
        }
    }

    /// The number of queued deliveries that a link may keep beyond its window: 1 for the socket with a window of 0
    /// (CR-7).
    pub(in crate::puller) fn may_keep(&self, id: LinkId) -> u64 {
        let Some(link) = self.links.get(id) else { return 0 };
        u64::from(link.base.messages == 0 && self.queued.messages == link.queued.messages)
    }

    /// Recalls credit beyond the window that a `recv` has caused, after it no longer waits.
    pub(in crate::puller) fn reconsider_minimum_grant(&mut self, now: Time, id: LinkId) {
        let keep = self.may_keep(id);
        let wanted = self.is_wanted();
        let Some(link) = self.links.get_mut(id).filter(|link| link.has_minimum_grant) else { return };
        if wanted {
            link.recall_at = None;
            return;
        }
        if !link.has_surplus(keep) {
            link.recall_at = None;
            if link.recall == Recall::No {
                link.has_minimum_grant = false;
                self.minimum_grants -= 1;
            }
            return;
        }
        let at =
            *link.recall_at.get_or_insert(if link.base.messages == 0 { now } else { now + RECALL_DELAY });
        if at <= now {
            link.recall_at = None;
            link.recall = Recall::Due;
        }
    }

    /// After a `Skip`: releases queued deliveries beyond the window, so that other pullers can process them (RC-4).
    pub(in crate::puller) fn release_surplus(&mut self, id: LinkId) {
        let keep = self.may_keep(id);
        let (wanted, leaving) = (self.is_wanted(), self.leaving);
        let Some(link) = self.links.get_mut(id) else { return };
        let surplus = if leaving || link.leaving != Leaving::No {
            link.queued.messages
        } else if wanted {
            0
        } else {
            let share = link.base.messages.max(keep);
            link.grant.outstanding().messages.saturating_sub(share).min(link.queued.messages)
        };
        self.release(id, surplus);
    }

    /// Releases the last `count` queued deliveries of a link.
    pub(super) fn release(&mut self, id: LinkId, count: u64) {
        let Some(link) = self.links.get_mut(id) else { return };
        let released = link.release(&mut self.budget, count);
        self.queued -= released;
        self.stats.released += released.messages;
        // The released messages can be processed elsewhere, so that their outcomes are not held back.
        link.ack_now |= released.messages > 0;
    }
}
