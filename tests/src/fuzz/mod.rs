//! The fuzz targets, one file for each: a function over bytes that panics when something is wrong.
//!
//! `tests/fuzz` runs them with libFuzzer; `tests/tests/fuzz_corpus.rs` runs the kept inputs of `tests/fuzz/corpus`, and
//! mutations of them, with every `cargo test`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a target reports a failure by a panic

mod deliver;
mod drive;
mod endpoint;
mod frames;
mod golden;
mod handshake;
mod input;
mod machine_puller;
mod machine_pusher;
mod mutate;
mod pair;
mod puller_model;
mod pusher_model;
mod records;
mod roundtrip;

pub use golden::{Golden, golden};
pub use input::Input;
pub use mutate::mutate;

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of its file in `tests/fuzz/fuzz_targets` and of its directory in `tests/fuzz/corpus`.
    pub name: &'static str,
    /// Runs the target with an input.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: [Target; 9] = [
    Target { name: "deliver", run: deliver::run },
    Target { name: "endpoint", run: endpoint::run },
    Target { name: "frames", run: frames::run },
    Target { name: "handshake", run: handshake::run },
    Target { name: "machine_puller", run: machine_puller::run },
    Target { name: "machine_pusher", run: machine_pusher::run },
    Target { name: "pair", run: pair::run },
    Target { name: "records", run: records::run },
    Target { name: "roundtrip", run: roundtrip::run },
];

/// Runs the target with this name.
///
/// # Panics
/// If the target fails, or if there is no target with this name.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.unwrap_or_else(|| panic!("there is no target {name:?}")).run)(bytes);
}
