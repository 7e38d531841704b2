//! Peers that misbehave on purpose, over loopback: hand-made bytes on a plain socket, for `tests/hostile.rs` and the `flood`
//! binary. Everything is bounded in number and in time.

pub mod attack;
mod connections;
pub mod flood;
mod frames;
mod keeping;
pub mod measure;
pub mod raw;
pub mod sides;
