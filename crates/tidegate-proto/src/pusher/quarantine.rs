//! The quarantine: a message that may be poison is sent alone (RD-4).
//!
//! ```text
//! Off ── poison waits, and the link has the fewest messages ──► Reserved ── empty ──► Occupied ── settled ──► Off
//! ```

use super::Pusher;
use crate::link_id::LinkId;

/// Deliveries between two quarantined messages, while there is other work. A puller that breaks its links again and
/// again causes quarantined messages faster than they can be sent, and they must not occupy all links (RD-4).
const MIN_SENT_BETWEEN_POISON: u64 = 200;

/// Whether a link is taken out of the round-robin for a quarantined message, which is sent alone (RD-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Quarantine {
    Off,
    /// The link gets no new messages, so that it becomes empty for a quarantined one.
    Reserved,
    /// A quarantined message is in flight on the link.
    Occupied,
}

impl Pusher {
    /// Sends a quarantined message alone, on a link with nothing un-acked (RD-4). If there is none, the link with the
    /// fewest messages in flight is reserved: it gets no new messages until it is empty.
    pub(super) fn place_poison(&mut self) {
        let settings = &self.settings;
        let able = self
            .links
            .iter()
            .filter(|(_, link)| link.can_send(settings) && link.quarantine != Quarantine::Occupied);
        let Some((id, _)) = able.min_by_key(|(_, link)| link.flight.amount().messages) else { return };
        let Some(link) = self.links.get_mut(id) else { return };
        let idle = self.backlog.is_empty() && link.flight.is_empty();
        if self.stats.sent < self.next_poison && !idle {
            return;
        }
        if link.flight.is_empty() {
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
            && link.flight.is_empty()
        {
            link.quarantine = Quarantine::Off;
        }
    }
}
