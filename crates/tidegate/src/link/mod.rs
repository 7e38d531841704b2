//! Links: how they come about, and what drives them.

pub(crate) mod dial;
mod driver;
mod greet;
pub(crate) mod listen;
pub(crate) mod outgoing;
mod turnstile;
