//! Malicious peers over loopback: hand-made bytes on a plain socket, for `tests/hostile` and the `flood` binary. All
//! attacks are limited in number and in time.

pub mod attack;
mod connections;
pub mod flood;
mod frames;
mod keeping;
pub mod measure;
pub mod raw;
pub mod sides;
