//! Who is at the other end of a link.

use std::time::Duration;

use crate::{message::InstanceId, wire::v1::Role};

/// What a handshake has found out about the other side.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Its role.
    pub role: Role,
    /// Its socket (HS-8).
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
    /// Slot and generation, if it is the connector (HS-9).
    pub slot: Option<(u64, u64)>,
}
