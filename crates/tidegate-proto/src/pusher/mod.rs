//! The pusher: accepts messages, sends them round-robin on links with credit, and keeps each until it is settled.
//!
//! ```text
//! send ──► backlog (fresh) ───► link: batch ──► driver
//!            ▲ returned, delayed, quarantined │
//!            └───── nack, release, loss ◄─────┴──► acked / rejected
//! link lost ──► held batch ──► the puller's new link, or returned
//! ```
//! If the backlog is empty and a link has credit, a message goes from `send` directly into the link's batch.

mod admission;
mod backlog;
mod flight;
mod grace;
mod held;
mod link;
mod pending;
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

use self::{
    backlog::Backlog, held::HeldBatches, link::PushLink, pending::Pending, restore::Synced, shutdown::Phase,
};
pub use self::{
    restore::{NUMBER_BLOCK, RestoreError, Restored, RestoredMessage, StoreRecord},
    settings::PusherSettings,
    shutdown::{Leftover, Undelivered},
    stats::{PushLinkStats, PushStats},
};
use crate::{
    amount::Amount,
    limits::SlowStart,
    link::{Links, PeerKey},
    link_id::LinkId,
    message::{InstanceId, Message, MessageError},
    random::Random,
    violation::SettingError,
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
    reserved: Amount,
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
            reserved: Amount::ZERO,
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
