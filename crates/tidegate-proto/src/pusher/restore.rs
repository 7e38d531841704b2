//! A pusher whose messages outlive its process: what a store restores, and what it syncs (RD-11).
//!
//! ```text
//! store ──► Restored ──► Pusher::restore ──► held batches ──► their pullers, when they return, or any
//!   ▲                                    ├─► returned ──► any puller
//!   │                                    └─► fresh ──► any puller
//!   └── sync ◄── poll_store: NumbersUntil, Ended; then handle_synced
//! ```

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
};

use super::{Pending, Pusher, PusherSettings, shutdown::Phase};
use crate::{
    link::PeerKey,
    message::{InstanceId, Message, MessageError},
    message_number::MessageNumber,
    time::Time,
    violation::SettingError,
    wire::MAX_COUNTER,
};

/// The size of a block of message numbers that a store reserves: 2^26 (RD-11). So a store syncs a block at most every
/// few seconds, and an opening of the store skips at most this many of 2^53 numbers.
pub const NUMBER_BLOCK: u64 = 1 << 26;
/// Numbers are below this (DL-2).
const NUMBERS_END: u64 = MAX_COUNTER + 1;

/// What a store has kept of a pusher.
///
/// A store that is made anew has a newly drawn instance, the numbers from 0 to [`NUMBER_BLOCK`], and no messages.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Restored {
    /// The instance. It was drawn when the store was made, and one socket uses it at a time (HS-8).
    pub instance: InstanceId,
    /// A block of numbers that the store has reserved and synced at this opening. It begins where the last block of
    /// the opening before ended, so that no number of it was ever used.
    pub numbers: Range<u64>,
    /// The accepted messages without an outcome, in any order.
    pub messages: Vec<RestoredMessage>,
    /// Whether the store has synced [`StoreRecord::Ended`]. Then the instance must not be used again (HS-8).
    pub ended: bool,
}

/// A message that a store has kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RestoredMessage {
    /// Its number, which it keeps (DL-2).
    pub number: u64,
    /// The message.
    pub message: Message,
    /// The last known attempt of which a frame may have been written; 0 if none can have been written, or if each was
    /// released. The next attempt is 1 more (DL-3).
    pub attempts: u32,
    /// The number of these attempts that are known to have failed, with a nack or a settle time-out (OC-11).
    pub failures: u32,
    /// Whether one of these failures was a settle time-out, so that a puller may have processed the message (OC-12).
    pub timed_out: bool,
    /// Whether its outcome is reported as [`PusherEvent::Settled`](super::PusherEvent::Settled). Without that, the
    /// store does not learn that it can remove the message.
    pub tracked: bool,
    /// The key of the puller that may have the last attempt. `None` if no puller has it, or if the puller cannot be
    /// recognized. The key is equal after a restart only if the store also keeps the secret of the
    /// [`KeyMaker`](crate::KeyMaker).
    pub puller: Option<PeerKey>,
}

/// Why a pusher cannot be restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// A setting outside its range.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The stream of the instance has ended.
    #[error("instance {0} has ended, and must not be used again; draw a new instance for the store")]
    Ended(InstanceId),
    /// The block of reserved numbers is empty, or exceeds 2^53.
    #[error(
        "the reserved numbers are {} to {}; there must be at least one, and they must be below 2^53; \
         reserve a block, or if the numbers are used up, draw a new instance when the store is empty",
        .0.start, .0.end
    )]
    Numbers(Range<u64>),
    /// A message has a number that is not below the reserved block.
    #[error(
        "message {number} is not below the reserved numbers, which begin at {first}; reserve a later block"
    )]
    NumberInBlock {
        /// The number of the message.
        number: u64,
        /// The first reserved number.
        first: u64,
    },
    /// Two messages have the same number.
    #[error("message {0} occurs twice; restore only its latest record")]
    Twice(u64),
    /// A message has more failures than attempts.
    #[error(
        "message {number} has {failures} failures and {attempts} attempts; failures must be at most attempts"
    )]
    Failures {
        /// The number of the message.
        number: u64,
        /// The number of failures.
        failures: u32,
        /// The number of attempts.
        attempts: u32,
    },
    /// A message exceeds a limit.
    #[error("message {number}: {error}; restore with the settings with which it was accepted")]
    Message {
        /// The number of the message.
        number: u64,
        /// The limit that it exceeds.
        error: MessageError,
    },
}

/// What the store must have synced before the pusher continues; see [`Pusher::poll_store`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreRecord {
    /// The numbers below this one are reserved. The next opening of the store continues with this number or a later
    /// one.
    NumbersUntil(u64),
    /// The stream has ended. The next opening of the store draws a new instance (HS-8).
    Ended,
}

/// What the store of a pusher has synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Synced {
    /// Numbers below this may be used.
    numbers: u64,
    /// `End` may be sent.
    pub(super) end: bool,
}

impl Synced {
    /// A pusher without a store has nothing to sync.
    pub(super) const IN_MEMORY: Self = Self { numbers: NUMBERS_END, end: true };
}

