//! The machines of `tidegate-proto` under a model checker: every interleaving within a stated bound.
//!
//! A [`World`] is some pushers and pullers, each with an application, a driver and a clock of its own, and the wires
//! between them. An [`Action`] is the smallest thing that can happen to it. From a [`Bounds`] the checker visits every
//! state that can be reached, and looks in each at the [`property`]s.
//!
//! ```text
//! Bounds ──► World ──► actions ──► World ──► … ──► a property fails: the path of actions is printed
//! ```
//!
//! # What is bounded
//!
//! How many pushers, pullers and messages there are, how many deliveries an application holds at once, and how often each
//! kind of fault happens: a wire is cut (what is on it is lost from some frame on, in each direction on its own, and each
//! end notices when it likes), a puller's process dies and a fresh one takes its place, an application cancels its waiting,
//! nacks, rejects, releases, leaves, a settle time-out. Nothing else is: frames take as long as they like, drivers run when they like.
//!
//! # What is left out
//!
//! * Time, except that whatever is due within [`process::HORIZON`] may happen at any moment after it was set: held
//!   outcomes, second thoughts about credit, retries, the end of a grace. Heartbeats are farther away than that, and so is silence: to the
//!   machines it is one more way to lose a link.
//! * The window that sets itself, which is about time.
//! * The bytes of the handshake: a wire begins with a greeting, which opens the pusher's end when it is made, and the
//!   puller's when it arrives.
//!
//! Two states are the same if they differ only in what decides nothing: times are compared as distances from now
//! ([`relative`]).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // a test may stop at once
#![allow(missing_docs, clippy::missing_panics_doc)] // the names of fields and variants say it

pub mod action;
pub mod bounds;
pub mod check;
pub mod ledger;
pub mod process;
pub mod property;
pub mod relative;
pub mod seen;
pub mod wire;
pub mod world;

pub use action::Action;
pub use bounds::{Bounds, Faults, Grace};
pub use check::{check, check_nearest, soak};
pub use seen::Event;
pub use world::World;
