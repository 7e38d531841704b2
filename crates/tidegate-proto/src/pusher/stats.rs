//! What a pusher can tell about itself.

use std::time::Duration;

/// Counts of a pusher since it was made, and what it holds now. A count never falls.
///
/// `accepted == acked + rejected + aborted + in_flight + queued` at any time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PushStats {
    /// Messages taken from the application.
    pub accepted: u64,
    /// Their bytes (size, CR-4).
    pub accepted_bytes: u64,
    /// Processed by a puller.
    pub acked: u64,
    /// Bytes of those.
    pub acked_bytes: u64,
    /// Never to be sent again (OC-9, OC-11).
    pub rejected: u64,
    /// Taken out by an abort, which has handed them back in its [`Leftover`](super::Leftover).
    pub aborted: u64,
    /// Attempts that failed and are, or were, to be retried.
    pub nacked: u64,
    /// Deliveries given back un-started.
    pub released: u64,
    /// Deliveries with an attempt above 1.
    pub redelivered: u64,
    /// Messages that were un-acked on a link when it was lost.
    pub returned: u64,
    /// Deliveries that had no outcome in time (OC-12).
    pub timed_out: u64,
    /// Deliveries made, repeats included.
    pub sent: u64,
    /// Links that have been opened.
    pub links_opened: u64,
    /// Links that ended without Close.
    pub links_broken: u64,
    /// Links open now.
    pub links: u64,
    /// Held and given to no puller: new, returned, delayed and awaiting.
    pub queued: u64,
    /// Of those, waiting to be retried.
    pub delayed: u64,
    /// Of those, waiting for the puller that they were lost with to come back (RD-8).
    pub awaiting: u64,
    /// Delivered, no outcome yet.
    pub in_flight: u64,
    /// Bytes of all messages held.
    pub held_bytes: u64,
    /// Rejected messages that wait to be fetched.
    pub rejected_waiting: u64,
    /// How long there was no room for a send that waited for it, or that was refused for lack of it and might be tried again. Kept by
    /// the owner of the machine.
    pub blocked: Duration,
}

/// One link of a pusher.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PushLinkStats {
    /// Names the link in logs and events.
    pub link: u64,
    /// The puller's name.
    pub peer_name: String,
    /// Its address.
    pub peer: String,
    /// Its instance.
    pub peer_instance: String,
    /// The pipeline.
    pub pipeline: String,
    /// Credit granted: delivery ids below this may be sent.
    pub message_limit: u64,
    /// Credit left, in messages.
    pub credit_messages: u64,
    /// Credit left, in bytes.
    pub credit_bytes: u64,
    /// Delivered, no outcome yet.
    pub in_flight: u64,
    /// Bytes of those.
    pub in_flight_bytes: u64,
    /// Bytes of frames that have not been written.
    pub unwritten: u64,
    /// Deliveries made.
    pub sent: u64,
    /// Bytes of those.
    pub sent_bytes: u64,
    /// Outcomes.
    pub acked: u64,
    /// Outcomes.
    pub nacked: u64,
    /// Outcomes.
    pub rejected: u64,
    /// Outcomes.
    pub released: u64,
    /// Writing makes no progress (LV-6).
    pub stalled: bool,
    /// The puller is leaving (ST-1).
    pub leaving: bool,
    /// The least round trip seen.
    pub round_trip: Option<Duration>,
}

impl PushStats {
    /// A message has been given to a link.
    #[inline]
    pub(super) fn count_sent(&mut self, attempt: u32) {
        self.sent += 1;
        self.redelivered += u64::from(attempt > 1);
    }
}

impl PushLinkStats {
    /// Messages that got an outcome over this link for good, and those that come again.
    pub(super) fn outcomes(&self) -> (u64, u64) {
        (self.acked + self.rejected, self.nacked + self.released)
    }
}