impl Pusher {
    /// Makes a pusher from what its store has kept. Call it when the driver is ready for links: the grace for messages
    /// that may have been sent begins at `now`, and lasts for `restart_grace` of the settings (RD-11). `seed` is the
    /// seed of its jitter.
    ///
    /// Restored messages count as accepted in the statistics. They may exceed the bounds on held messages; then the
    /// pusher accepts no others until enough of them are settled. The waits after their failures (OC-6) are not
    /// restored: a message that no puller may have is sent at once.
    ///
    /// # Errors
    /// A setting is outside its range (LM-1), the instance has ended (HS-8), or a number or a message is invalid.
    pub fn restore(
        settings: PusherSettings,
        restored: Restored,
        seed: u64,
        now: Time,
    ) -> Result<Self, RestoreError> {
        settings.check()?;
        restored.check(settings.max_message)?;
        let Restored { instance, numbers, mut messages, .. } = restored;
        messages.sort_unstable_by_key(|message| message.number);
        let mut pusher = Self::empty(settings, instance, seed);
        pusher.next_number = numbers.start;
        pusher.synced = Synced { numbers: numbers.end, end: false };
        let grace = pusher.settings.restart_grace;
        let mut held: BTreeMap<PeerKey, VecDeque<Pending>> = BTreeMap::new();
        for restored in messages {
            let puller = restored.puller.filter(|_| restored.attempts > 0 && !grace.is_zero());
            let pending = restored.into_pending();
            let size = pending.message.size() as u64;
            pusher.stats.accepted += 1;
            pusher.stats.accepted_bytes += size;
            pusher.stats.held_bytes += size;
            match puller {
                Some(puller) => held.entry(puller).or_default().push_back(pending),
                None if pending.attempt > 1 => pusher.backlog.push_returned(pending),
                None => pusher.backlog.push_fresh(pending),
            }
        }
        for (puller, pending) in held {
            pusher.held_batches.add(now + grace, Some(grace), puller, pending);
        }
        Ok(pusher)
    }

    /// The next record that the store must sync, and then pass to [`Self::handle_synced`]. Until then, each call
    /// returns the same record. Call it after [`Self::restore`], each poll of a link, each accepted message and
    /// [`Self::drain`].
    ///
    /// * A block of numbers is due when half of the last one is used. If all reserved numbers are used, sends wait.
    /// * After a drain with `end`, the pusher closes its links only when `Ended` is synced.
    ///
    /// A pusher that was made with [`Self::new`] has no store: it returns `None`.
    #[must_use]
    pub fn poll_store(&self) -> Option<StoreRecord> {
        if self.end_is_due() {
            return Some(StoreRecord::Ended);
        }
        let until = self.synced.numbers;
        let due = until < NUMBERS_END && self.unused_numbers() <= NUMBER_BLOCK / 2;
        due.then(|| StoreRecord::NumbersUntil((until + NUMBER_BLOCK).min(NUMBERS_END)))
    }

    /// The store has synced a record of [`Self::poll_store`].
    pub fn handle_synced(&mut self, now: Time, record: StoreRecord) {
        match record {
            StoreRecord::NumbersUntil(until) => {
                self.synced.numbers = self.synced.numbers.max(until.min(NUMBERS_END));
            }
            StoreRecord::Ended if self.end_is_due() => {
                self.synced.end = true;
                self.check_drained(now);
            }
            StoreRecord::Ended => {}
        }
    }

    /// Whether everything is settled, and the links wait for the sync of the end.
    fn end_is_due(&self) -> bool {
        self.phase == Phase::Draining { end: true } && self.unsettled() == 0 && !self.synced.end
    }

    /// The numbers that new messages may get, without those of reservations.
    #[inline]
    pub(super) fn free_numbers(&self) -> u64 {
        self.unused_numbers().saturating_sub(self.reserved.messages)
    }

    /// The numbers that new messages may get, with those of reservations.
    #[inline]
    pub(super) fn unused_numbers(&self) -> u64 {
        self.synced.numbers - self.next_number
    }
}

impl Restored {
    fn check(&self, max_message: u64) -> Result<(), RestoreError> {
        if self.ended {
            return Err(RestoreError::Ended(self.instance)); // HS-8
        }
        if self.numbers.is_empty() || self.numbers.end > NUMBERS_END {
            return Err(RestoreError::Numbers(self.numbers.clone()));
        }
        let mut seen: Vec<_> = self.messages.iter().map(|message| message.number).collect();
        seen.sort_unstable();
        let twice = seen.array_windows().find_map(|[one, other]| (one == other).then_some(*one));
        if let Some(number) = twice {
            return Err(RestoreError::Twice(number));
        }
        let first = self.numbers.start;
        for RestoredMessage { number, message, attempts, failures, .. } in &self.messages {
            let (number, attempts, failures) = (*number, *attempts, *failures);
            if number >= first {
                return Err(RestoreError::NumberInBlock { number, first });
            }
            if failures > attempts {
                return Err(RestoreError::Failures { number, failures, attempts });
            }
            message.check(max_message).map_err(|error| RestoreError::Message { number, error })?;
        }
        Ok(())
    }
}

impl RestoredMessage {
    fn into_pending(self) -> Pending {
        let Self { number, message, attempts, failures, timed_out, tracked, .. } = self;
        Pending {
            attempt: attempts.saturating_add(1),
            restored: attempts - failures,
            timed_out,
            ..Pending::fresh(MessageNumber::new(number), tracked, message)
        }
    }
}
