//! The endpoints of a socket, and the peers that were there.

use tidegate_proto::{ExpectedPeers, InstanceId};

use crate::{error::Refusal, transport::Endpoint};

/// The state of the endpoints that the socket binds and connects to.
#[derive(Default)]
pub(crate) struct Endpoints {
    pub(crate) bound: Vec<Endpoint>,
    /// The number of endpoints that are connected to, or being tried.
    pub(crate) dialing: usize,
    /// The number of endpoints that are no longer connected to, because the peer's stream or ours has ended
    /// there.
    pub(crate) ended: usize,
    /// Permanent refusals, at most one for each endpoint.
    pub(crate) refused: Vec<Refusal>,
    /// How many of those `recv` has returned.
    reported: usize,
    /// How often endpoints that had refused were given another try.
    pub(crate) revivals: u64,
    /// The peers that are connected or missing (ST-3, ST-6).
    pub(crate) peers: ExpectedPeers,
}

impl Endpoints {
    /// Returns a refusal that `recv` has not returned yet.
    pub(crate) fn next_refusal(&mut self) -> Option<Refusal> {
        let refusal = self.refused.get(self.reported).cloned()?;
        self.reported += 1;
        Some(refusal)
    }

    /// Records a permanent refusal. Returns false if tokens were replaced since `revivals` was read: the
    /// refusal is outdated.
    pub(crate) fn refuse(&mut self, refusal: Refusal, revivals: u64) -> bool {
        if self.revivals != revivals {
            return false;
        }
        self.dialing -= 1;
        self.refused.push(refusal);
        true
    }

    /// Makes endpoints that have refused available again.
    pub(super) fn revive(&mut self) {
        self.revivals += 1;
        self.dialing += self.refused.len();
        self.refused.clear();
        self.reported = 0;
    }

    /// Whether a peer can connect to a bound endpoint, or be found at one that is connected to.
    pub(crate) fn are_reachable(&self) -> bool {
        self.dialing > 0 || !self.bound.is_empty() || !self.refused.is_empty()
    }

    /// Whether a missing peer may still come back.
    pub(crate) fn expects_return(&self) -> bool {
        self.are_reachable() && self.peers.has_missing()
    }

    /// Records that an endpoint is no longer connected to, because the stream has ended there. `lost` is the
    /// last peer there, which will not come back.
    pub(crate) fn end(&mut self, lost: Option<InstanceId>) {
        self.dialing -= 1;
        self.ended += 1;
        if let Some(peer) = lost {
            self.peers.handle_gone(peer);
        }
    }
}
