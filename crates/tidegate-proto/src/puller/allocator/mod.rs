//! The credit allocator: sizes the window, and divides it, the budgets and the places among the links.
//!
//! ```text
//! AutoWindow ──► shares ──► granting ──► limits of each link
//! PlaceQueue, MemoryQueue ──────┘ ▲
//!                             recalling
//! ```

mod auto;
mod granting;
mod memory;
mod places;
mod recalling;
mod turns;

pub(super) use auto::AutoWindow;
pub(super) use memory::{MemoryQueue, Need};
pub(super) use places::{PlaceQueue, Ticket, cap};
pub(super) use turns::Turns;
