//! The pusher: accepts messages, sends them round-robin on links with credit, and keeps each until it is settled.
//!
//! ```text
//! send ──► backlog (fresh) ───► link: batch ──► driver
//!            ▲ returned, delayed, quarantined │
//!            └───── nack, release, loss ◄─────┴──► acked / rejected
//! link lost ──► held batch ──► the puller's new link, or returned
//! ```
//! If the backlog is empty and a link has credit, a message goes from `send` directly into the link's batch.

mod backlog;
mod flight;
mod grace;
mod held;
mod link;
mod quarantine;
mod receive;
mod restore;
mod scheduler;
mod settings;
mod shutdown;
mod stats;
mod working;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use self::scheduler::mark_ready;
use self::{
    backlog::{Backlog, Pending},
    flight::Extra,
    held::HeldBatches,
    link::PushLink,
    restore::Synced,
    shutdown::Phase,
};
pub use self::{
    restore::{NUMBER_BLOCK, RestoreError, Restored, RestoredMessage, StoreRecord},
    settings::PusherSettings,
    shutdown::{Leftover, Undelivered},
    stats::{PushLinkStats, PushStats},
};
use crate::{
    limits::SlowStart,
    link::{Links, PeerKey},
    link_id::LinkId,
    message::{InstanceId, Message, MessageError},
    random::Random,
    violation::SettingError,
    wire::OpenBatch,
};

/// The minimum of the delay that a `Nack` requests, so that a failing message is not retried without a pause (OC-6).
const MIN_NACK_DELAY: Duration = Duration::from_millis(10);

/// A message that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Accepted {
    /// The number of the message. Together with the pusher's instance, it is the message id (DL-2).
    pub number: u64,
    /// The size of the message in bytes (CR-4).
    pub size: usize,
}

/// A message that was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The message, unchanged.
    pub message: Message,
    /// Why it was not accepted.
    pub reason: Blocked,
}

/// Why a message is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Blocked {
    /// The high-water mark or the bound on held messages is reached, or the store has not synced the next block of
    /// numbers (RD-11). Try again later.
    #[error("no room: the high-water mark or the bound on held messages is reached")]
    Full,
    /// The pusher is draining, finished or aborted.
    #[error("the pusher accepts no new messages")]
    Closed,
    /// The message exceeds a limit.
    #[error(transparent)]
    Invalid(MessageError),
}

/// A message that was rejected, and will not be sent again (OC-9, OC-11).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RejectedMessage {
    /// The number of the message.
    pub number: u64,
    /// The message.
    pub message: Message,
    /// The number of attempts.
    pub attempts: u32,
    /// The reason, truncated to 256 bytes. It may be text from the peer: escape it before you show it.
    pub reason: String,
}

/// The outcome of a tracked message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FinalOutcome {
    /// Processed.
    Acked,
    /// Rejected (OC-9, OC-11).
    Rejected {
        /// The reason. It may be text from the peer: escape it before you show it.
        reason: String,
        /// The number of attempts.
        attempts: u32,
    },
}

/// An event of a pusher, for its driver; see [`Pusher::poll_event`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PusherEvent {
    /// The tracked message with this number has its outcome.
    Settled(u64, FinalOutcome),
    /// A message has failed ten times, and there is no limit on attempts that will reject it. Reported once for each
    /// message.
    Failing {
        /// The number of the message.
        number: u64,
        /// The number of failures.
        failures: u32,
        /// The reason of the last failure. It may be text from the peer: escape it before you show it.
        reason: String,
    },
    /// A drain is complete: every message is settled, and every link is being closed.
    Drained,
}

/// The state machine of the pusher role.
///
/// The documentation of the [crate] describes how a driver uses it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pusher {
    settings: PusherSettings,
    instance: InstanceId,
    random: Random,
    links: Links<PushLink>,
    /// Links whose peer is the connector, by its key (HS-9).
    slots: BTreeMap<PeerKey, LinkId>,
    /// Links that take part in the round-robin, in turn (RR-1).
    ring: VecDeque<LinkId>,
    backlog: Backlog,
    /// Messages of lost links that are held for their pullers to reconnect (RD-8).
    held_batches: HeldBatches,
    slow_start: SlowStart,
    /// Reservations for messages, and for their bytes as far as these are known.
    reserved: usize,
    reserved_bytes: u64,
    next_number: u64,
    /// What the store of the pusher has synced (RD-11).
    synced: Synced,
    /// The number of deliveries that must have been made before the next quarantined message is sent (RD-4).
    next_poison: u64,
    phase: Phase,
    rejected: VecDeque<RejectedMessage>,
    keep_rejected: bool,
    events: VecDeque<PusherEvent>,
    ready_links: Vec<LinkId>,
    stats: PushStats,
}

impl Pusher {
    /// Makes a pusher without links. `seed` is the seed of its jitter.
    ///
    /// # Errors
    /// The first setting outside its range (LM-1).
    pub fn new(settings: PusherSettings, instance: InstanceId, seed: u64) -> Result<Self, SettingError> {
        settings.check()?;
        Ok(Self::empty(settings, instance, seed))
    }

    fn empty(settings: PusherSettings, instance: InstanceId, seed: u64) -> Self {
        Self {
            settings,
            instance,
            random: Random::new(seed),
            links: Links::default(),
            slots: BTreeMap::new(),
            ring: VecDeque::new(),
            backlog: Backlog::default(),
            held_batches: HeldBatches::default(),
            slow_start: SlowStart::default(),
            reserved: 0,
            reserved_bytes: 0,
            next_number: 0,
            synced: Synced::IN_MEMORY,
            next_poison: 0,
            phase: Phase::Open,
            rejected: VecDeque::new(),
            keep_rejected: false,
            events: VecDeque::new(),
            ready_links: Vec::new(),
            stats: PushStats::default(),
        }
    }

