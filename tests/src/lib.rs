//! What the tests of this package share.

pub mod daemons;
pub mod hostile;
pub mod process;
pub mod seeds;
pub mod spec;
pub mod vectors;
