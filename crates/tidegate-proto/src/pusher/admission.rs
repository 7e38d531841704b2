//! Admission: whether a message may be accepted now, and where it goes. [`Pusher::admit`] decides this for every kind
//! of send and reservation.
//!
//! ```text
//! send, try_send_fast, reserve, check_room ── Room::Free ────┐
//! send_reserved, try_send_reserved_fast ───── Room::Reserved ┴► admit ─┬─► Link: into the batch of this link
//!                                                                      ├─► Queue: into the backlog
//!                                                                      └─► Full, Closed: not accepted
//! ```

use super::{
    Accepted, Blocked, Pusher, Refused,
    pending::{Extra, Pending},
};
use crate::{
    amount::Amount, link_id::LinkId, message::Message, message_number::MessageNumber, wire::OpenBatch,
};

/// The room that a message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    /// Room that is not reserved.
    Free,
    /// The room of a reservation. It is there, even beyond the high-water mark.
    Reserved,
}

/// Where a message goes, or why it is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    /// Into the batch of this link, whose turn it is.
    Link(LinkId),
    /// Into the backlog.
    Queue,
    /// There is no room now.
    Full,
    /// The pusher accepts no new messages.
    Closed,
}

impl Pusher {
    /// Decides whether a message may be accepted now, and where it goes. Nothing else decides this.
    ///
    /// The size of the message does not matter. The bounds in bytes admit one whole message if fewer bytes are used
    /// than they allow. Otherwise a large message could wait forever while small ones are accepted.
    #[inline]
    fn admit(&mut self, room: Room) -> Admission {
        if !self.is_open() {
            return Admission::Closed;
        }
        // No number may be used that the store has not synced (DL-2, RD-11). A reservation has a number.
        let full = match room {
            Room::Free => self.free_numbers() == 0 || !self.held_room().admits_message(),
            Room::Reserved => self.unused_numbers() == 0,
        };
        if full {
            return Admission::Full;
        }
        // Older messages come first (RR-3).
        let link = if self.backlog.is_empty() { self.turn() } else { None };
        match (room, link) {
            (Room::Reserved, Some(id)) => Admission::Link(id),
            (Room::Reserved, None) => Admission::Queue,
            (Room::Free, Some(id)) if self.has_unpromised_credit() => Admission::Link(id),
            (Room::Free, None) if self.queue_room().admits_message() => Admission::Queue,
            (Room::Free, _) => Admission::Full,
        }
    }

    /// Whether links have credit for one more message than was reserved beyond the high-water mark. Call it only if
    /// one of them can take a message.
    #[inline]
    fn has_unpromised_credit(&self) -> bool {
        // Reservations up to the high-water mark are for room in the queue, and take no credit of links.
        let promised = self.reserved.messages.saturating_sub(self.settings.high_water_mark as u64);
        promised == 0 || self.has_credit_beyond(promised)
    }

    /// Whether the credit of all links together exceeds this number of messages.
    fn has_credit_beyond(&self, mut promised: u64) -> bool {
        self.ring.iter().filter_map(|id| self.links.get(*id)).any(|link| {
            let room = link.room(&self.settings, &self.slow_start);
            let more = room > promised;
            promised = promised.saturating_sub(room);
            more
        })
    }

    /// What is free below the high-water mark, beside the reservations (CR-8).
    #[inline]
    fn queue_room(&self) -> Amount {
        let mark = Amount::new(self.settings.high_water_mark as u64, self.settings.high_water_mark_bytes);
        mark.saturating_sub(self.backlog.fresh() + self.reserved)
    }

    /// What is free below the bound on held messages, beside the reservations (CR-8).
    #[inline]
    fn held_room(&self) -> Amount {
        let bound = Amount::new(self.settings.max_held as u64, self.settings.max_held_bytes);
        bound.saturating_sub(self.held() + self.reserved)
    }

    /// Accepts a message: puts it into the batch of the next link with credit, or queues it. With `tracked`, the
    /// outcome is reported as [`PusherEvent::Settled`](super::PusherEvent::Settled).
    ///
    /// # Errors
    /// Returns the message, and why it was not accepted.
    pub fn send(&mut self, message: Message, tracked: bool) -> Result<Accepted, Refused> {
        self.accept(Room::Free, message, tracked)
    }

    /// Accepts an untracked message without headers, and copies its payload into the batch of the next link with
    /// credit.
    ///
    /// Returns `None` if no link can take it at once, if older messages wait, or if the payload is too large to be
    /// copied ([`OpenBatch::copies`]). Then call [`Self::send`].
    #[inline]
    pub fn try_send_fast(&mut self, payload: &[u8]) -> Option<Accepted> {
        self.accept_copied(Room::Free, payload)
    }

    /// Does what [`Self::try_send_fast`] does, with a reservation that was made for `promised` bytes. If the message is
    /// accepted, the reservation is used up. Otherwise call [`Self::send_reserved`].
    pub fn try_send_reserved_fast(&mut self, payload: &[u8], promised: u64) -> Option<Accepted> {
        let accepted = self.accept_copied(Room::Reserved, payload)?;
        self.unreserve(promised);
        Some(accepted)
    }

