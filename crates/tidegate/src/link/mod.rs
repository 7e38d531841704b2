//! Links: how they are established, and what drives them.

pub(crate) mod dial;
mod driver;
mod greet;
mod handshake_scheduler;
mod handshakes;
pub(crate) mod listen;
mod meet;
mod outage;
mod secrets;

pub(crate) use secrets::Secrets;
