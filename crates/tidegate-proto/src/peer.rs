//! Who is at the other end of a link.

use std::time::Duration;

use crate::{
    identity::{PeerKey, Resume},
    message::InstanceId,
    wire::v1::Role,
};

/// What a handshake has found out about the other side.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Its role.
    pub role: Role,
    /// Its socket, as it says (HS-8): others can say the same.
    pub instance: InstanceId,
    /// For people. It is a stranger's text: escape it before showing it.
    pub name: String,
    /// Where it is, as the driver knows it.
    pub address: String,
    /// What the transport has verified that it is called, as the driver knows it (TL-4); empty without a certificate.
    pub names: Vec<String>,
    /// The pipeline of the link.
    pub pipeline: String,
    /// Its `max_message` (HS-7).
    pub max_message: u64,
    /// It is heard from at least this often (LV-1).
    pub heartbeat: Duration,
    /// Which attempt to connect this is, if it is the connector (HS-9).
    pub generation: Option<u64>,
    /// What a connector has shown, until its key is made (HS-9).
    pub resume: Option<Resume>,
    /// By this a peer is known that comes back; see [`KeyMaker`](crate::KeyMaker). The links of a peer without a key are never
    /// replaced (HS-9), and it has neither grace (RD-8) nor are its messages looked for among those that are known (RD-9).
    pub key: Option<PeerKey>,
}

impl Peer {
    /// The key under which a newer link of this peer takes the place of an older one (HS-9). Only acceptors replace links.
    pub(crate) fn replaceable(&self) -> Option<PeerKey> {
        self.key.filter(|_| self.generation.is_some())
    }
}
