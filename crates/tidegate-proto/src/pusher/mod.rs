//! The pusher: accepts messages, hands them round-robin to links with credit, and keeps each until it is settled.
//!
//! ```text
//! send ──► backlog (fresh) ──► link: batch ──► driver
//!            ▲ returned, delayed, suspects │
//!            └──────── nack, release, loss ┘──► acked / rejected
//!  absent: lost, its puller may come back ─► that puller's new link, or returned
//! ```
//! With credit at hand and nothing in the backlog, a message goes from `send` straight into a link's batch.

mod backlog;
mod ending;
mod flight;
mod grace;
mod link;
mod losses;
mod placing;
mod receive;
mod rest;
mod settings;
mod stats;
mod working;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use self::placing::wake;
use self::{
    backlog::{Backlog, Pending},
    ending::Phase,
    flight::Extra,
    grace::Absent,
    link::PushLink,
    losses::Losses,
};
pub use self::{
    ending::{Leftover, Undelivered},
    settings::PusherSettings,
    stats::{PushLinkStats, PushStats},
};
use crate::{
    identity::PeerKey,
    links::{LinkId, Links},
    message::{InstanceId, Message, MessageError},
    random::Random,
    violation::SettingError,
    wire::OpenBatch,
};
pub(crate) use settings::check_times;

/// The least delay that a puller can ask for: it must not make a failing message go round without a pause (OC-6).
const LEAST_NACK_DELAY: Duration = Duration::from_millis(10);

/// A message has been accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Accepted {
    /// Its number: with the pusher's instance, its id (DL-2).
    pub number: u64,
    /// Bytes that it takes on its way.
    pub size: usize,
}

/// A message has not been accepted, and comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The message as it was given.
    pub message: Message,
    /// Why.
    pub reason: Blocked,
}

/// Why a message is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Blocked {
    /// The high-water mark is reached, or as much is held as may be: try again later.
    #[error("no room: the high-water mark or the bound on held messages is reached")]
    Full,
    /// The pusher is draining, finished or aborted.
    #[error("the pusher takes no new messages")]
    Closed,
    /// The message itself is outside the limits.
    #[error(transparent)]
    Invalid(MessageError),
}

/// A message that will never be sent again (OC-9, OC-11).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Rejected {
    /// Its number.
    pub number: u64,
    /// The message.
    pub message: Message,
    /// How often it was attempted.
    pub attempts: u32,
    /// The puller's reason, cut to 256 bytes. A stranger's text.
    pub reason: String,
}

/// The outcome of a tracked message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Settled {
    /// Processed.
    Acked,
    /// Rejected, with the puller's reason and the number of attempts.
    Rejected {
        /// The puller's reason.
        reason: String,
        /// How often it was attempted.
        attempts: u32,
    },
}

/// What happens inside a pusher that its owner may want to know.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PusherEvent {
    /// A tracked message has its outcome.
    Settled(u64, Settled),
    /// A message has failed ten times, and no limit on attempts will reject it: told once.
    Failing {
        /// Its number.
        number: u64,
        /// How often it has failed.
        failures: u32,
        /// Why it has failed now. A stranger's text.
        reason: String,
    },
    /// A drain is complete: nothing is held any more, and every link is being closed.
    Drained,
}

/// The machine of the pusher role.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pusher {
    settings: PusherSettings,
    instance: InstanceId,
    random: Random,
    links: Links<PushLink>,
    /// Links that the peer connected, by its key (HS-9).
    slots: BTreeMap<PeerKey, LinkId>,
    /// Links that take part in the round-robin, in turn (RR-1).
    ring: VecDeque<LinkId>,
    backlog: Backlog,
    /// What was lost with pullers that may come back (RD-8).
    absent: Absent,
    losses: Losses,
    /// Rooms for messages that are promised, and for their bytes as far as these are known.
    reserved: usize,
    reserved_bytes: u64,
    next_number: u64,
    /// How many deliveries are to be made before the next message that must go alone (RD-4).
    next_suspect: u64,
    phase: Phase,
    rejected: VecDeque<Rejected>,
    keep_rejected: bool,
    events: VecDeque<PusherEvent>,
    wakes: Vec<LinkId>,
    stats: PushStats,
}

