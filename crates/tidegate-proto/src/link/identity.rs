//! How a peer is recognized when it reconnects. An instance is public, so that it proves nothing (HS-9).

use std::fmt;

/// The secret by which an acceptor recognizes a connector: the connector sends it each time it connects from the same
/// slot (HS-9). `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Resume([u8; 16]);

impl Resume {
    /// Makes a `resume` of 16 random bytes.
    #[must_use]
    pub fn new(secret: [u8; 16]) -> Self {
        Self(secret)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Resume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resume(not shown)")
    }
}

/// Identifies a peer across links (HS-9, RD-8, RD-9). Two links of a socket have the same key only if they are links of
/// the same peer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey(pub(super) u128);

impl PeerKey {
    /// Makes a key from a number: from that of [`Self::as_u128`], which a store has kept, or in tests and simulations.
    /// All other keys are made by a [`KeyMaker`](crate::KeyMaker).
    #[must_use]
    pub const fn new(key: u128) -> Self {
        Self(key)
    }

    /// The key as a number, for a store that keeps it together with the secret of the
    /// [`KeyMaker`](crate::KeyMaker). It is a hash, and contains no `resume`.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0
    }
}

impl fmt::Debug for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerKey(not shown)")
    }
}
