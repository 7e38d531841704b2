//! Which peers are admitted, and how many of them.
//!
//! ```text
//! accepted connection ──► Handshakes (places, Descriptors) ──► HandshakeScheduler (turns)
//!          Hello      ──► Security (tokens, allowed names) ──► AddressCounts ──► a link
//! ```

mod address_limit;
mod descriptors;
mod handshake_scheduler;
mod handshakes;
mod policy;

pub use self::policy::PeerIdentity;
pub(crate) use self::{
    address_limit::{AddressCounts, origin},
    descriptors::Descriptors,
    handshake_scheduler::HandshakeScheduler,
    handshakes::{HandshakePermit, Handshakes, PermitLost},
    policy::{Policy, Security},
};