impl Pusher {
    /// A pusher without links. `seed` makes its jitter.
    ///
    /// # Errors
    /// The first setting outside its range (LM-1).
    pub fn new(settings: PusherSettings, instance: InstanceId, seed: u64) -> Result<Self, SettingError> {
        settings.check()?;
        Ok(Self {
            settings,
            instance,
            random: Random::new(seed),
            links: Links::default(),
            slots: BTreeMap::new(),
            ring: VecDeque::new(),
            backlog: Backlog::default(),
            absent: Absent::default(),
            losses: Losses::default(),
            reserved: 0,
            reserved_bytes: 0,
            next_number: 0,
            next_suspect: 0,
            phase: Phase::Open,
            rejected: VecDeque::new(),
            keep_rejected: false,
            events: VecDeque::new(),
            wakes: Vec::new(),
            stats: PushStats::default(),
        })
    }

    /// The instance that names this pusher's messages.
    #[must_use]
    pub fn instance(&self) -> InstanceId {
        self.instance
    }

    /// Accepts a message: gives it to the next link with credit, or queues it.
    ///
    /// # Errors
    /// Gives the message back, with the reason.
    pub fn send(&mut self, message: Message, tracked: bool) -> Result<Accepted, Refused> {
        if let Err(reason) = self.may_accept(&message, false) {
            return Err(Refused { message, reason });
        }
        Ok(self.accept(message, tracked))
    }

    /// As [`Self::send`], untracked and by the short way: `None` if the message was not taken, for [`Self::send`] to decide.
    /// What was taken has left an empty message behind.
    #[inline]
    pub fn send_short(&mut self, message: &mut Message) -> Option<Accepted> {
        let size = message.payload().len();
        if !(message.headers().is_empty() && self.takes(size)) {
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

    /// Accepts a payload of which it makes the only copy, in the buffer of a link. `None` if no link can take it at once, or
    /// it is too large to be copied: for [`Self::send`] to decide.
    #[inline]
    pub fn send_slice(&mut self, payload: &[u8]) -> Option<Accepted> {
        if !(OpenBatch::copies(payload) && self.backlog.is_empty() && self.takes(payload.len())) {
            return None;
        }
        let id = self.turn()?;
        if self.ring.len() > 1 {
            self.ring.rotate_left(1);
        }
        let number = self.next_number;
        let link = self.links.get_mut(id)?;
        link.put_slice(number, payload);
        wake(&mut self.wakes, id, link);
        self.stats.count_sent(1);
        Some(self.accepted(payload.len()))
    }

    /// Whether a message of so many bytes can be accepted without looking any further.
    #[inline]
    fn takes(&self, size: usize) -> bool {
        // What the queue has promised takes nothing from the links.
        let open = self.phase.accepts().is_ok() && self.reserved <= self.settings.high_water_mark;
        let room = self.held() + self.reserved < self.settings.max_held
            && self.stats.held_bytes + self.reserved_bytes < self.settings.max_held_bytes;
        open && room && size as u64 <= self.settings.max_message
    }

    /// Promises room for one message to a later [`Self::send_reserved`]: in the queue, or with a link that has credit. If that credit has
    /// gone by then, the message goes into the queue beyond the high-water mark: at most one for each promise. The bounds in bytes
    /// take the message to have `size` of them: with 0, each promise may go beyond them by a whole message.
    ///
    /// # Errors
    /// There is no room, or the pusher takes no new messages.
    pub fn reserve(&mut self, size: u64) -> Result<(), Blocked> {
        self.room()?;
        self.reserved += 1;
        self.reserved_bytes += size;
        Ok(())
    }

    /// Gives a promise of so many bytes back.
    pub fn unreserve(&mut self, size: u64) {
        self.reserved = self.reserved.saturating_sub(1);
        self.reserved_bytes = self.reserved_bytes.saturating_sub(size);
    }

    /// Gives only the bytes of a promise back: it becomes one of a message of any size.
    pub fn unreserve_bytes(&mut self, bytes: u64) {
        self.reserved_bytes = self.reserved_bytes.saturating_sub(bytes);
    }

    /// Accepts a message for which room for `promised` bytes was promised. The promise is used up, whatever comes of it.
    ///
    /// # Errors
    /// The message is invalid, or the pusher takes no new messages; never that there is no room.
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
        if promised { self.phase.accepts() } else { self.room() }
    }

    /// Whether one more message can be accepted.
    ///
    /// # Errors
    /// Why not.
    pub fn room(&mut self) -> Result<(), Blocked> {
        self.phase.accepts()?;
        let held = self.held() + self.reserved;
        let held_bytes = self.stats.held_bytes + self.reserved_bytes;
        if held >= self.settings.max_held || held_bytes >= self.settings.max_held_bytes {
            return Err(Blocked::Full);
        }
        if self.queue_has_room() || self.links_have_room() { Ok(()) } else { Err(Blocked::Full) }
    }

    /// Whether links have credit for one message more than what is promised beyond the queue.
    fn links_have_room(&mut self) -> bool {
        if !self.backlog.is_empty() || self.turn().is_none() {
            return false;
        }
        let mut promised = self.reserved.saturating_sub(self.settings.high_water_mark) as u64;
        self.ring.iter().filter_map(|id| self.links.get(*id)).any(|link| {
            let room = link.room(&self.settings, &self.losses);
            let more = room > promised;
            promised = promised.saturating_sub(room);
            more
        })
    }

    /// Whether the bounds in bytes admit one more message.
    #[must_use]
    pub fn has_byte_room(&self) -> bool {
        self.backlog.fresh().1 + self.reserved_bytes < self.settings.high_water_mark_bytes
            && self.stats.held_bytes + self.reserved_bytes < self.settings.max_held_bytes
    }

    /// How many messages the queue could take beside what is promised.
    #[must_use]
    pub fn spare(&self) -> usize {
        let settings = &self.settings;
        if !self.has_byte_room() {
            return 0;
        }
        let (fresh, _) = self.backlog.fresh();
        let queue = settings.high_water_mark.saturating_sub(fresh + self.reserved);
        queue.min(settings.max_held.saturating_sub(self.held() + self.reserved))
    }

    #[inline]
    fn queue_has_room(&self) -> bool {
        let (fresh, bytes) = self.backlog.fresh();
        fresh + self.reserved < self.settings.high_water_mark
            && bytes + self.reserved_bytes < self.settings.high_water_mark_bytes
    }

    /// Messages held, whatever their state. Asked only while messages are accepted, and so before an abort.
    fn held(&self) -> usize {
        (self.stats.accepted - self.stats.acked - self.stats.rejected) as usize + self.rejected.len()
    }

    /// Messages that have no final outcome.
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
        let grown = self.settings.retry_first.saturating_mul(1 << doublings).min(self.settings.retry_longest);
        let longest = self.settings.max_nack_delay;
        let asked = if asked.is_zero() { asked } else { asked.max(LEAST_NACK_DELAY).min(longest) };
        self.random.stretch(if asked.is_zero() { grown } else { asked })
    }

