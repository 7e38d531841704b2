//! The real library on a simulated network and clock: pushers and pullers that start, stop, crash, hang and restart;
//! links that are slow, cut in one direction, repaired, and reset within a frame. A seed determines a scenario, a
//! scenario produces a history, and independent checkers judge the history.
//!
//! | file | content |
//! | --- | --- |
//! | `scenario` | the plan, drawn from the seed |
//! | `world` | runs a scenario: the clock, the network, the faults |
//! | `pusher`, `puller` | the processes |
//! | `transport`, `tap` | streams that break, and the frames on them |
//! | `history` | the recorded events |
//! | `check` | one file for each property |

// A test panics at the first failure.
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
