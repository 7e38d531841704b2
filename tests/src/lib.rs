//! What the tests of this package share.

pub mod daemons;
pub mod process;
pub mod seeds;
pub mod simulation;
pub mod spec;
pub mod vectors;
