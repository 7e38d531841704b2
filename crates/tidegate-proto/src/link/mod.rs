//! One link, and the links of a socket: what both roles do in the same way.
//!
//! ```text
//! Machine ◄── driver          the interface of both machines
//!    │
//!  Links ──► Session ──► Liveness, FloodLimiter, LinkEnd
//!               └──────► Peer ──► PeerKey
//!
//! ExpectedPeers ◄── driver    which peers may return
//! ```

pub mod close;
mod expected;
mod identity;
mod key_maker;
mod liveness;
mod machine;
mod peer;
mod poll_budget;
mod session;
mod table;

pub use close::LinkEnd;
pub use expected::{EndWait, ExpectedPeers};
pub use identity::{PeerKey, Resume};
pub use key_maker::KeyMaker;
pub use liveness::HEARTBEAT_RANGE;
pub use machine::Machine;
pub use peer::Peer;
pub use poll_budget::PollBudget;
pub(crate) use session::{Session, Timing, check_generation};
pub(crate) use table::Links;
