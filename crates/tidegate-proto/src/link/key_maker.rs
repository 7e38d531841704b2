//! Makes the keys by which peers are recognized.

use std::{fmt, hash::Hasher};

use siphasher::sip128::{Hasher128, SipHasher24};

use super::{
    identity::{PeerKey, Resume},
    peer::Peer,
};

/// Makes the keys of the peers of one socket. A key is a hash under a secret of the socket, so that no peer can
/// construct a second identity with the same key.
#[derive(Clone)]
pub struct KeyMaker {
    secret: [u8; 16],
}

/// The first byte of the hashed data: keeps the keys of connectors and acceptors apart.
const ACCEPTED: u8 = 1;
const CONNECTED: u8 = 2;
/// The same for the secrets that are shown to acceptors.
const SHOWN: u8 = 3;

impl KeyMaker {
    /// Makes a key maker with a secret of 16 random bytes.
    #[must_use]
    pub fn new(secret: [u8; 16]) -> Self {
        Self { secret }
    }

    /// Sets the key of a connector, at an acceptor. A connector that has sent no `resume` gets no key. Set `peer.names`
    /// before the call.
    pub fn identify_connector(&self, peer: &mut Peer) {
        peer.key = peer.resume.take().map(|resume| {
            let parts = [resume.as_bytes(), &peer.instance.0[..], peer.pipeline.as_bytes()];
            self.key(ACCEPTED, &parts, &peer.names)
        });
    }

    /// Sets the key of an acceptor, at the connector that has reached it over `slot`. Set `peer.names` before the call.
    /// If the instance of the connector outlives its process, an endpoint must keep the number of its slot (RD-11).
    pub fn identify_acceptor(&self, slot: u64, peer: &mut Peer) {
        peer.key = Some(self.key(CONNECTED, &[&slot.to_be_bytes(), &peer.instance.0], &peer.names));
    }

    /// The `resume` of a connector whose instance outlives its process, for one endpoint and address (HS-9). With the
    /// same secret it is the same after a restart. No acceptor can compute the one that is shown to another.
    #[must_use]
    pub fn derive_resume(&self, endpoint: &str, address: &str) -> Resume {
        let PeerKey(hash) = self.key(SHOWN, &[endpoint.as_bytes(), address.as_bytes()], &[]);
        Resume::new(hash.to_be_bytes())
    }

    fn key(&self, side: u8, parts: &[&[u8]], names: &[String]) -> PeerKey {
        let mut names: Vec<_> = names.iter().map(String::as_bytes).collect();
        names.sort_unstable();
        let mut hasher = SipHasher24::new_with_key(&self.secret);
        hasher.write(&[side]);
        // The length of each part is hashed too, so that two different lists of parts cannot have the same encoding.
        for part in parts.iter().chain(&names) {
            hasher.write(&(part.len() as u64).to_be_bytes());
            hasher.write(part);
        }
        PeerKey(hasher.finish128().as_u128())
    }
}