    /// Reserves room for one message of a later [`Self::send_reserved`], in the queue or on a link with credit.
    ///
    /// If that link has no credit any more when the message is sent, the message is queued beyond the high-water mark:
    /// at most one for each reservation. The bounds in bytes count `size` bytes for the reservation. So with a `size`
    /// of 0, each reservation may exceed them by one message.
    ///
    /// # Errors
    /// There is no room, or the pusher accepts no new messages.
    pub fn reserve(&mut self, size: u64) -> Result<(), Blocked> {
        self.check_room()?;
        self.reserved += Amount::new(1, size);
        Ok(())
    }

    /// Cancels a reservation that was made for `size` bytes.
    pub fn unreserve(&mut self, size: u64) {
        self.reserved = self.reserved.saturating_sub(Amount::new(1, size));
    }

    /// Reduces a reservation by `bytes` bytes.
    pub fn unreserve_bytes(&mut self, bytes: u64) {
        self.reserved = self.reserved.saturating_sub(Amount::new(0, bytes));
    }

    /// Accepts a message with a reservation that was made for `promised` bytes. The call uses up the reservation, even
    /// if it fails.
    ///
    /// # Errors
    /// The message is invalid, or the pusher accepts no new messages. It never fails for lack of room.
    pub fn send_reserved(
        &mut self,
        message: Message,
        tracked: bool,
        promised: u64,
    ) -> Result<Accepted, Refused> {
        self.unreserve(promised);
        self.accept(Room::Reserved, message, tracked)
    }

    /// Checks whether one more message can be accepted.
    ///
    /// # Errors
    /// There is no room, or the pusher accepts no new messages.
    pub fn check_room(&mut self) -> Result<(), Blocked> {
        match self.admit(Room::Free) {
            Admission::Link(_) | Admission::Queue => Ok(()),
            Admission::Full => Err(Blocked::Full),
            Admission::Closed => Err(Blocked::Closed),
        }
    }

    /// Whether the bounds in bytes allow one more message.
    #[must_use]
    pub fn has_byte_room(&self) -> bool {
        self.queue_room().min(self.held_room()).bytes > 0
    }

    /// The number of messages that the queue can take beside those that were reserved.
    #[must_use]
    pub fn free_slots(&self) -> usize {
        if !self.is_open() || !self.has_byte_room() {
            return 0;
        }
        let slots = self.queue_room().min(self.held_room()).messages.min(self.free_numbers());
        usize::try_from(slots).unwrap_or(usize::MAX)
    }

    /// Messages held in total. It is only valid while messages are accepted, and so before an abort.
    #[inline]
    fn held(&self) -> Amount {
        let unsettled = self.stats.accepted - self.stats.acked - self.stats.rejected;
        Amount::new(unsettled + self.rejected.len() as u64, self.stats.held_bytes)
    }

    /// Messages that were neither acked, rejected nor returned by an abort.
    pub(super) fn unsettled(&self) -> u64 {
        self.stats.accepted - self.stats.acked - self.stats.rejected - self.stats.aborted
    }

    /// Accepts a message if it is valid and there is room.
    fn accept(&mut self, room: Room, message: Message, tracked: bool) -> Result<Accepted, Refused> {
        if let Err(error) = message.check(self.settings.max_message) {
            return Err(Refused { message, reason: Blocked::Invalid(error) });
        }
        let (number, size) = (MessageNumber::new(self.next_number), message.size());
        match self.admit(room) {
            Admission::Link(id) => {
                let extra = Extra { tracked, ..Extra::default() };
                self.put_in_turn(id, 1, |link| link.put(number, 1, extra, &message));
            }
            Admission::Queue => self.backlog.push_fresh(Pending::fresh(number, tracked, message)),
            Admission::Full => return Err(Refused { message, reason: Blocked::Full }),
            Admission::Closed => return Err(Refused { message, reason: Blocked::Closed }),
        }
        Ok(self.accepted(size))
    }

    /// Accepts a payload if it is copied and goes to a link at once.
    #[inline]
    fn accept_copied(&mut self, room: Room, payload: &[u8]) -> Option<Accepted> {
        if !OpenBatch::copies(payload) || payload.len() as u64 > self.settings.max_message {
            return None;
        }
        let Admission::Link(id) = self.admit(room) else { return None };
        let number = MessageNumber::new(self.next_number);
        self.put_in_turn(id, 1, |link| link.put_slice(number, payload));
        Some(self.accepted(payload.len()))
    }

    /// Counts a message as accepted.
    #[inline]
    fn accepted(&mut self, size: usize) -> Accepted {
        let number = self.next_number;
        self.next_number += 1;
        self.stats.accepted += 1;
        self.stats.accepted_bytes += size as u64;
        self.stats.held_bytes += size as u64;
        Accepted { number, size }
    }
}
