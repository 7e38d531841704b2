//! What the tests of this package share.

pub mod process;
pub mod spec;
