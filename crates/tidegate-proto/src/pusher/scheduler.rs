//! Chooses the link for a message (RR-1 … RR-3).

use super::{
    Pusher,
    link::PushLink,
    pending::{Extra, Pending},
    quarantine::Quarantine,
};
use crate::link_id::LinkId;

/// Puts a link into the list of links to wake, once.
#[inline]
pub(super) fn mark_ready(ready_links: &mut Vec<LinkId>, id: LinkId, link: &mut PushLink) {
    if !link.session.ready {
        link.session.ready = true;
        ready_links.push(id);
    }
}

impl Pusher {
    /// The link whose turn it is: it is at the front of the ring, and can take a message.
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

    /// Puts a message onto the link whose turn it is, which goes to the end of the ring (RR-1). Call it right after
    /// [`Self::turn`], with its result.
    #[inline]
    pub(super) fn put_in_turn(&mut self, id: LinkId, attempt: u32, put: impl FnOnce(&mut PushLink)) {
        self.put_on(id, attempt, put);
        if self.ring.len() > 1 {
            self.ring.rotate_left(1);
        }
    }

    #[inline]
    fn put_on(&mut self, id: LinkId, attempt: u32, put: impl FnOnce(&mut PushLink)) {
        let Some(link) = self.links.get_mut(id) else { return };
        put(link);
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
                self.put_on(id, pending.attempt, |link| link.put_pending(&pending, extra));
            }
        }
    }

    pub(super) fn put_pending(&mut self, id: LinkId, pending: &Pending) {
        self.put_on(id, pending.attempt, |link| link.put_pending(pending, pending.extra()));
    }

    /// Gives waiting messages to links, as far as their credit allows.
    pub(super) fn pump(&mut self) {
        if self.backlog.has_poison() {
            self.place_poison();
        }
        while !self.backlog.is_empty()
            && let Some(id) = self.turn()
            && let Some(pending) = self.backlog.pop()
        {
            self.put_in_turn(id, pending.attempt, |link| link.put_pending(&pending, pending.extra()));
        }
    }
}