    /// The instance of this pusher, which is part of its message ids (HS-8).
    #[must_use]
    pub fn instance(&self) -> InstanceId {
        self.instance
    }

    /// Accepts a message: puts it into the batch of the next link with credit, or queues it. With `tracked`, the
    /// outcome is reported as [`PusherEvent::Settled`].
    ///
    /// # Errors
    /// Returns the message, and why it was not accepted.
    pub fn send(&mut self, message: Message, tracked: bool) -> Result<Accepted, Refused> {
        if let Err(reason) = self.may_accept(&message, false) {
            return Err(Refused { message, reason });
        }
        Ok(self.accept(message, tracked))
    }

    /// Accepts an untracked message without headers on a fast path. Afterwards, `message` may be empty.
    ///
    /// Returns `None`, and leaves `message` as it is, if the fast path cannot take it. Then call [`Self::send`].
    #[inline]
    pub fn try_send_fast(&mut self, message: &mut Message) -> Option<Accepted> {
        let size = message.payload().len();
        if !(message.headers().is_empty() && self.has_room_for(size)) {
            return None;
        }
        let number = self.next_number;
        if !(self.backlog.is_empty() && self.place(number, 1, Extra::default(), message)) {
            if !self.queue_has_room() {
                return None;
            }
            let message = std::mem::take(message);
            self.backlog.push_fresh(Pending::fresh(number, false, message));
        }
        Some(self.accepted(size))
    }

    /// Accepts a payload, and copies it directly into the buffer of a link.
    ///
    /// Returns `None` if no link can take it at once, or if it is too large to be copied. Then call [`Self::send`].
    #[inline]
    pub fn send_slice(&mut self, payload: &[u8]) -> Option<Accepted> {
        if !(OpenBatch::copies(payload) && self.backlog.is_empty() && self.has_room_for(payload.len())) {
            return None;
        }
        let id = self.turn()?;
        if self.ring.len() > 1 {
            self.ring.rotate_left(1);
        }
        let number = self.next_number;
        let link = self.links.get_mut(id)?;
        link.put_slice(number, payload);
        mark_ready(&mut self.ready_links, id, link);
        self.stats.count_sent(1);
        Some(self.accepted(payload.len()))
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
    fn unsettled(&self) -> u64 {
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

    /// The wait before the next attempt of a message (OC-6).
    fn retry_delay(&mut self, failures: u32, asked: Duration) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let grown =
            self.settings.min_retry_delay.saturating_mul(1 << doublings).min(self.settings.max_retry_delay);
        let max_delay = self.settings.max_nack_delay;
        let asked = if asked.is_zero() { asked } else { asked.max(MIN_NACK_DELAY).min(max_delay) };
        self.random.stretch(if asked.is_zero() { grown } else { asked })
    }

    /// Keeps rejected messages from now on, until [`Self::take_rejected`] takes them. They count as held. If they are
    /// not taken, sends eventually block; none is dropped.
    pub fn keep_rejected(&mut self) {
        self.keep_rejected = true;
    }

    /// Drops rejected messages from now on, and those that were kept. Returns the number of those.
    pub fn drop_rejected(&mut self) -> usize {
        self.keep_rejected = false;
        let gone = std::mem::take(&mut self.rejected);
        self.stats.held_bytes -= gone.iter().map(|rejected| rejected.message.size() as u64).sum::<u64>();
        gone.len()
    }

    /// Takes the oldest rejected message that was kept.
    pub fn take_rejected(&mut self) -> Option<RejectedMessage> {
        let rejected = self.rejected.pop_front()?;
        self.stats.held_bytes -= rejected.message.size() as u64;
        Some(rejected)
    }

    /// Whether [`Self::take_rejected`] would return a message.
    #[must_use]
    pub fn has_rejected(&self) -> bool {
        !self.rejected.is_empty()
    }

    /// Takes the next event. Call it until it returns `None`, after any call that may have settled messages.
    pub fn poll_event(&mut self) -> Option<PusherEvent> {
        self.events.pop_front()
    }

    /// Whether an outcome has arrived on this link, so that the wait before the next connection attempt is reset
    /// (RD-6).
    #[must_use]
    pub fn has_outcome(&self, link: LinkId) -> bool {
        self.links.get(link).is_some_and(|link| link.has_outcome)
    }

    /// Whether all messages that were assigned to open links are written.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.links.iter().all(|(id, link)| !link.session.is_open() || link.stats(id).unwritten == 0)
    }

    /// The statistics of this pusher.
    #[must_use]
    pub fn stats(&self) -> PushStats {
        let in_grace = self.held_batches.len() as u64;
        let queued = self.backlog.len() as u64 + in_grace;
        PushStats {
            queued,
            in_grace,
            delayed: self.backlog.delayed() as u64,
            in_flight: self.unsettled() - queued,
            links: self.links.len() as u64,
            rejected_waiting: self.rejected.len() as u64,
            ..self.stats.clone()
        }
    }

    /// The statistics of each link.
    #[must_use]
    pub fn link_stats(&self) -> Vec<PushLinkStats> {
        self.links.iter().map(|(id, link)| link.stats(id)).collect()
    }
}
