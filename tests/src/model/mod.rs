//! The state machines of `tidegate-proto` under a model checker: every interleaving within stated bounds.
//!
//! A [`ModelWorld`] has pushers and pullers, each with an application, a driver and a clock, and the wires between
//! them. An [`Action`] is the smallest step of a world. Given [`Bounds`], the checker visits every reachable state, and
//! checks the [`property`]s in each.
//!
//! ```text
//! Bounds ──► ModelWorld ──► actions ──► ModelWorld ──► … ──► a property fails: the path of actions is printed
//! ```
//!
//! # What is bounded
//!
//! The bounds are the numbers of pushers, pullers and messages, how many deliveries an application holds at once, and
//! how often each kind of fault happens. The faults are:
//!
//! * a wire is cut: each direction independently loses the frames from some frame on, and each end notices at any time;
//! * a puller's process dies and a new process replaces it;
//! * a pusher's process dies and a new process replaces it, with its store (RD-11);
//! * an application cancels a wait, nacks, rejects, releases or leaves;
//! * a settle time-out passes.
//!
//! Nothing else is bounded: frames may take any time, and drivers may run at any time.
//!
//! # What is left out
//!
//! * Time, except that a deadline within [`process::HORIZON`] may pass at any moment after it was set: held outcomes,
//!   recalls of idle credit, retries, the end of a grace. Heartbeats and silence are later than the horizon. For the
//!   machines, silence is another way to lose a link.
//! * The automatic window, which depends on time.
//! * The bytes of the handshake: a wire starts with a greeting, which opens the pusher's end when the wire is created,
//!   and the puller's end when the greeting arrives.
//!
//! Two states are equal if they differ only in values without effect: times are compared as distances from now
//! ([`relative`]).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // a test may panic
#![allow(missing_docs, clippy::missing_panics_doc)] // the names of fields and variants are enough

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
pub use world::ModelWorld;
