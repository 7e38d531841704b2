//! Chooses the link for a message (RR-1 … RR-3).

use super::{
    Pusher,
    link::PushLink,
    pending::{Extra, Pending},
    quarantine::Quarantine,
};
use crate::{link_id::LinkId, message::Message};

/// Puts a link into the list of links to wake, once.
#[inline]
pub(super) fn mark_ready(ready_links: &mut Vec<LinkId>, id: LinkId, link: &mut PushLink) {
    if !link.session.ready {
        link.session.ready = true;
        ready_links.push(id);
    }
}

impl Pusher {
    /// Gives a message to the link whose turn it is (RR-1). Returns false if no link can take it.
    #[inline]
    pub(super) fn place(&mut self, number: u64, attempt: u32, extra: Extra, message: &Message) -> bool {
        self.place_with(attempt, |link| link.put(number, attempt, extra, message))
    }

    /// Does what [`Self::place`] does, for the first attempt of a payload that is copied.
    #[inline]
    pub(super) fn place_slice(&mut self, number: u64, payload: &[u8]) -> bool {
        self.place_with(1, |link| link.put_slice(number, payload))
    }

    #[inline]
    fn place_with(&mut self, attempt: u32, put: impl FnOnce(&mut PushLink)) -> bool {
        loop {
            // The same as `turn` and `put`, but with a single lookup of the link, because this runs for every message.
            let Some(&id) = self.ring.front() else { return false };
            match self.links.get_mut(id) {
                Some(link) if link.is_eligible(&self.settings, &self.slow_start) => {
                    put(link);
                    mark_ready(&mut self.ready_links, id, link);
                    self.stats.count_sent(attempt);
                    // The link goes to the end of the ring.
                    if self.ring.len() > 1 {
                        self.ring.rotate_left(1);
                    }
                    return true;
                }
                Some(link) => link.in_ring = false,
                None => {}
            }
            self.ring.pop_front();
        }
    }

    /// The link whose turn it is.
    #[inline]
    pub(super) fn turn(&mut self) -> Option<LinkId> {
        loop {
            let id = *self.ring.front()?;
            match self.links.get_mut(id) {
                Some(link) if link.is_eligible(&self.settings, &self.slow_start) => return Some(id),
                Some(link) => link.in_ring = false,
                None => {}
            }
            self.ring.pop_front();
        }
    }

    #[inline]
    fn put(&mut self, id: LinkId, number: u64, attempt: u32, extra: Extra, message: &Message) {
        let Some(link) = self.links.get_mut(id) else { return };
        link.put(number, attempt, extra, message);
        mark_ready(&mut self.ready_links, id, link);
        self.stats.count_sent(attempt);
    }

    /// Adds a link to the ring if it can take messages and is not in it (RR-2). Sends held batches first, and wakes the
    /// link.
    pub(super) fn refresh(&mut self, id: LinkId) {
        let Some(link) = self.links.get(id) else { return };
        if !link.held.is_empty() {
            self.send_held(id);
        }
        let Some(link) = self.links.get_mut(id) else { return };
        if !link.in_ring && link.is_eligible(&self.settings, &self.slow_start) {
            link.in_ring = true;
            self.ring.push_back(id);
        }
        if link.has_output() {
            mark_ready(&mut self.ready_links, id, link);
        }
    }

    /// Sends the held batches that are attached to a link, as far as its credit allows (RD-8).
    fn send_held(&mut self, id: LinkId) {
        while let Some(link) = self.links.get_mut(id)
            && link.quarantine == Quarantine::Off
            && link.can_send(&self.settings)
            && let Some(key) = link.held.front().copied()
        {
            match self.held_batches.front(key) {
                Some(next)
                    if !link.is_below_cap(&self.slow_start) && !self.slow_start.exempts(next.losses) =>
                {
                    return;
                }
                Some(_) => {}
                None => {
                    link.held.pop_front();
                    continue;
                }
            }
            if let Some(pending) = self.held_batches.pop(key) {
                let extra = Extra { held_until: Some(key.0), ..pending.extra() };
                self.put(id, pending.number, pending.attempt, extra, &pending.message);
            }
        }
    }

    pub(super) fn put_pending(&mut self, id: LinkId, pending: &Pending) {
        self.put(id, pending.number, pending.attempt, pending.extra(), &pending.message);
    }

    /// Gives waiting messages to links, as far as their credit allows.
    pub(super) fn pump(&mut self) {
        if self.backlog.has_poison() {
            self.place_poison();
        }
        while !self.backlog.is_empty() && self.turn().is_some() {
            let Some(pending) = self.backlog.pop() else { return };
            self.place(pending.number, pending.attempt, pending.extra(), &pending.message);
        }
    }
}
