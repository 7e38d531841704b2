//! Which peers of a socket are expected back, and how long a pusher waits for them after the end of its stream (ST-3).
//!
//! ```text
//!            opened              last link interrupted              opened
//! unknown ──────────► connected ───────────────────────► missing ──────────► connected
//!    ▲                    │ last link closed in order       │ will not return
//!    └────────────────────┴─────────────────────────────────┘
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{message::InstanceId, time::Time};

/// The maximum number of missing peers that are remembered (ST-3). To wait for more is not worth the memory.
const MAX_MISSING: usize = 1_024;
/// The maximum number of pushers whose end is reported only once (ST-6). Others may be reported again.
const MAX_ENDED: usize = 1_024;
/// How long a pusher that stops waits for missing pullers, before the application continues (ST-3).
const END_GRACE: Duration = Duration::from_secs(1);
/// How long a pusher answers missing pullers after that, in the background. A worker that was busy for minutes still
/// receives the end when it reconnects, and the address is released eventually.
const END_STAY: Duration = Duration::from_secs(10 * 60);

/// The peers of a socket that are connected, missing or at the end of their streams.
///
/// The driver reports what happens to links. Peers are known by the instance that they give in the handshake (HS-8),
/// because a peer may return over another endpoint. A peer that claims the instance of another one can only shorten or
/// prolong the wait for it.
///
/// ```
/// use std::time::Duration;
/// use tidegate_proto::{EndWait, ExpectedPeers, InstanceId, Time};
///
/// let (mut peers, puller) = (ExpectedPeers::default(), InstanceId([1; 16]));
/// let now = Time::default();
/// peers.handle_opened(puller);
/// peers.handle_closed(puller, true);
/// // The pusher has ended its stream, and no link is left.
/// let until = now + Duration::from_secs(1);
/// assert_eq!(peers.end_wait(now, now, 0, true), EndWait::Return(until));
/// peers.handle_opened(puller);
/// assert_eq!(peers.end_wait(now, now, 1, true), EndWait::Close);
/// peers.handle_closed(puller, false);
/// assert_eq!(peers.end_wait(now, now, 0, true), EndWait::Over);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ExpectedPeers {
    /// The number of links of each connected peer. Bounded by the limit on links.
    connected: BTreeMap<InstanceId, usize>,
    /// At most [`MAX_MISSING`].
    missing: BTreeSet<InstanceId>,
    /// Pushers whose end was reported: at most [`MAX_ENDED`].
    ended: BTreeSet<InstanceId>,
}

/// What a pusher that has stopped does next; see [`ExpectedPeers::end_wait`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndWait {
    /// Wait until all links are closed, or until the time to close them has passed, and ask again: a puller has
    /// returned, and receives the end.
    Close,
    /// Wait until a link is open or no peer is expected, but at most until this time. Then ask again.
    Return(Time),
    /// Let the application continue, and answer new links until no peer is expected and no link is open, but at most
    /// until this time.
    Stay(Time),
    /// Stop: no peer is expected.
    Over,
}

impl ExpectedPeers {
    /// A link to this peer is open.
    pub fn handle_opened(&mut self, peer: InstanceId) {
        *self.connected.entry(peer).or_default() += 1;
        self.missing.remove(&peer);
    }

    /// A link to this peer has ended. `interrupted`: the peer has not announced it and may return (RD-8), or it may
    /// have missed the end of this side's stream (ST-3). If it was the peer's last link, the peer is missing then.
    pub fn handle_closed(&mut self, peer: InstanceId, interrupted: bool) {
        if let Some(links) = self.connected.get_mut(&peer)
            && *links > 1
        {
            // The old link of a peer may be closed after the peer has returned over a new one.
            *links -= 1;
            return;
        }
        self.connected.remove(&peer);
        if interrupted && self.missing.len() < MAX_MISSING {
            self.missing.insert(peer);
        }
    }

    /// This peer will not return: it has ended, or nothing connects to its endpoint any more.
    pub fn handle_gone(&mut self, peer: InstanceId) {
        self.missing.remove(&peer);
    }

    /// This pusher has ended its stream. Returns true if that is to be reported: once for each pusher, however many
    /// links it has (ST-6).
    pub fn handle_end(&mut self, pusher: InstanceId) -> bool {
        if self.ended.len() < MAX_ENDED { self.ended.insert(pusher) } else { !self.ended.contains(&pusher) }
    }

    /// Whether this peer is missing.
    #[must_use]
    pub fn is_missing(&self, peer: InstanceId) -> bool {
        self.missing.contains(&peer)
    }

    /// Whether a peer is missing.
    #[must_use]
    pub fn has_missing(&self) -> bool {
        !self.missing.is_empty()
    }

