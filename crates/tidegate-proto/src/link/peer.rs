//! The peer of a link.

use std::time::Duration;

use super::identity::{PeerKey, Resume};
use crate::{message::InstanceId, v1::Role};

/// What the handshake and the transport have learned about the other side of a link.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Its role.
    pub role: Role,
    /// Its instance (HS-8). It is public, so that it proves nothing about the peer.
    pub instance: InstanceId,
    /// Its name, for logs and statistics. It is text from the peer: escape it before you show it.
    pub name: String,
    /// Its address. The driver sets it.
    pub address: String,
    /// Its names that the transport has verified (TL-4); empty without a certificate. The driver sets them.
    pub names: Vec<String>,
    /// The pipeline of the link.
    pub pipeline: String,
    /// Its `max_message`, in bytes (HS-7).
    pub max_message: u64,
    /// Its heartbeat interval (LV-1).
    pub heartbeat: Duration,
    /// The number of its connection attempt; `None` if the peer is the acceptor (HS-9).
    pub generation: Option<u64>,
    /// The `resume` that a connector has sent, until [`KeyMaker`](crate::KeyMaker) makes the key (HS-9).
    pub resume: Option<Resume>,
    /// The key by which the peer is recognized when it reconnects. [`KeyMaker`](crate::KeyMaker) sets it before the
    /// driver opens the link. Without a key, links of the peer are never replaced (HS-9), and the peer gets neither a
    /// reconnect grace (RD-8) nor duplicate suppression (RD-9).
    pub key: Option<PeerKey>,
}

impl Peer {
    /// The key by which a newer link of this peer replaces an older one (HS-9); `None` at a connector, which replaces
    /// no links.
    pub(crate) fn replaceable(&self) -> Option<PeerKey> {
        self.key.filter(|_| self.generation.is_some())
    }
}
