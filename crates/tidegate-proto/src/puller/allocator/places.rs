//! The places of a socket, and the queue of links that have none (CR-6).
//!
//! ```text
//! places = in flight + queued + unused credit + free
//! ```
//! A place is free, or taken by one message of unused credit, or by one delivery until it is settled. Links that have
//! no place wait in a queue. The one that has waited the longest is first.

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
};

use crate::{
    link_id::LinkId,
    puller::{PullerSettings, Window},
};

/// The hard cap on deliveries that are handed out and un-acked. A window of 0 has none (CR-7).
pub(in crate::puller) fn cap(settings: &PullerSettings) -> u64 {
    match settings.window {
        Window::Fixed { messages: 0, .. } => u64::MAX,
        Window::Fixed { messages, .. } => messages.min(settings.budget),
        Window::Auto => settings.budget,
    }
}

/// Links without credit and deliveries. The link that has been without them for the longest time is first.
#[derive(Clone, Debug, Default)]
pub(in crate::puller) struct PlaceQueue {
    next: u64,
    links: BTreeMap<u64, LinkId>,
    /// The number of places that suspended links keep.
    kept: u64,
}

/// The number of a link in the queue. It keeps the number while it is suspended.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::puller) struct Ticket {
    number: Option<u64>,
    suspended: bool,
    /// It keeps a place while it is suspended.
    keeps: bool,
}

impl Ticket {
    /// Whether its link is in the queue, and not suspended.
    pub(in crate::puller) fn waits(self) -> bool {
        self.number.is_some() && !self.suspended
    }
}

impl PlaceQueue {
    /// The number of links that wait.
    pub(in crate::puller) fn len(&self) -> u64 {
        self.links.len() as u64
    }

    /// The link that has waited the longest.
    pub(in crate::puller) fn first(&self) -> Option<LinkId> {
        self.links.first_key_value().map(|(_, link)| *link)
    }

    /// Adds a link that has neither credit nor deliveries.
    pub(in crate::puller) fn enter(&mut self, link: LinkId, ticket: &mut Ticket) {
        if ticket.number.is_none() {
            *ticket = Ticket { number: Some(self.next), ..Ticket::default() };
            self.links.insert(self.next, link);
            self.next += 1;
        }
    }

    /// Removes a link that has credit or deliveries, or that gets no more credit.
    pub(in crate::puller) fn leave(&mut self, ticket: &mut Ticket) {
        let ticket = std::mem::take(ticket);
        self.kept -= u64::from(ticket.keeps);
        if let Some(number) = ticket.number {
            self.links.remove(&number);
        }
    }

    /// Takes a link out of the queue until [`Self::resume`]. If it `keeps` a place, links in the queue may take that
    /// place, but no link that has one already.
    pub(in crate::puller) fn suspend(&mut self, ticket: &mut Ticket, keeps: bool) {
        if let Some(number) = ticket.number.filter(|_| !ticket.suspended) {
            (ticket.suspended, ticket.keeps) = (true, keeps);
            self.kept += u64::from(keeps);
            self.links.remove(&number);
        }
    }

    /// Puts a link back to its position before [`Self::suspend`].
    pub(in crate::puller) fn resume(&mut self, link: LinkId, ticket: &mut Ticket) {
        if let Some(number) = ticket.number.filter(|_| std::mem::take(&mut ticket.suspended)) {
            self.kept -= u64::from(std::mem::take(&mut ticket.keeps));
            self.links.insert(number, link);
        }
    }

    /// The number of `free` places that a link may take. Each link in the queue gets one place before any link gets a
    /// second one. A link that `rests` has not used its last credit, and gets no second place.
    pub(in crate::puller) fn room(&self, ticket: Ticket, is_resting: bool, free: u64) -> u64 {
        let spare = if is_resting { 0 } else { free.saturating_sub(self.len() + self.kept) };
        match ticket.number.filter(|_| !ticket.suspended) {
            None => spare,
            Some(number) => {
                let first = usize::try_from(free).unwrap_or(usize::MAX);
                let ahead =
                    if self.len() <= free { 0 } else { self.links.range(..number).take(first).count() };
                if ahead < first { 1 + spare } else { 0 }
            }
        }
    }
}

// Only the order counts, not the numbers, which never repeat.
impl Hash for PlaceQueue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.links.len(), self.kept).hash(state);
        self.links.values().for_each(|link| link.hash(state));
    }
}

impl PartialEq for PlaceQueue {
    fn eq(&self, other: &Self) -> bool {
        self.kept == other.kept && self.links.values().eq(other.links.values())
    }
}

impl Eq for PlaceQueue {}

impl Hash for Ticket {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.number.is_some(), self.suspended, self.keeps).hash(state);
    }
}

impl PartialEq for Ticket {
    fn eq(&self, other: &Self) -> bool {
        let key = |ticket: &Self| (ticket.number.is_some(), ticket.suspended, ticket.keeps);
        key(self) == key(other)
    }
}

impl Eq for Ticket {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Links;

    #[test]
    fn cr_6_every_waiting_link_gets_one_place_before_any_link_gets_two() {
        // CR-6
        let mut links = Links::default();
        let ids = [(); 3].map(|()| links.insert(()));
        let mut queue = PlaceQueue::default();
        let mut tickets = [Ticket::default(); 3];
        ids.iter().zip(&mut tickets).for_each(|(id, ticket)| queue.enter(*id, ticket));
        let room =
            |queue: &PlaceQueue, tickets: &[Ticket; 3], free| tickets.map(|t| queue.room(t, false, free));
        assert_eq!(room(&queue, &tickets, 0), [0, 0, 0]);
        assert_eq!(room(&queue, &tickets, 2), [1, 1, 0], "first come, first served");
        assert_eq!(room(&queue, &tickets, 5), [3, 3, 3], "one for each, and two for any link");
        assert_eq!(queue.room(Ticket::default(), false, 4), 1, "a link with credit gets what is left");
        assert_eq!(
            queue.room(tickets[0], true, 5),
            1,
            "a link that has not used its credit gets one place only"
        );
        queue.suspend(&mut tickets[0], true);
        assert_eq!(queue.room(Ticket::default(), false, 3), 0, "the suspended link keeps one");
        assert_eq!(queue.room(tickets[1], false, 3), 1);
        queue.resume(ids[0], &mut tickets[0]);
        queue.suspend(&mut tickets[0], false);
        assert_eq!(
            queue.room(Ticket::default(), false, 3),
            1,
            "a suspended link without a kept place takes none"
        );
        assert_eq!(room(&queue, &tickets, 1), [0, 1, 0]);
        assert_eq!(queue.room(tickets[0], true, 9), 0);
        queue.resume(ids[0], &mut tickets[0]);
        assert_eq!(queue.first(), Some(ids[0]), "at its position before");
        queue.leave(&mut tickets[0]);
        assert_eq!((queue.first(), queue.len()), (Some(ids[1]), 2));
    }
}