    /// From now on rejected messages are kept until [`Self::take_rejected`] fetches them. They count as held, so that
    /// who does not fetch them comes to a stop instead of losing them.
    pub fn keep_rejected(&mut self) {
        self.keep_rejected = true;
    }

    /// From now on rejected messages are only counted. Returns how many had not been fetched: they are gone.
    pub fn drop_rejected(&mut self) -> usize {
        self.keep_rejected = false;
        let gone = std::mem::take(&mut self.rejected);
        self.stats.held_bytes -= gone.iter().map(|rejected| rejected.message.size() as u64).sum::<u64>();
        gone.len()
    }

    /// The oldest rejected message that has not been fetched.
    pub fn take_rejected(&mut self) -> Option<Rejected> {
        let rejected = self.rejected.pop_front()?;
        self.stats.held_bytes -= rejected.message.size() as u64;
        Some(rejected)
    }

    /// Whether [`Self::take_rejected`] would give something.
    #[must_use]
    pub fn has_rejected(&self) -> bool {
        !self.rejected.is_empty()
    }

    /// What has happened since the last call.
    pub fn poll_event(&mut self) -> Option<PusherEvent> {
        self.events.pop_front()
    }

    /// Whether a link can be told apart from one that never did anything: an outcome has come over it (RD-6).
    #[must_use]
    pub fn is_proven(&self, link: LinkId) -> bool {
        self.links.get(link).is_some_and(|link| link.proven)
    }

    /// Whether everything that was given to links has been handed to their drivers and written.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.links.iter().all(|(id, link)| !link.session.is_open() || link.stats(id).unwritten == 0)
    }

    /// Counts and what is held now.
    #[must_use]
    pub fn stats(&self) -> PushStats {
        let awaiting = self.absent.len() as u64;
        let queued = self.backlog.len() as u64 + awaiting;
        PushStats {
            queued,
            awaiting,
            delayed: self.backlog.delayed() as u64,
            in_flight: self.unsettled() - queued,
            links: self.links.len() as u64,
            rejected_waiting: self.rejected.len() as u64,
            ..self.stats.clone()
        }
    }

    /// Every open link.
    #[must_use]
    pub fn link_stats(&self) -> Vec<PushLinkStats> {
        self.links.iter().map(|(id, link)| link.stats(id)).collect()
    }
}
