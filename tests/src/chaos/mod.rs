//! Shared code of the fault-injection tests: the account of messages sent and seen, and the faults.

// Only tests use this module, and a test may panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::missing_panics_doc)]

mod account;
mod dice;
mod disk;
mod fleet;
mod network;
mod relay;

pub use account::{Account, Sighting};
pub use dice::Dice;
pub use disk::Disk;
pub use fleet::{Fleet, WIDTH, records};
pub use network::{Network, Way, have, say};
pub use relay::Relay;
