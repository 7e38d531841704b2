//! The real library on a simulated network and clock: pushers and pullers that start, stop, crash, hang and come back; links that
//! are slow, cut one way, healed, and reset within a frame. A seed makes a scenario, a scenario a history, and checkers that know
//! nothing of either judge the history.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `scenario` | what is to happen, from the seed |
//! | `world` | plays it: the clock, the network, the faults |
//! | `pusher`, `puller` | the processes |
//! | `transport`, `tap` | streams that break, and what was on them |
//! | `history` | what happened |
//! | `check` | one file for each thing that must hold |

// It is a test: it stops at the first surprise.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

pub mod check;
pub mod draw;
mod events;
pub mod history;
pub mod puller;
pub mod pusher;
pub mod scenario;
pub mod stage;
mod tap;
pub mod transport;
pub mod world;
