//! What the tests of this package share.

pub mod certs;
pub mod chaos;
pub mod daemons;
pub mod process;
pub mod seeds;
pub mod spec;
pub mod vectors;
