//! Which link gets a message (RR-1 … RR-3, RD-4).

use super::{
    Pusher,
    backlog::Pending,
    flight::Extra,
    link::{Alone, PushLink},
};
use crate::{links::LinkId, message::Message};

/// Messages that others get between two suspects, while there are some: a puller that breaks its links again and again makes
/// suspects faster than they can be tried, and must not have the links of all others to itself (RD-4).
const BETWEEN_SUSPECTS: u64 = 200;

/// The driver of this link has something to do.
#[inline]
pub(super) fn wake(wakes: &mut Vec<LinkId>, id: LinkId, link: &mut PushLink) {
    if !link.session.woken {
        link.session.woken = true;
        wakes.push(id);
    }
}

impl Pusher {
    /// Gives a message to the link whose turn it is (RR-1). False if no link can take one.
    #[inline]
    pub(super) fn place(&mut self, number: u64, attempt: u32, extra: Extra, message: &Message) -> bool {
        loop {
            // As `turn` and `put`, without looking the link up twice: this runs for every message.
            let Some(&id) = self.ring.front() else { return false };
            match self.links.get_mut(id) {
                Some(link) if link.is_eligible(&self.settings, &self.losses) => {
                    link.put(number, attempt, extra, message);
                    wake(&mut self.wakes, id, link);
                    self.stats.count_sent(attempt);
                    // Its next turn is after all others.
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

    /// Puts a link into the ring if it can take messages and is not there (RR-2).
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

    /// Sends a link the messages that its puller had before, as far as its credit goes (RD-8).
    fn serve_owed(&mut self, id: LinkId) {
        while let Some(link) = self.links.get_mut(id)
            && link.alone == Alone::No
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

    /// Hands out what waits, as far as credit goes.
    pub(super) fn pump(&mut self) {
        if self.backlog.has_suspects() {
            self.place_suspect();
        }
        while !self.backlog.is_empty() && self.turn().is_some() {
            let Some(pending) = self.backlog.pop() else { return };
            self.place(pending.number, pending.attempt, pending.extra(), &pending.message);
        }
    }

    /// RD-4: a message that was in flight on two lost links gets a link of its own. If none is empty, the one with
    /// the least in flight is kept from new messages until it is.
    fn place_suspect(&mut self) {
        let settings = &self.settings;
        let able = self.links.iter().filter(|(_, link)| link.is_able(settings) && link.alone != Alone::Used);
        let Some((id, _)) = able.min_by_key(|(_, link)| link.flight.messages()) else { return };
        let Some(link) = self.links.get_mut(id) else { return };
        let idle = self.backlog.is_empty() && link.flight.messages() == 0;
        if self.stats.sent < self.next_suspect && !idle {
            return;
        }
        if link.flight.messages() == 0 {
            self.next_suspect = self.stats.sent + BETWEEN_SUSPECTS;
            if let Some(suspect) = self.backlog.pop_suspect() {
                link.alone = Alone::Used;
                self.put_pending(id, &suspect);
                self.release_kept();
            }
        } else if !self.links.iter().any(|(_, link)| link.alone == Alone::Kept)
            && let Some(link) = self.links.get_mut(id)
        {
            link.alone = Alone::Kept;
        }
    }

    /// The link that was kept for a suspect takes part again: it went elsewhere, and the next one is not due.
    fn release_kept(&mut self) {
        let kept = self.links.iter().find(|(_, link)| link.alone == Alone::Kept).map(|(id, _)| id);
        if let Some(link) = kept.and_then(|id| self.links.get_mut(id)) {
            link.alone = Alone::No;
        }
        if let Some(id) = kept {
            self.refresh(id);
        }
    }

    /// A link on which nothing is in flight takes part again.
    pub(super) fn release_alone(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(id)
            && link.flight.messages() == 0
        {
            link.alone = Alone::No;
        }
    }
}
