//! What a puller can tell about itself.

use std::time::Duration;

/// Counts of a puller since it was made, and what it holds now (`queued`, `in_flight`, `joined`, `links`, `committed`, `window`,
/// `service_rate`). A count never falls.
///
/// `received == acked + nacked + rejected + released + dropped + in_flight + queued + joined` at any time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PullStats {
    /// Deliveries that have arrived.
    pub received: u64,
    /// Bytes of those (size, CR-4).
    pub received_bytes: u64,
    /// Of those, with an attempt above 1.
    pub redelivered: u64,
    /// Outcomes given.
    pub acked: u64,
    /// Outcomes given.
    pub nacked: u64,
    /// Outcomes given.
    pub rejected: u64,
    /// Given back un-started.
    pub released: u64,
    /// On a link that was lost: not handed out, or the outcome reached nobody (RD-5).
    pub dropped: u64,
    /// Arrived and not yet handed out.
    pub queued: u64,
    /// Handed out, no outcome yet.
    pub in_flight: u64,
    /// Repeats, after a link was lost, of deliveries that are in flight: they get the outcome of those (RD-9).
    pub joined: u64,
    /// Repeats that were not handed out: joined, or answered at once because the message was done (RD-9).
    pub repeats: u64,
    /// Links that have been opened.
    pub links_opened: u64,
    /// Links that ended without Close.
    pub links_broken: u64,
    /// Links open now.
    pub links: u64,
    /// Pushers that have ended their stream, each counted once (ST-6).
    pub pushers_ended: u64,
    /// Messages granted and un-acked, on all links (CR-9).
    pub committed: u64,
    /// The same in bytes.
    pub committed_bytes: u64,
    /// Recalls sent (RC-1).
    pub recalls: u64,
    /// Of those, with a hard cap, the ones whose answer has not come in time: the credit took no places any more (CR-6).
    pub overdue_recalls: u64,
    /// The messages wanted un-acked, on all links together.
    pub window: u64,
    /// The hard cap on `in_flight`: a fixed window, or the budget's messages; `u64::MAX` with a window of 0.
    pub max_in_flight: u64,
    /// Deliveries a second that the workers get done while they have some; 0 as long as it is not known, or with a
    /// fixed window.
    pub service_rate: u64,
    /// The least round trip seen on any link.
    pub round_trip: Option<Duration>,
}

/// One link of a puller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PullLinkStats {
    /// Names the link in logs and events.
    pub link: u64,
    /// The pusher's name.
    pub peer_name: String,
    /// Its address.
    pub peer: String,
    /// Its instance.
    pub peer_instance: String,
    /// The pipeline.
    pub pipeline: String,
    /// The target number of un-acked messages.
    pub window: u64,
    /// The target number of un-acked bytes.
    pub window_bytes: u64,
    /// Credit granted: delivery ids below this may come.
    pub message_limit: u64,
    /// Credit granted and not used, in messages.
    pub credit_messages: u64,
    /// Credit granted and not used, in bytes.
    pub credit_bytes: u64,
    /// Deliveries that have arrived.
    pub received: u64,
    /// Bytes of those.
    pub received_bytes: u64,
    /// Arrived and not yet handed out.
    pub queued: u64,
    /// Arrived, no outcome yet: queued or handed out.
    pub unsettled: u64,
    /// The puller is leaving (ST-1).
    pub leaving: bool,
    /// The link is being closed: nothing more comes over it, whatever credit it has.
    pub closing: bool,
    /// The least round trip seen.
    pub round_trip: Option<Duration>,
}
