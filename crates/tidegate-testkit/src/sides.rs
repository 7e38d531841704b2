//! Machines, and peers as a handshake describes them.

use std::time::Duration;

use tidegate_proto::{
    InstanceId, Peer, PeerKey, Puller, PullerSettings, Pusher, PusherSettings, Received, Role,
};

/// One second.
pub const SECOND: Duration = Duration::from_secs(1);

/// A pusher with the default settings and this change.
pub fn pusher(change: impl FnOnce(&mut PusherSettings)) -> Pusher {
    let mut settings = PusherSettings::default();
    change(&mut settings);
    Pusher::new(settings, InstanceId([7; 16]), 1).unwrap()
}

/// A puller with the default settings and this change.
pub fn puller(change: impl FnOnce(&mut PullerSettings)) -> Puller {
    let mut settings = PullerSettings::default();
    change(&mut settings);
    Puller::new(settings).unwrap()
}

/// A peer, as a handshake would return it. `slot`: the slot and the generation of a connector; without it, its links
/// are never replaced.
#[must_use]
pub fn peer(role: Role, instance: u8, slot: Option<(u64, u64)>) -> Peer {
    Peer {
        role,
        instance: InstanceId([instance; 16]),
        name: format!("peer {instance}"),
        address: "test".into(),
        names: Vec::new(),
        pipeline: String::new(),
        max_message: 16 << 20,
        heartbeat: 2 * SECOND,
        generation: slot.map(|(_, generation)| generation),
        resume: None,
        key: Some(PeerKey::new(
            u128::from(instance) << 64 | slot.map_or(0, |(slot, _)| u128::from(slot) + 1),
        )),
    }
}

/// The payload of a delivery as text.
#[must_use]
pub fn text(received: &Received) -> String {
    String::from_utf8_lossy(received.payload()).into_owned()
}
