//! Memory for messages that are larger than their credit (LM-4).
//!
//! Any byte of credit lets one whole message pass (CR-2), so that credit alone does not bound what many links deliver
//! together. A link that sends such messages gets credit when there is room for its next message, in turn:
//!
//! ```text
//! sends large messages ──► waits in turn ──► room is reserved ──► delivers, or answers a recall
//!                                                  └──► round trip + 5 ms without use: recalled if others wait
//! ```
//! A link that was not known to send them may still deliver one when the queued deliveries have used up the byte
//! budget. Then that message is released.

use std::time::Duration;

use super::Turns;
use crate::{
    link_id::LinkId,
    puller::{
        Puller,
        link::{PullLink, RECALL_DELAY, Recall},
        mark_ready,
    },
    time::Time,
};

/// A message is large if one of its size from each link would take more than this part of the byte budget. Smaller ones
/// exceed the budget by less than that.
const MIN_LARGE_PART: u64 = 4;

/// The patience with a link whose round-trip time is not known yet. It is measured within this time.
const UNKNOWN_ROUND_TRIP: Duration = Duration::from_secs(1);

/// The links that wait for memory, and the memory reserved for links that have got credit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::puller) struct MemoryQueue {
    waiting: Turns,
    reserved: u64,
}

/// What a link needs beyond its byte credit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::puller) struct Need {
    /// The size of its last large message; 0 if it sends none.
    size: u64,
    /// The part of `size` that is reserved, because the link has credit.
    reserved: u64,
    /// Since when it is.
    since: Option<Time>,
}

impl Need {
    /// Whether the link must wait for memory before it gets byte credit.
    fn is_open(self) -> bool {
        self.size > 0 && self.reserved == 0
    }
}

impl MemoryQueue {
    /// No credit of this link is left, so that nothing is reserved for it.
    pub(in crate::puller) fn unreserve(&mut self, need: &mut Need) {
        self.reserved -= std::mem::take(&mut need.reserved);
        need.since = None;
    }

    /// A link gets no more credit.
    pub(in crate::puller) fn leave(&mut self, id: LinkId, need: &mut Need) {
        self.unreserve(need);
        self.waiting.remove(id);
    }
}

impl<H: Clone + Default> PullLink<H> {
    /// Until when the credit for which memory is reserved may be unused. If it were recalled before the pusher could
    /// use it, no message would ever be sent.
    pub(in crate::puller) fn memory_timeout(&self) -> Option<Time> {
        let patience = self.session.round_trip().map_or(UNKNOWN_ROUND_TRIP, |time| time + RECALL_DELAY);
        self.need.since.map(|since| since + patience)
    }
}

impl<H: Clone + Default> Puller<H> {
    /// A batch has arrived, and its last message has this size. `exceeds`: it exceeded the byte credit.
    pub(in crate::puller) fn measure_need(&mut self, id: LinkId, size: u64, exceeds: bool) {
        let links = self.links.len() as u64;
        let Some(link) = self.links.get_mut(id) else { return };
        self.memory.unreserve(&mut link.need);
        // A single link gets no byte credit before its queue is below the budget.
        let is_large = links > 1
            && size.saturating_mul(links).saturating_mul(MIN_LARGE_PART) > self.settings.budget_bytes;
        link.need.size = if is_large && (exceeds || link.need.size > 0) { size } else { 0 };
    }

    /// Whether a link may get credit: it sends no large messages, or it is first in line and there is room for one.
    pub(in crate::puller) fn has_memory(&self, id: LinkId, link: &PullLink<H>) -> bool {
        let taken = self.queued.bytes + self.memory.reserved;
        !link.need.is_open()
            || ((taken == 0 || taken + link.need.size <= self.settings.budget_bytes)
                && self.first_for_memory().is_none_or(|first| first == id))
    }

    /// The first link in line that can be granted byte credit. Links that lack a place do not stop others.
    fn first_for_memory(&self) -> Option<LinkId> {
        let free = self.free_places();
        self.memory.waiting.turn().find(|id| {
            self.links.get(*id).is_some_and(|link| {
                link.may_be_granted()
                    && link.need.is_open()
                    && link.no_credit_until.is_none()
                    && !link.grant.is_usable()
                    && (link.grant.unused().messages > 0
                        || self.place_queue.room(link.ticket, false, free) > 0)
            })
        })
    }

    /// A link cannot get credit before there is memory.
    pub(in crate::puller) fn wait_for_memory(&mut self, id: LinkId) {
        self.memory.waiting.insert(id);
    }

    /// A link has got credit that it can use: reserves the memory for its next message.
    pub(in crate::puller) fn reserve_memory(&mut self, now: Time, id: LinkId) {
        if let Some(link) = self.links.get_mut(id).filter(|link| link.need.is_open()) {
            link.need.reserved = link.need.size;
            link.need.since = Some(now);
            if link.session.round_trip().is_none() {
                link.session.begin_probing(now);
                mark_ready(&mut self.ready_links, id, link);
            }
            self.memory.reserved += link.need.size;
            self.memory.waiting.remove(id);
        }
    }

    /// Memory may have become free: wakes the link that is first in line.
    pub(in crate::puller) fn grant_memory(&mut self) {
        if self.memory.waiting.len() == 0 {
            return;
        }
        let found = self.first_for_memory();
        if found.is_none() {
            self.memory.waiting.end_turn(None);
        }
        // A link that would get nothing is not woken, or it would be woken again and again.
        let wanted = self.lacks_deliveries();
        if let Some(id) = found
            && (self.can_be_granted(id) || (wanted && self.has_room(id)))
        {
            self.request_grant(id);
        }
    }

    /// A link has not used its credit: the memory is no longer reserved, and the credit is recalled if others wait.
    pub(in crate::puller) fn handle_memory_timeout(&mut self, now: Time, id: LinkId) {
        let Some(link) = self.links.get_mut(id) else { return };
        if link.memory_timeout().is_none_or(|at| now < at) {
            return;
        }
        if self.partial_frames.is_arriving(id) {
            link.need.since = Some(now);
            return;
        }
        self.memory.unreserve(&mut link.need);
        if self.memory.waiting.len() > 0 && link.may_be_granted() {
            link.recall = Recall::Due;
            mark_ready(&mut self.ready_links, id, link);
        }
        self.grant_memory();
    }

    /// The queued deliveries of all links have used up the byte budget: releases what has just arrived on a link that
    /// had `queued` deliveries before, and recalls its credit (RC-4).
    pub(in crate::puller) fn release_excess(&mut self, id: LinkId, queued: u64) {
        let Some(link) = self.links.get_mut(id) else { return };
        let excess = link.queued.messages.saturating_sub(queued);
        if excess == 0 {
            return; // duplicates, which are not queued
        }
        // The pusher must not send them back with the credit that it has left.
        if link.may_be_granted() {
            link.recall = Recall::Due;
        }
        mark_ready(&mut self.ready_links, id, link);
        self.stats.released_for_memory += excess;
        let before = self.queued.bytes;
        self.release(id, excess);
        let size = (before - self.queued.bytes).max(1);
        if let Some(link) = self.links.get_mut(id) {
            link.need.size = size;
        }
        self.wait_for_memory(id);
    }
}
