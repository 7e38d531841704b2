//! The statistics of a pusher.

use std::time::Duration;

/// Statistics of a pusher: counters since it was made, which never decrease, and what it holds now.
///
/// At any time, `accepted == acked + rejected + aborted + in_flight + queued`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PushStats {
    /// Messages accepted from the application.
    pub accepted: u64,
    /// The size of these messages in bytes (CR-4).
    pub accepted_bytes: u64,
    /// Messages acked by a puller.
    pub acked: u64,
    /// The size of these messages in bytes.
    pub acked_bytes: u64,
    /// Messages rejected, by a puller or after their last attempt (OC-9, OC-11).
    pub rejected: u64,
    /// Messages that an abort has returned in its [`Leftover`](super::Leftover).
    pub aborted: u64,
    /// Deliveries nacked.
    pub nacked: u64,
    /// Deliveries released.
    pub released: u64,
    /// Deliveries with an attempt above 1.
    pub redelivered: u64,
    /// Messages that were un-acked on a link when it was lost.
    pub returned: u64,
    /// Deliveries whose settle time-out has passed (OC-12).
    pub timed_out: u64,
    /// Deliveries, including repeated ones.
    pub sent: u64,
    /// Links opened.
    pub links_opened: u64,
    /// Links that ended without a `Close`.
    pub links_broken: u64,
    /// Links open now.
    pub links: u64,
    /// Messages held now that are not in flight: new, returned, delayed, quarantined and awaiting.
    pub queued: u64,
    /// Queued messages that wait for a retry.
    pub delayed: u64,
    /// Queued messages that are held for the puller of a lost link to reconnect (RD-8).
    pub in_grace: u64,
    /// Messages in flight now: sent, without an outcome.
    pub in_flight: u64,
    /// The size of all messages held now, in bytes.
    pub held_bytes: u64,
    /// Rejected messages that are kept and not yet taken.
    pub rejected_waiting: u64,
    /// The time in which sends waited or failed for lack of room. The owner of the machine measures it.
    pub blocked: Duration,
    /// Sends that wait for room now. The owner of the machine counts them.
    pub waiting_sends: u64,
}

/// Statistics of one link of a pusher.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PushLinkStats {
    /// The id of the link, as in logs and events.
    pub link: u64,
    /// The puller's name.
    pub peer_name: String,
    /// The puller's address.
    pub peer: String,
    /// The puller's instance.
    pub peer_instance: String,
    /// The pipeline.
    pub pipeline: String,
    /// Credit granted: delivery ids below this may be sent.
    pub message_limit: u64,
    /// Unused credit, in messages.
    pub credit_messages: u64,
    /// Unused credit, in bytes.
    pub credit_bytes: u64,
    /// Messages in flight now.
    pub in_flight: u64,
    /// The size of these messages in bytes.
    pub in_flight_bytes: u64,
    /// Bytes of frames that are not yet written.
    pub unwritten: u64,
    /// Deliveries.
    pub sent: u64,
    /// The size of these deliveries in bytes.
    pub sent_bytes: u64,
    /// Deliveries acked.
    pub acked: u64,
    /// Deliveries nacked.
    pub nacked: u64,
    /// Deliveries rejected.
    pub rejected: u64,
    /// Deliveries released.
    pub released: u64,
    /// Whether writing makes no progress (LV-6).
    pub stalled: bool,
    /// Whether the puller is leaving (ST-1).
    pub leaving: bool,
    /// The lowest round-trip time measured.
    pub round_trip: Option<Duration>,
}

impl PushStats {
    /// Counts a delivery.
    #[inline]
    pub(super) fn count_sent(&mut self, attempt: u32) {
        self.sent += 1;
        self.redelivered += u64::from(attempt > 1);
    }
}

impl PushLinkStats {
    /// The deliveries that were acked or rejected, and those that were nacked or released.
    pub(super) fn outcomes(&self) -> (u64, u64) {
        (self.acked + self.rejected, self.nacked + self.released)
    }
}
