//! The statistics of a puller.

use std::time::Duration;

/// Statistics of a puller: counters since it was made, which never decrease, and what it holds now.
///
/// At any time, `received == acked + nacked + rejected + released + dropped + in_flight + queued + duplicates_waiting`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PullStats {
    /// Deliveries received.
    pub received: u64,
    /// The size of these deliveries in bytes (CR-4).
    pub received_bytes: u64,
    /// Deliveries handed out with an attempt above 1.
    pub redelivered: u64,
    /// Deliveries acked.
    pub acked: u64,
    /// Deliveries nacked.
    pub nacked: u64,
    /// Deliveries rejected.
    pub rejected: u64,
    /// Deliveries released.
    pub released: u64,
    /// The part of `released` that arrived while queued deliveries had used up the byte budget (LM-4).
    pub released_for_memory: u64,
    /// Deliveries of lost links that were not handed out, or whose outcome could not be sent on their link (RD-5).
    pub dropped: u64,
    /// Deliveries received and not yet handed out.
    pub queued: u64,
    /// The size of these deliveries in bytes (CR-4).
    pub queued_bytes: u64,
    /// Deliveries handed out and not settled.
    pub in_flight: u64,
    /// Duplicates that wait for the outcome of a delivery in flight (RD-9).
    pub duplicates_waiting: u64,
    /// Duplicates suppressed: deliveries that were not handed out, because their message was done or in flight (RD-9).
    pub duplicates_suppressed: u64,
    /// Links opened.
    pub links_opened: u64,
    /// Links that ended without a `Close`.
    pub links_broken: u64,
    /// Links open now.
    pub links: u64,
    /// Pushers that have ended their stream, each counted once (ST-6).
    pub pushers_ended: u64,
    /// Unused credit and un-acked deliveries of all links, in messages (CR-9).
    pub committed: u64,
    /// Unused credit and un-acked deliveries of all links, in bytes (CR-9).
    pub committed_bytes: u64,
    /// Recalls sent (RC-1).
    pub recalls: u64,
    /// Recalls that were not answered in time, so that their credit took no places any more (CR-6).
    pub overdue_recalls: u64,
    /// The window of all links together, in messages.
    pub window: u64,
    /// The hard cap on `in_flight`: a fixed window, or the message budget; `u64::MAX` with a window of 0.
    pub max_in_flight: u64,
    /// The number of deliveries per second that the workers settle while they have work; 0 while it is not known, or
    /// with a fixed window.
    pub service_rate: u64,
    /// The lowest round-trip time measured on any link.
    pub round_trip: Option<Duration>,
}

/// Statistics of one link of a puller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PullLinkStats {
    /// The id of the link, as in logs and events.
    pub link: u64,
    /// The pusher's name.
    pub peer_name: String,
    /// The pusher's address.
    pub peer: String,
    /// The pusher's instance.
    pub peer_instance: String,
    /// The pipeline.
    pub pipeline: String,
    /// The link's share of the window, in messages.
    pub window: u64,
    /// The link's share of the window, in bytes.
    pub window_bytes: u64,
    /// Credit granted: delivery ids below this may be sent.
    pub message_limit: u64,
    /// Unused credit, in messages.
    pub credit_messages: u64,
    /// Unused credit, in bytes.
    pub credit_bytes: u64,
    /// Deliveries received.
    pub received: u64,
    /// The size of these deliveries in bytes.
    pub received_bytes: u64,
    /// Deliveries received and not yet handed out.
    pub queued: u64,
    /// Deliveries received and not settled: queued or handed out.
    pub unsettled: u64,
    /// Whether the puller is leaving (ST-1).
    pub leaving: bool,
    /// Whether the link is lost or closing, so that no deliveries arrive, whatever credit it has.
    pub closing: bool,
    /// The lowest round-trip time measured.
    pub round_trip: Option<Duration>,
}
