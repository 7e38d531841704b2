//! Links: how they are established, and what drives them.

pub(crate) mod dial;
mod driver;
mod greet;
mod handshakes;
pub(crate) mod listen;
mod meet;
mod outage;
pub(crate) mod outgoing;
mod turnstile;
