//! A link in the account: what may be sent on it, what is in flight, and which outcomes may still be undone.

use std::{collections::BTreeMap, time::Duration};

use super::message::{Counts, Message, MessageState, Puller};

#[derive(Default)]
pub(super) struct LinkAccount {
    pub(super) puller: Option<Puller>,
    /// The `resume` that this side sent, if it is the connector.
    pub(super) shown: u128,
    /// The code of the first Close, from either side.
    pub(super) code: Option<i32>,
    /// The puller and its generation, if the peer is the connector.
    pub(super) slot: Option<(Puller, u64)>,
    pub(super) next_id: u64,
    pub(super) bytes: u64,
    pub(super) limits: (u64, u64),
    pub(super) flight: BTreeMap<u64, (u64, u64)>,
    /// A message in quarantine is in flight.
    pub(super) alone: bool,
    pub(super) recalls: u32,
    pub(super) leaving: bool,
    /// The Skip for a leaving puller has been sent.
    pub(super) gone: bool,
    pub(super) ended: bool,
    pub(super) closed: bool,
    /// The peer has replaced this link: frames still being written here have no effect.
    pub(super) replaced: bool,
    /// The un-acked messages have been requeued.
    pub(super) over: bool,
    /// The pusher gave the link up before any frame showed it.
    pub(super) given_up: bool,
    /// Recent outcomes on this link, in order.
    pub(super) settled: Vec<CountedOutcome>,
    /// The time of the last frame that was read.
    pub(super) read_at: Duration,
    /// The time of the last frame that was sent.
    pub(super) sent_at: Duration,
}

/// An outcome that counts, unless it turns out that the link had been given up when it was read.
#[derive(Clone)]
pub(super) struct CountedOutcome {
    pub(super) at: Duration,
    pub(super) number: u64,
    pub(super) before: Message,
    pub(super) counted: Counts,
    pub(super) after: MessageState,
}

/// The final state of a line that has ended.
pub(super) struct Lost {
    /// The messages in flight on it.
    pub(super) flight: Vec<u64>,
    pub(super) settled: Vec<CountedOutcome>,
    /// The puller for which they are held (RD-8).
    pub(super) waits_for: Option<Puller>,
    /// A Close was sent or received.
    pub(super) closed: bool,
}
