//! Admission: whether a message may be accepted now, and where it goes.
//!
//! ```text
//! room on a link, nothing older waits ──► the link's batch
//! room in the backlog ──────────────────► the backlog
//! otherwise ────────────────────────────► Blocked
//! ```

use super::{
    Accepted, Blocked, Pusher, Refused,
    pending::{Extra, Pending},
};
use crate::{message::Message, wire::OpenBatch};

impl Pusher {
    /// Accepts a message: puts it into the batch of the next link with credit, or queues it. With `tracked`, the
    /// outcome is reported as [`PusherEvent::Settled`](super::PusherEvent::Settled).
    ///
    /// # Errors
    /// Returns the message, and why it was not accepted.
    pub fn send(&mut self, message: Message, tracked: bool) -> Result<Accepted, Refused> {
        if let Err(reason) = self.may_accept(&message, false) {
            return Err(Refused { message, reason });
        }
        Ok(self.accept(message, tracked))
    }

    /// Accepts an untracked message without headers, and copies its payload into the batch of the next link with
    /// credit.
    ///
    /// Returns `None` if no link can take it at once, if older messages wait, or if the payload is too large to be
    /// copied ([`OpenBatch::copies`]). Then call [`Self::send`].
    #[inline]
    pub fn try_send_fast(&mut self, payload: &[u8]) -> Option<Accepted> {
        if self.has_room_for(payload.len()) { self.place_at_once(payload) } else { None }
    }

    /// Does what [`Self::try_send_fast`] does, with a reservation that was made for `promised` bytes. If the message is
    /// accepted, the reservation is used up. Otherwise call [`Self::send_reserved`].
    pub fn try_send_reserved_fast(&mut self, payload: &[u8], promised: u64) -> Option<Accepted> {
        let open = self.phase.accepts().is_ok() && self.unused_numbers() > 0;
        if !open || payload.len() as u64 > self.settings.max_message {
            return None;
        }
        let accepted = self.place_at_once(payload)?;
        self.unreserve(promised);
        Some(accepted)
    }

    #[inline]
    fn place_at_once(&mut self, payload: &[u8]) -> Option<Accepted> {
        let places = OpenBatch::copies(payload)
            && self.backlog.is_empty()
            && self.place_slice(self.next_number, payload);
        places.then(|| self.accepted(payload.len()))
    }

    /// Whether the bounds allow a message of `size` bytes, without regard to the high-water mark.
    #[inline]
    fn has_room_for(&self, size: usize) -> bool {
        // Reservations up to the high-water mark are for room in the queue, and take no credit of links.
        let open = self.phase.accepts().is_ok()
            && self.reserved <= self.settings.high_water_mark
            && self.free_numbers() > 0;
        let room = self.held() + self.reserved < self.settings.max_held
            && self.stats.held_bytes + self.reserved_bytes < self.settings.max_held_bytes;
        open && room && size as u64 <= self.settings.max_message
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
        self.reserved += 1;
        self.reserved_bytes += size;
        Ok(())
    }

    /// Cancels a reservation that was made for `size` bytes.
    pub fn unreserve(&mut self, size: u64) {
        self.reserved = self.reserved.saturating_sub(1);
        self.reserved_bytes = self.reserved_bytes.saturating_sub(size);
    }

    /// Reduces a reservation by `bytes` bytes.
    pub fn unreserve_bytes(&mut self, bytes: u64) {
        self.reserved_bytes = self.reserved_bytes.saturating_sub(bytes);
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
        if let Err(reason) = self.may_accept(&message, true) {
            return Err(Refused { message, reason });
        }
        Ok(self.accept(message, tracked))
    }

    fn may_accept(&mut self, message: &Message, promised: bool) -> Result<(), Blocked> {
        message.check(self.settings.max_message).map_err(Blocked::Invalid)?;
        if !promised {
            return self.check_room();
        }
        self.phase.accepts()?;
        // A reservation has a number. Without one, no number may be used that the store has not synced (DL-2).
        if self.unused_numbers() > 0 { Ok(()) } else { Err(Blocked::Full) }
    }

    /// Checks whether one more message can be accepted.
    ///
    /// # Errors
    /// There is no room, or the pusher accepts no new messages.
    pub fn check_room(&mut self) -> Result<(), Blocked> {
        self.phase.accepts()?;
        let held = self.held() + self.reserved;
        let held_bytes = self.stats.held_bytes + self.reserved_bytes;
        if held >= self.settings.max_held
            || held_bytes >= self.settings.max_held_bytes
            || self.free_numbers() == 0
        {
            return Err(Blocked::Full);
        }
        if self.queue_has_room() || self.links_have_room() { Ok(()) } else { Err(Blocked::Full) }
    }

    /// Whether links have credit for one more message than was reserved beyond the high-water mark.
    fn links_have_room(&mut self) -> bool {
        if !self.backlog.is_empty() || self.turn().is_none() {
            return false;
        }
        let mut promised = self.reserved.saturating_sub(self.settings.high_water_mark) as u64;
        self.ring.iter().filter_map(|id| self.links.get(*id)).any(|link| {
            let room = link.room(&self.settings, &self.slow_start);
            let more = room > promised;
            promised = promised.saturating_sub(room);
            more
        })
    }

    /// Whether the bounds in bytes allow one more message.
    #[must_use]
    pub fn has_byte_room(&self) -> bool {
        self.backlog.fresh().1 + self.reserved_bytes < self.settings.high_water_mark_bytes
            && self.stats.held_bytes + self.reserved_bytes < self.settings.max_held_bytes
    }

    /// The number of messages that the queue can take beside those that were reserved.
    #[must_use]
    pub fn free_slots(&self) -> usize {
        let settings = &self.settings;
        if !self.has_byte_room() {
            return 0;
        }
        let (fresh, _) = self.backlog.fresh();
        let queue = settings.high_water_mark.saturating_sub(fresh + self.reserved);
        let numbers = usize::try_from(self.free_numbers()).unwrap_or(usize::MAX);
        queue.min(settings.max_held.saturating_sub(self.held() + self.reserved)).min(numbers)
    }

    #[inline]
    fn queue_has_room(&self) -> bool {
        let (fresh, bytes) = self.backlog.fresh();
        fresh + self.reserved < self.settings.high_water_mark
            && bytes + self.reserved_bytes < self.settings.high_water_mark_bytes
    }

    /// Messages held in total. It is only valid while messages are accepted, and so before an abort.
    fn held(&self) -> usize {
        (self.stats.accepted - self.stats.acked - self.stats.rejected) as usize + self.rejected.len()
    }

    /// Messages that were neither acked, rejected nor returned by an abort.
    pub(super) fn unsettled(&self) -> u64 {
        self.stats.accepted - self.stats.acked - self.stats.rejected - self.stats.aborted
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

    fn accept(&mut self, message: Message, tracked: bool) -> Accepted {
        let (number, size) = (self.next_number, message.size());
        let extra = Extra { tracked, ..Extra::default() };
        if !(self.backlog.is_empty() && self.place(number, 1, extra, &message)) {
            self.backlog.push_fresh(Pending::fresh(number, tracked, message));
        }
        self.accepted(size)
    }
}
