//! Plumbing that the tests of several crates share: how to drive a link of a machine over bytes in memory, how to write
//! and read frames as a peer would, and the law of conservation. The tests state what is right or wrong.
//!
//! | module | content |
//! | --- | --- |
//! | [`conserved`] | the law that no message gets lost |
//! | [`mod@counted`] | bytes that are counted while they exist |
//! | [`frames`] | frames as a peer writes and reads them |
//! | [`sides`] | machines, and peers as a handshake describes them |
//! | [`link_driver`] | the driver of one link |
//! | [`world`] | pushers, pullers and the wires between them |

// Only tests use this crate, and a test may stop at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![forbid(unsafe_code)]

pub mod conserved;
pub mod counted;
pub mod frames;
pub mod link_driver;
pub mod sides;
pub mod world;

pub use counted::counted;
pub use frames::{ack, close_of, deliver, frame, outcome, sent};
pub use link_driver::LinkDriver;
pub use sides::{SECOND, peer, puller, pusher, text};
pub use world::{Wire, World};
