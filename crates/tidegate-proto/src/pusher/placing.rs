//! Chooses the link for a message (RR-1 … RR-3, RD-4).

use super::{
    Pusher,
    backlog::Pending,
    flight::Extra,
    link::{PushLink, Quarantine},
};
use crate::{link_id::LinkId, message::Message};

/// Deliveries between two quarantined messages, while there is other work. A puller that breaks its links again and
/// again causes quarantined messages faster than they can be sent, and they must not occupy all links (RD-4).
const MIN_SENT_BETWEEN_POISON: u64 = 200;

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
        loop {
            // The same as `turn` and `put`, but with a single lookup of the link, because this runs for every message.
            let Some(&id) = self.ring.front() else { return false };
            match self.links.get_mut(id) {
                Some(link) if link.is_eligible(&self.settings, &self.slow_start) => {
                    link.put(number, attempt, extra, message);
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

    fn put_pending(&mut self, id: LinkId, pending: &Pending) {
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

    /// Sends a quarantined message alone, on a link with nothing un-acked (RD-4). If there is none, the link with the
    /// fewest messages in flight is reserved: it gets no new messages until it is empty.
    fn place_poison(&mut self) {
        let settings = &self.settings;
        let able = self
            .links
            .iter()
            .filter(|(_, link)| link.can_send(settings) && link.quarantine != Quarantine::Occupied);
        let Some((id, _)) = able.min_by_key(|(_, link)| link.flight.messages()) else { return };
        let Some(link) = self.links.get_mut(id) else { return };
        let idle = self.backlog.is_empty() && link.flight.messages() == 0;
        if self.stats.sent < self.next_poison && !idle {
            return;
        }
        if link.flight.messages() == 0 {
            self.next_poison = self.stats.sent + MIN_SENT_BETWEEN_POISON;
            if let Some(poison) = self.backlog.pop_poison() {
                link.quarantine = Quarantine::Occupied;
                self.put_pending(id, &poison);
                self.release_reserved();
            }
        } else if !self.links.iter().any(|(_, link)| link.quarantine == Quarantine::Reserved)
            && let Some(link) = self.links.get_mut(id)
        {
            link.quarantine = Quarantine::Reserved;
        }
    }

    /// Puts the reserved link back into the ring: the quarantined message was sent on another link, and the next one is
    /// not due.
    fn release_reserved(&mut self) {
        let reserved =
            self.links.iter().find(|(_, link)| link.quarantine == Quarantine::Reserved).map(|(id, _)| id);
        if let Some(link) = reserved.and_then(|id| self.links.get_mut(id)) {
            link.quarantine = Quarantine::Off;
        }
        if let Some(id) = reserved {
            self.refresh(id);
        }
    }

    /// Ends the quarantine of a link on which nothing is in flight.
    pub(super) fn end_quarantine(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(id)
            && link.flight.messages() == 0
        {
            link.quarantine = Quarantine::Off;
        }
    }
}
