//! The endpoints of a socket, and the peers that are there or missing (ST-3, ST-6).

use std::collections::{HashMap, HashSet};

use tidegate_proto::InstanceId;

use crate::{endpoint::Endpoint, error::Refusal};

/// The most missing pullers that are remembered at the end of a stream (ST-3); waiting for more is not worth
/// it.
const MAX_MISSING: usize = 1_024;

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
    /// The number of links of each peer. Keyed by the instance id that peers give (HS-8), because a peer may
    /// come back over another endpoint. A peer that claims another's instance id can only shorten or prolong
    /// the wait for it (ST-3).
    present: HashMap<InstanceId, usize>,
    /// Pushers whose end was reported as an event.
    pub(super) ended_peers: HashSet<InstanceId>,
    /// Peers whose last link was interrupted, or ended before they had the end of our stream, and that have
    /// not come back.
    pub(crate) missing: Vec<InstanceId>,
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

    /// Whether this peer is missing.
    pub(crate) fn is_missing(&self, peer: InstanceId) -> bool {
        self.missing.contains(&peer)
    }

    /// Whether a missing peer may still come back, to a bound endpoint or at one that is connected to.
    pub(crate) fn expects_return(&self) -> bool {
        let reachable = self.dialing > 0 || !self.bound.is_empty() || !self.refused.is_empty();
        reachable && !self.missing.is_empty()
    }

    /// Records that an endpoint is no longer connected to, because the stream has ended there. `lost` is the
    /// last peer there, which will not come back.
    pub(crate) fn end(&mut self, lost: Option<InstanceId>) {
        self.dialing -= 1;
        self.ended += 1;
        self.missing.retain(|peer| Some(*peer) != lost);
    }

    /// Records an open link.
    pub(super) fn opened(&mut self, peer: InstanceId) {
        *self.present.entry(peer).or_default() += 1;
        self.missing.retain(|other| *other != peer);
    }

    /// Records the end of a link. `interrupted`: the peer did not announce it and may come back (RD-8), or it
    /// may have missed the end of our stream.
    pub(super) fn closed(&mut self, peer: InstanceId, interrupted: bool) {
        if let Some(links) = self.present.get_mut(&peer)
            && *links > 1
        {
            // The old link of a peer may be closed after the peer has come back over a new one.
            *links -= 1;
            return;
        }
        self.present.remove(&peer);
        if interrupted && self.missing.len() < MAX_MISSING {
            self.missing.push(peer);
        }
    }
}
