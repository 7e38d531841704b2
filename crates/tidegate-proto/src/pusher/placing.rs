//! Chooses the link for a message (RR-1 … RR-3, RD-4).

use super::{
    Pusher,
    backlog::Pending,
    flight::Extra,
    link::{PushLink, Quarantine},
};
use crate::{links::LinkId, message::Message};

/// Deliveries between two quarantined messages, while there is other work. A puller that breaks its links again and
/// again causes quarantined messages faster than they can be sent, and they must not occupy all links (RD-4).
const MIN_SENT_BETWEEN_POISON: u64 = 200;

/// Puts a link into the list of links to wake, once.
#[inline]
pub(super) fn wake(wakes: &mut Vec<LinkId>, id: LinkId, link: &mut PushLink) {
    if !link.session.woken {
        link.session.woken = true;
        wakes.push(id);
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
                Some(link) if link.is_eligible(&self.settings, &self.losses) => {
                    link.put(number, attempt, extra, message);
                    wake(&mut self.wakes, id, link);
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
                Some(link) if link.is_eligible(&self.settings, &self.losses) => return Some(id),
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
        wake(&mut self.wakes, id, link);
        self.stats.count_sent(attempt);
    }

    /// Adds a link to the ring if it can take messages and is not in it (RR-2). Sends held batches first, and wakes the
    /// link.
    pub(super) fn refresh(&mut self, id: LinkId) {
        let Some(link) = self.links.get(id) else { return };
        if !link.owed.is_empty() {
            self.serve_owed(id);
        }
        let Some(link) = self.links.get_mut(id) else { return };
        if !link.in_ring && link.is_eligible(&self.settings, &self.losses) {
            link.in_ring = true;
            self.ring.push_back(id);
        }
        if link.has_output() {
            wake(&mut self.wakes, id, link);
        }
    }

    /// Sends the held batches that are attached to a link, as far as its credit allows (RD-8).
    fn serve_owed(&mut self, id: LinkId) {
        while let Some(link) = self.links.get_mut(id)
            && link.alone == Quarantine::Off
            && link.is_able(&self.settings)
            && let Some(key) = link.owed.front().copied()
        {
            match self.absent.front(key) {
                Some(next) if !link.is_trusted(&self.losses) && !self.losses.excuses(next) => return,
                Some(_) => {}
                None => {
                    link.owed.pop_front();
                    continue;
                }
            }
            if let Some(pending) = self.absent.pop(key) {
                let extra = Extra { owed: Some(key.0), ..pending.extra() };
                self.put(id, pending.number, pending.attempt, extra, &pending.message);
            }
        }
    }

    fn put_pending(&mut self, id: LinkId, pending: &Pending) {
        self.put(id, pending.number, pending.attempt, pending.extra(), &pending.message);
    }

    /// Gives waiting messages to links, as far as their credit allows.
    pub(super) fn pump(&mut self) {
        if self.backlog.has_suspects() {
            self.place_suspect();
        }
        while !self.backlog.is_empty() && self.turn().is_some() {
            let Some(pending) = self.backlog.pop() else { return };
            self.place(pending.number, pending.attempt, pending.extra(), &pending.message);
        }
    }

    /// Sends a quarantined message alone, on a link with nothing un-acked (RD-4). If there is none, the link with the
    /// fewest messages in flight is reserved: it gets no new messages until it is empty.
    fn place_suspect(&mut self) {
        let settings = &self.settings;
        let able = self
            .links
            .iter()
            .filter(|(_, link)| link.is_able(settings) && link.alone != Quarantine::Occupied);
        let Some((id, _)) = able.min_by_key(|(_, link)| link.flight.messages()) else { return };
        let Some(link) = self.links.get_mut(id) else { return };
        let idle = self.backlog.is_empty() && link.flight.messages() == 0;
        if self.stats.sent < self.next_suspect && !idle {
            return;
        }
        if link.flight.messages() == 0 {
            self.next_suspect = self.stats.sent + MIN_SENT_BETWEEN_POISON;
            if let Some(suspect) = self.backlog.pop_suspect() {
                link.alone = Quarantine::Occupied;
                self.put_pending(id, &suspect);
                self.release_kept();
            }
        } else if !self.links.iter().any(|(_, link)| link.alone == Quarantine::Reserved)
            && let Some(link) = self.links.get_mut(id)
        {
            link.alone = Quarantine::Reserved;
        }
    }

    /// Puts the reserved link back into the ring: the quarantined message was sent on another link, and the next one is
    /// not due.
    fn release_kept(&mut self) {
        let kept = self.links.iter().find(|(_, link)| link.alone == Quarantine::Reserved).map(|(id, _)| id);
        if let Some(link) = kept.and_then(|id| self.links.get_mut(id)) {
            link.alone = Quarantine::Off;
        }
        if let Some(id) = kept {
            self.refresh(id);
        }
    }

    /// Ends the quarantine of a link on which nothing is in flight.
    pub(super) fn release_alone(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(id)
            && link.flight.messages() == 0
        {
            link.alone = Quarantine::Off;
        }
    }
}