    /// What a pusher does that has stopped, and has `links` open links (ST-3). `reachable`: a missing peer can return,
    /// because this side listens or connects.
    ///
    /// Call it first when the links are closed, or when the time to close them has passed: `began` is the time of this
    /// first call, with which the wait of 1 s begins. If a link dies silently, its puller is missing only after the
    /// wait for its `Close`. If the pusher has stopped without an end, nothing is left to do after the wait, and
    /// [`EndWait::Close`] and [`EndWait::Stay`] mean the same as [`EndWait::Over`].
    #[must_use]
    pub fn end_wait(&self, now: Time, began: Time, links: usize, reachable: bool) -> EndWait {
        let grace_ends = began + END_GRACE;
        let expected = reachable && self.has_missing();
        if links > 0 && now < grace_ends {
            EndWait::Close
        } else if expected && now < grace_ends {
            EndWait::Return(grace_ends)
        } else if expected {
            EndWait::Stay(now + END_STAY)
        } else {
            EndWait::Over
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time(7_000_000);

    fn peer(n: usize) -> InstanceId {
        InstanceId((n as u128).to_be_bytes())
    }

    /// The peers of a socket whose links to these were interrupted.
    fn lost(count: usize) -> ExpectedPeers {
        let mut peers = ExpectedPeers::default();
        for n in 0..count {
            peers.handle_opened(peer(n));
            peers.handle_closed(peer(n), true);
        }
        peers
    }

    #[test]
    fn st_3_a_peer_is_missing_from_the_loss_of_its_last_link_until_it_returns() {
        // ST-3
        let mut peers = ExpectedPeers::default();
        peers.handle_opened(peer(1));
        peers.handle_opened(peer(1));
        peers.handle_closed(peer(1), true);
        assert!(!peers.is_missing(peer(1)), "it has returned over the newer link");
        peers.handle_closed(peer(1), true);
        assert!(peers.is_missing(peer(1)) && !peers.is_missing(peer(2)));
        peers.handle_opened(peer(1));
        assert!(!peers.has_missing(), "it has returned");
        peers.handle_closed(peer(1), false);
        assert!(!peers.has_missing(), "it has closed the link in order");
    }

    #[test]
    fn st_3_a_peer_that_will_not_return_is_not_missing() {
        // ST-3
        let mut peers = lost(2);
        peers.handle_gone(peer(0));
        assert!(!peers.is_missing(peer(0)) && peers.is_missing(peer(1)));
    }

    #[test]
    fn st_3_at_most_1024_missing_peers_are_remembered() {
        // ST-3, LM-2
        let mut peers = lost(MAX_MISSING + 1);
        assert!(peers.is_missing(peer(MAX_MISSING - 1)) && !peers.is_missing(peer(MAX_MISSING)));
        assert_eq!((peers.missing.len(), peers.connected.len()), (MAX_MISSING, 0));
        peers.handle_gone(peer(0));
        peers.handle_opened(peer(MAX_MISSING));
        peers.handle_closed(peer(MAX_MISSING), true);
        assert!(peers.is_missing(peer(MAX_MISSING)), "there is room again");
    }

    #[test]
    fn st_3_a_pusher_waits_1_s_for_a_lost_puller_and_10_min_more_in_the_background() {
        // ST-3
        let peers = lost(1);
        let until = START + Duration::from_secs(1);
        assert_eq!(peers.end_wait(START, START, 0, true), EndWait::Return(until));
        let before = Time(until.0 - 1);
        assert_eq!(peers.end_wait(before, START, 0, true), EndWait::Return(until), "the wait goes on");
        assert_eq!(peers.end_wait(until, START, 0, true), EndWait::Stay(until + Duration::from_secs(600)));
        assert_eq!(peers.end_wait(until, START, 1, true), EndWait::Stay(until + Duration::from_secs(600)));
        assert_eq!(peers.end_wait(before, START, 0, false), EndWait::Over, "it cannot return");
    }

    #[test]
    fn st_3_a_pusher_waits_for_each_of_the_pullers_that_return() {
        // ST-3
        let mut peers = lost(2);
        let until = START + Duration::from_secs(1);
        assert_eq!(peers.end_wait(START, START, 0, true), EndWait::Return(until));
        peers.handle_opened(peer(0));
        assert_eq!(peers.end_wait(START, START, 1, true), EndWait::Close, "it takes the end");
        peers.handle_closed(peer(0), false);
        assert_eq!(peers.end_wait(START, START, 0, true), EndWait::Return(until), "the other one is missing");
        peers.handle_opened(peer(1));
        peers.handle_closed(peer(1), true);
        assert_eq!(
            peers.end_wait(START, START, 0, true),
            EndWait::Return(until),
            "it may have missed the end"
        );
        peers.handle_opened(peer(1));
        peers.handle_closed(peer(1), false);
        assert_eq!(peers.end_wait(START, START, 0, true), EndWait::Over);
    }

    #[test]
    fn st_3_a_pusher_without_missing_pullers_waits_only_for_its_links() {
        // ST-3
        let mut peers = ExpectedPeers::default();
        peers.handle_opened(peer(1));
        let until = START + Duration::from_secs(1);
        assert_eq!(peers.end_wait(START, START, 1, true), EndWait::Close);
        assert_eq!(peers.end_wait(until, START, 1, true), EndWait::Over, "nothing closes the link");
        peers.handle_closed(peer(1), false);
        assert_eq!(peers.end_wait(START, START, 0, true), EndWait::Over);
    }

    #[test]
    fn st_6_the_end_of_each_of_1024_pushers_is_reported_once() {
        // ST-6, LM-2
        let mut peers = ExpectedPeers::default();
        for n in 0..MAX_ENDED {
            assert!(peers.handle_end(peer(n)) && !peers.handle_end(peer(n)), "{n}");
        }
        assert!(
            peers.handle_end(peer(MAX_ENDED)) && peers.handle_end(peer(MAX_ENDED)),
            "it is not remembered"
        );
        assert!(!peers.handle_end(peer(0)), "the others are");
        assert_eq!(peers.ended.len(), MAX_ENDED);
    }
}