impl fmt::Debug for KeyMaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyMaker(not shown)")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{message::InstanceId, v1::Role};

    const SECRET: [u8; 16] = [9; 16];

    fn peer(change: impl FnOnce(&mut Peer)) -> Peer {
        let mut peer = Peer {
            role: Role::Pusher,
            instance: InstanceId([1; 16]),
            name: "n".into(),
            address: "a".into(),
            names: vec!["b.example".into(), "a.example".into()],
            pipeline: "p".into(),
            max_message: 1,
            heartbeat: Duration::from_secs(2),
            generation: Some(1),
            resume: Some(Resume::new([2; 16])),
            key: None,
        };
        change(&mut peer);
        peer
    }

    fn accepted(change: impl FnOnce(&mut Peer)) -> Option<PeerKey> {
        let mut peer = peer(change);
        KeyMaker::new(SECRET).identify_connector(&mut peer);
        assert_eq!(peer.resume, None, "the secret is not kept");
        peer.key
    }

    fn connected(slot: u64, change: impl FnOnce(&mut Peer)) -> PeerKey {
        let mut peer = peer(change);
        KeyMaker::new(SECRET).identify_acceptor(slot, &mut peer);
        peer.key.unwrap()
    }

    #[test]
    fn hs_9_a_connectors_key_is_its_secret_instance_pipeline_and_names() {
        // HS-9
        let key = accepted(|_| ());
        assert!(key.is_some());
        assert_eq!(key, accepted(|p| p.names.reverse()), "in any order");
        assert_eq!(key, accepted(|p| (p.name, p.address, p.generation) = ("x".into(), "y".into(), Some(9))));
        let changes: [fn(&mut Peer); 6] = [
            |p| p.resume = Some(Resume::new([3; 16])),
            |p| p.instance = InstanceId([3; 16]),
            |p| p.pipeline = "q".into(),
            |p| p.names = vec!["a.example".into()],
            |p| p.names.push("c.example".into()),
            |p| p.names.clear(),
        ];
        let others: Vec<_> = changes.into_iter().map(accepted).collect();
        assert!(others.iter().all(|other| other.is_some() && *other != key));
        assert!((1..others.len()).all(|at| !others[..at].contains(&others[at])));
        assert_eq!(accepted(|p| p.resume = None), None);
    }

    #[test]
    fn hs_9_different_parts_with_equal_concatenation_have_different_keys() {
        // HS-9
        let named = |pipeline: &str, names: &[&str]| {
            let names = names.iter().map(|&name| name.to_owned()).collect();
            accepted(|p| (p.pipeline, p.names) = (pipeline.into(), names))
        };
        let all = [
            named("pa", &["b", "c"]),
            named("p", &["ab", "c"]),
            named("p", &["a", "bc"]),
            named("p", &["a", "b", "c"]),
            named("", &["p", "a", "b", "c"]),
        ];
        assert!((1..all.len()).all(|at| !all[..at].contains(&all[at])));
    }

    #[test]
    fn hs_9_an_acceptors_key_is_the_slot_its_instance_and_names() {
        // HS-9: its resume and its pipeline are ignored.
        let key = connected(0, |_| ());
        assert_eq!(key, connected(0, |p| (p.resume, p.pipeline) = (None, "q".into())));
        assert_ne!(key, connected(1, |_| ()));
        assert_ne!(key, connected(0, |p| p.instance = InstanceId([3; 16])));
        assert_ne!(key, connected(0, |p| p.names.clear()));
        assert_ne!(Some(key), accepted(|_| ()));
    }

    #[test]
    fn hs_9_a_derived_resume_is_the_same_after_a_restart_and_differs_for_each_endpoint_and_address() {
        // HS-9, RD-11
        let derived = |secret, endpoint, address| KeyMaker::new(secret).derive_resume(endpoint, address);
        let one = derived(SECRET, "tcp://a:1", "10.0.0.1:1");
        assert_eq!(one, derived(SECRET, "tcp://a:1", "10.0.0.1:1"));
        let others = [
            derived([8; 16], "tcp://a:1", "10.0.0.1:1"),
            derived(SECRET, "tcp://b:1", "10.0.0.1:1"),
            derived(SECRET, "tcp://a:1", "10.0.0.2:1"),
        ];
        assert!(others.iter().all(|other| *other != one));
        let key = accepted(|_| ()).unwrap();
        assert_eq!(PeerKey::new(key.as_u128()), key);
    }

    #[test]
    fn hs_9_keys_of_two_sockets_are_unrelated_and_none_is_shown() {
        // HS-9
        let mut other = peer(|_| ());
        KeyMaker::new([8; 16]).identify_connector(&mut other);
        assert_ne!(other.key, accepted(|_| ()));
        let (resume, key) = (Resume::new(*b"0123456789abcdef"), PeerKey::new(0xabcd));
        let shown = format!("{resume:?} {key:?} {:?}", KeyMaker::new(*b"0123456789abcdef"));
        assert_eq!(shown, "Resume(not shown) PeerKey(not shown) KeyMaker(not shown)");
    }
}
