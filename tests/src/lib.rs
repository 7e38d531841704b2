//! Code shared by the tests of this package.

#![forbid(unsafe_code)]

pub mod certs;
pub mod chaos;
pub mod daemons;
pub mod fuzz;
pub mod hostile;
pub mod model;
pub mod process;
pub mod seeds;
pub mod simulation;
pub mod spec;
pub mod vectors;
pub mod words;
