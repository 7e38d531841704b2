//! A message that is not settled, with its history.

use crate::{message::Message, message_number::MessageNumber, time::Time};

/// A message and its history.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pending {
    pub(super) number: MessageNumber,
    /// The attempt of its next delivery (DL-3).
    pub(super) attempt: u32,
    /// Lost links on which it was in flight. They do not count as failures (OC-11).
    pub(super) losses: u32,
    /// Those lost links whose pullers did not return (RD-4).
    pub(super) unreturned: u32,
    /// Deliveries by earlier processes that did not fail. They count neither as failures nor as losses (RD-11).
    pub(super) restored: u32,
    /// Its settle time-out has passed, so that a puller may have processed it (OC-12).
    pub(super) timed_out: bool,
    /// It was sent again to the puller that had it before, and is held for that puller until then (RD-8).
    pub(super) held_until: Option<Time>,
    pub(super) tracked: bool,
    pub(super) message: Message,
}

impl Pending {
    pub(super) fn fresh(number: MessageNumber, tracked: bool, message: Message) -> Self {
        Self {
            number,
            attempt: 1,
            losses: 0,
            unreturned: 0,
            restored: 0,
            timed_out: false,
            held_until: None,
            tracked,
            message,
        }
    }

    /// Whether it may be a poison message, and is sent alone (RD-4).
    pub(super) fn is_poison(&self) -> bool {
        self.unreturned >= 2
    }

    /// The part of its history that is kept while it is in flight.
    pub(super) fn extra(&self) -> Extra {
        let Self { losses, unreturned, restored, timed_out, tracked, .. } = *self;
        Extra { losses, unreturned, restored, timed_out, tracked, ..Extra::default() }
    }

    /// Attempts that failed, without lost links and restarts: what the limit on attempts counts (OC-11).
    pub(super) fn failures(&self) -> u32 {
        self.attempt.saturating_sub(self.losses).saturating_sub(self.restored)
    }
}

/// The history of a message. Most messages have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Extra {
    /// Lost links on which the message was in flight, and those of them whose pullers did not return (RD-4).
    pub(super) losses: u32,
    pub(super) unreturned: u32,
    /// Deliveries by earlier processes that did not fail (RD-11).
    pub(super) restored: u32,
    /// A settle time-out has passed, so that a puller may have processed it (OC-12).
    pub(super) timed_out: bool,
    /// The puller had it before, on a lost link. It is held for this puller until then (RD-8).
    pub(super) held_until: Option<Time>,
    /// The application waits for its outcome.
    pub(super) tracked: bool,
}
