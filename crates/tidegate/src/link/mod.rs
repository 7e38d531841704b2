//! Links: how they are established, and what drives them.

pub(crate) mod dial;
mod driver;
mod greet;
pub(crate) mod listen;
mod meet;
mod outage;
mod secrets;

pub(crate) use secrets::Secrets;
