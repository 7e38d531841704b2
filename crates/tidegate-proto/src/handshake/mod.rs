//! The handshake: three functions without state, so that an unknown peer takes no memory (HS-2).
//!
//! ```text
//! connector: greet ──────► acceptor: accept ──────► connector: confirm
//! ```

mod accept;
mod check;
mod confirm;
mod generations;
mod greet;
mod local;
mod refuse;
#[cfg(test)]
mod tests;
mod tokens;

pub use accept::{accept, accept_where};
pub use check::MAX_FEATURES;
pub use confirm::confirm;
pub use generations::{Generations, NoGeneration};
pub use greet::greet;
pub use local::{Local, VERSION};
pub use refuse::{close, early_close, refusal};
pub use tokens::{MAX_TOKEN, Tokens};

pub use crate::link::HEARTBEAT_RANGE;
