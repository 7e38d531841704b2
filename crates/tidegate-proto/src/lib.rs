//! The tidegate protocol without I/O, clock or randomness of its own.
//!
//! `SPEC.md` at the root of the repository is the authority on the wire; `docs/IMPLEMENTATION.md` holds the rules of this
//! implementation. Ids such as CR-2 in comments name rules of one or the other.
//!
//! The parts, in the order in which a message meets them:
//!
//! * [`Message`] is what an application sends.
//! * [`Pusher`] accepts messages, hands them round-robin to links that have credit, keeps each until it is
//!   settled, and takes it back when its link is lost.
//! * [`wire`] turns messages into frames and back.
//! * [`Puller`] grants credit, checks what arrives, hands deliveries to the application and sends outcomes.
//! * [`handshake`] decides whether a stranger becomes a link at all.
//!
//! # Driving a machine
//!
//! Both machines implement [`Machine`]. Whoever drives one owns the sockets and the clock, and for each open
//! link does this, in this order, whenever something happens:
//!
//! 1. reads bytes into a [`wire::FrameReader`], gives each whole frame to [`Machine::receive`], and calls
//!    [`Machine::found_empty`] when the socket has nothing more;
//! 2. calls [`Machine::transmit`], writes what it got, and reports the progress to [`Machine::written`];
//! 3. calls [`Machine::advance`] when the time of [`Machine::deadline`] has come; never before having read, or a
//!    process that was stopped would take its own sleep for the peer's silence (LV-3);
//! 4. removes the link when [`Machine::is_finished`] says so, or calls [`Machine::lost`] when the stream ended.
//!
//! After any call, [`Machine::take_wakes`] names the links that have something to do.
//!
//! # Platforms
//!
//! The crate uses no platform-specific API.

#![forbid(unsafe_code)]

pub mod close;
pub mod credit;
mod defaults;
mod flood;
pub mod handshake;
mod identity;
mod links;
mod liveness;
mod machine;
pub mod message;
mod peer;
mod puller;
mod pusher;
mod random;
mod session;
mod shown;
mod time;
mod tokens;
pub mod violation;
pub mod wire;

pub use close::LinkEnd;
pub use defaults::{
    DEFAULT_GRACE, DEFAULT_HEARTBEAT, DEFAULT_HIGH_WATER_MARK, DEFAULT_HIGH_WATER_MARK_BYTES,
    DEFAULT_MAX_MESSAGE, DEFAULT_MEMORY,
};
pub use identity::{KeyMaker, PeerKey, Resume};
pub use links::LinkId;
pub use machine::Machine;
pub use message::{Headers, InstanceId, Message, MessageError, MessageId};
pub use peer::Peer;
pub use puller::{
    Lot, PullLinkStats, PullStats, Puller, PullerEvent, PullerSettings, Received, Verdict, Window,
};
pub use pusher::{
    Accepted, Blocked, Leftover, PushLinkStats, PushStats, Pusher, PusherEvent, PusherSettings, Refused,
    Rejected, Settled, Undelivered,
};
pub use random::Random;
pub use shown::{Shown, shown};
pub use time::Time;
pub use tokens::Tokens;
pub use violation::{Code, SettingError, Violation};
pub use wire::v1::Role;

/// The compiled `.proto` file (a serialized `google.protobuf.FileDescriptorSet`), for peers in other languages.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tidegate.binpb"));
