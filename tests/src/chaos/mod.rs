//! What the tests with real faults share: who was sent what and saw what, and the means to break things.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::missing_panics_doc)] // only tests use it, and those may stop at once

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
