//! The state of a message in the account, and the counts of outcomes.

use std::time::Duration;

use tidegate_proto::InstanceId;

use crate::simulation::scenario::Pusher;

/// A puller's identity (HS-9): its instance, and the `resume` that the connector of the link sent. If this side was the
/// connector, that stands for the slot.
pub(super) type Puller = (InstanceId, u128);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageState {
    /// Queued; not to be sent before this time.
    Waiting(Duration),
    Flying,
    Acked,
    Rejected,
    /// Held for this puller until this time, because its link was lost (RD-8); whether the puller has reconnected.
    Absent(Puller, Duration, Back),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Back {
    No,
    /// It had reconnected, over a link that is lost again.
    Gone,
    /// It has reconnected, over a link that was open already or is new.
    Here {
        fresh: bool,
    },
}

#[derive(Clone)]
pub(super) struct Message {
    pub(super) place: MessageState,
    /// The attempt number of the current delivery, or of the next one.
    pub(super) attempt: u32,
    pub(super) losses: u32,
    /// Losses after which the puller did not reconnect.
    pub(super) deaths: u32,
    /// Its puller reconnected about when the grace ended, so both results are possible.
    pub(super) vague: bool,
    /// The value of `Books::unseen` when the message was last sent.
    pub(super) unseen: u32,
}

impl Message {
    pub(super) fn fresh() -> Self {
        let place = MessageState::Waiting(Duration::ZERO);
        Self { place, attempt: 1, losses: 0, deaths: 0, vague: false, unseen: 0 }
    }

    /// The puller does not reconnect.
    pub(super) fn die(&mut self, at: Duration, plan: &Pusher) {
        self.deaths += 1;
        let wait = if self.deaths >= 2 { grown(plan, self.deaths - 1) } else { Duration::ZERO };
        self.place = MessageState::Waiting(at + wait);
    }

    /// The grace has ended.
    pub(super) fn give_up(&mut self, at: Duration, plan: &Pusher) {
        match self.place {
            MessageState::Absent(_, _, Back::Here { .. }) => self.place = MessageState::Waiting(at),
            _ => self.die(at, plan),
        }
    }
}

/// OC-6: the retry delay after this number of failures, without the random part.
pub(super) fn grown(plan: &Pusher, failures: u32) -> Duration {
    plan.retry.0.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(plan.retry.1)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) acked: u64,
    pub(super) nacked: u64,
    pub(super) rejected: u64,
    pub(super) released: u64,
}

impl Counts {
    pub(super) fn minus(self, other: Self) -> Self {
        Self {
            acked: self.acked - other.acked,
            nacked: self.nacked - other.nacked,
            rejected: self.rejected - other.rejected,
            released: self.released - other.released,
        }
    }
}
