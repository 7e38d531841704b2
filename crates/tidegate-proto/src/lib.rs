//! The tidegate protocol without I/O: frames, credit, and the state machines of the two roles.
//!
//! The crate has no clock, no sockets and no source of randomness of its own. `SPEC.md` at the root of the repository
//! defines the wire protocol, and `docs/IMPLEMENTATION.md` the policies of this implementation. Ids such as CR-2 name
//! rules of one or the other.
//!
//! The parts, in the order in which a message passes them:
//!
//! * [`Message`] is what an application sends.
//! * [`Pusher`] accepts messages, sends them round-robin on links with credit, keeps each until it is settled, and
//!   requeues those of a lost link.
//! * [`wire`] encodes and decodes frames.
//! * [`Puller`] grants credit, checks frames, hands deliveries to the application, and sends outcomes.
//! * [`handshake`] decides whether a connection becomes a link.
//!
//! # Driving a machine
//!
//! [`Pusher`] and [`Puller`] are state machines. A *driver* connects them to the outside: it owns the sockets and the
//! clock, passes bytes and the time to the machine, and writes what the machine sends. The methods for drivers are
//! those of [`Machine`], and are the same for both roles ([`Machine::role`] returns which one it is). Every [`Time`]
//! that a driver passes must be at least as late as the one before.
//!
//! ## Opening a link
//!
//! 1. The connector writes [`handshake::greet`], with a generation that [`Generations::draw`] returns. Both sides read
//!    the first frame with a [`wire::FrameReader`], within the deadline of HS-11, which only the driver can check
//!    ([`Violation::new_timeout`]).
//! 2. The acceptor passes the frame to [`handshake::accept`] or [`handshake::accept_where`]. If it is refused, the
//!    acceptor writes [`handshake::refusal`] and closes the connection. If the frame is a `Close`
//!    ([`handshake::early_close`]), it writes nothing. The connector passes the answer to [`handshake::confirm`], and
//!    sends [`handshake::close`] if that fails with a violation.
//! 3. The driver sets `address` and `names` of the [`Peer`], and then its `key`, with [`KeyMaker::identify_connector`]
//!    or [`KeyMaker::identify_acceptor`]. Without a key, the machine cannot recognize the peer when it reconnects.
//! 4. [`Machine::open`] adds the link, or returns a violation, which the driver sends like a refusal. An acceptor
//!    writes its answer only after `open` has succeeded. [`Machine::replaces`], called before, returns the peer whose
//!    link `open` is going to replace, for a log.
//! 5. [`wire::FrameReader::open`] with [`Machine::frame_limit`] switches the reader to the limits of an open link.
//!
//! ## Polling a link
//!
//! Poll a link when its socket is readable or writable, when its deadline has passed, and when the machine wakes it.
//! The order of the calls within a poll matters:
//!
//! 1. [`Machine::handle_written`], with the number of bytes that were written since the last poll. It comes before the
//!    frames, because a `Close` or the end of the stream requeues the un-acked messages, and their next attempt depends
//!    on what was written (RD-3).
//! 2. If [`Machine::wants_read`] allows it, read into [`wire::FrameReader::buffer`] and call
//!    [`wire::FrameReader::filled`]. If bytes have arrived, call [`Machine::feed`]. It handles the frames of the reader
//!    until its [`PollBudget`] is used up. Then poll the link again before its next read, after the other links had
//!    their turn. After a violation, continue to read until the link is finished.
//! 3. [`Machine::handle_would_block`], if the socket had nothing more to read. Only from then on does silence count
//!    (LV-3).
//! 4. [`Machine::handle_write_error`], if a write has failed. Do not write any more, but continue to read: outcomes may
//!    still arrive (RD-2).
//! 5. [`Machine::handle_timeout`], if the time of [`Machine::poll_timeout`] has come. It comes after reading. Otherwise
//!    a process that was suspended would close its links for silence before it reads what has arrived in the meantime.
//! 6. [`Machine::poll_transmit`], if all bytes of the last call were written. Write what it appends. Bytes that are not
//!    yet written stay with the driver, and are reported later by `handle_written`.
//! 7. If [`Machine::is_finished`] returns true, or the stream has ended or failed, call [`Machine::handle_link_lost`].
//!    It removes the link, requeues its messages, and returns why the link has ended. If the driver stops while a write
//!    may still be under way, call [`Machine::handle_driver_lost`] instead, which counts all bytes as written.
//! 8. Otherwise wait until the socket is ready, the next [`Machine::poll_timeout`], or a wake-up.
//!
//! ## Wake-ups and timers of the socket
//!
//! Any call may give work to other links. [`Machine::poll_ready_links`] returns these links; poll each of them soon.
//! [`Machine::has_ready_links`] is a cheap check, and [`Machine::is_link_ready`] tells whether a link is waiting for
//! its poll. If [`Machine::is_idle`] returns true for a link, a task other than its driver may call `poll_transmit` for
//! it and write the bytes, under the same lock.
//!
//! When the time of [`Machine::poll_socket_timeout`] has come, call [`Machine::handle_socket_timeout`]: it ends retry
//! delays, the reconnect grace and slow starts. [`Machine::link_count`] and [`Machine::link_ids`] list the links, for a
//! shutdown.
//!
//! ## Peers that are expected back
//!
//! [`ExpectedPeers`] is not part of a machine, because it outlives the links. [`ExpectedPeers::handle_opened`] and
//! [`ExpectedPeers::handle_closed`] count the links of each peer. A peer whose last link was interrupted, or that may
//! have missed the end of the stream ([`Pusher::end_unanswered`]), is missing until it returns, or until
//! [`ExpectedPeers::handle_gone`] tells that it will not.
//!
//! * When a pusher is done and its links are closed, [`ExpectedPeers::end_wait`] tells what to wait for (ST-3).
//! * When a pusher has ended its stream, [`ExpectedPeers::handle_end`] tells whether that is news (ST-6).
//!
//! ## Calls of the application: pusher
//!
//! * [`Pusher::new`] checks the settings. [`Pusher::instance`] is part of the ids of its messages.
//! * [`Pusher::send`] accepts a message or returns it with the reason. If it is [`Blocked::Full`], try again after
//!   outcomes have arrived. [`Pusher::try_send_fast`] is faster, and returns `None` if `send` must decide.
//!   [`Pusher::check_room`], [`Pusher::has_byte_room`] and [`Pusher::free_slots`] tell whether there is room.
//! * [`Pusher::reserve`] reserves room for a message. Then call exactly one of [`Pusher::send_reserved`] and
//!   [`Pusher::unreserve`]. [`Pusher::try_send_reserved_fast`] replaces that call if it accepts the message.
//!   [`Pusher::unreserve_bytes`] reduces a reservation.
//! * [`Pusher::poll_event`] returns outcomes of tracked messages and other events. Call it after each poll of a link
//!   and after [`Machine::handle_socket_timeout`], until it returns `None`.
//! * [`Pusher::keep_rejected`] keeps rejected messages for [`Pusher::take_rejected`]; [`Pusher::has_rejected`] tells
//!   whether there are any. [`Pusher::drop_rejected`] stops keeping them.
//! * [`Pusher::drain`] stops accepting messages, and closes the links after the last outcome; then [`Pusher::is_done`]
//!   returns true. [`Pusher::is_open`] tells whether messages are accepted, [`Pusher::is_flushed`] whether all assigned
//!   messages are written. [`Pusher::abort`] stops at once and returns what has no outcome; [`Pusher::leftover`]
//!   returns the same without stopping. After the end, [`Pusher::end_answered`] and [`Pusher::end_unanswered`] tell
//!   which pullers have received it (ST-3).
//! * [`Pusher::has_outcome`], before [`Machine::handle_link_lost`], tells whether the next connection attempt may be
//!   made soon (RD-6).
//! * [`Pusher::restore`] makes a pusher from the messages that a store has kept when the process before it ended
//!   (RD-11). [`Pusher::poll_store`] returns what the store must sync next; pass it to [`Pusher::handle_synced`] when
//!   it is synced. If the driver connects, it draws generations with [`Generations::in_epoch`], in an epoch that the
//!   store has synced, and makes its `resume` with [`KeyMaker::derive_resume`], from a secret that the store keeps.
//! * [`Pusher::stats`] and [`Pusher::link_stats`] return statistics.
//!
//! ## Calls of the application: puller
//!
//! * [`Puller::new`] checks the settings. [`Puller::set_context`], after [`Machine::open`], sets a value that the
//!   deliveries of the link carry.
//! * [`Puller::recv`] takes a delivery. If it returns `None` and the application waits, call [`Puller::start_waiting`],
//!   and [`Puller::stop_waiting`] when it waits no longer; if it only polls, call [`Puller::handle_empty_poll`]. Credit
//!   depends on these calls (CR-6, CR-7). [`Puller::has_next`], [`Puller::has_queued`] and [`Puller::queued`] tell what
//!   can be taken.
//! * [`Puller::settle`] settles each delivery once. [`Puller::working`] reports that a delivery is still being worked
//!   on, and [`Puller::is_reachable`] tells whether its outcome could be sent now.
//! * [`Puller::recv_batch`] takes several deliveries at once. Settle each with [`Puller::settle_item`], or several with
//!   [`Puller::settle_untracked`], and return the others with [`Puller::return_batch`], at once if
//!   [`Puller::may_hand_out`] is false. Call [`Puller::count_redelivered`] for those that are begun and have an attempt
//!   above 1. If you collect outcomes before you settle them, call [`Puller::send_outcomes`] after that (OC-5).
//! * [`Puller::poll_event`] returns events. Call it after each poll of a link and after
//!   [`Machine::handle_socket_timeout`], until it returns `None`.
//! * [`Puller::leave`] stops receiving, and closes each link when its deliveries are settled. [`Puller::abandon`]
//!   closes all links at once. [`Puller::is_leaving`] tells whether one of them was called.
//! * [`Puller::has_ended`], [`Puller::pushers_ended`] and [`Puller::has_open_streams`] tell which pushers have ended
//!   their streams (ST-6). [`Puller::is_open`] tells whether a link is open. [`Puller::has_outcome`], before
//!   [`Machine::handle_link_lost`], tells whether the next connection attempt may be made soon (RD-6).
//! * [`Puller::stats`] and [`Puller::link_stats`] return statistics.
//!
//! ## An example
//!
//! This driver connects two machines through byte vectors instead of sockets (`examples/driver.rs`):
//!
//! ```
#![doc = include_str!("../examples/driver.rs")]
//! ```
//!
//! # Platforms
//!
//! The crate uses no platform-specific API.

#![forbid(unsafe_code)]

mod amount;
pub mod credit;
mod defaults;
mod delivery_id;
pub mod handshake;
mod limits;
mod link;
mod link_id;
pub mod message;
mod message_number;
mod puller;
mod pusher;
mod random;
mod rule;
mod shown;
mod subsets;
mod time;
pub mod v1;
pub mod violation;
pub mod wire;

pub use amount::Amount;
pub use defaults::{
    DEFAULT_GRACE, DEFAULT_HEARTBEAT, DEFAULT_HIGH_WATER_MARK, DEFAULT_HIGH_WATER_MARK_BYTES,
    DEFAULT_MAX_MESSAGE, DEFAULT_MEMORY, DEFAULT_RESTART_GRACE,
};
pub use handshake::{Generations, NoGeneration, Tokens};
pub use link::{
    EndWait, ExpectedPeers, KeyMaker, LinkEnd, Machine, Peer, PeerKey, PollBudget, Resume, close,
};
pub use link_id::LinkId;
pub use message::{Headers, InstanceId, Message, MessageError, MessageId};
pub use puller::{
    DeliveryBatch, PullLinkStats, PullStats, Puller, PullerEvent, PullerSettings, Received, Verdict, Window,
};
pub use pusher::{
    Accepted, Blocked, FinalOutcome, Leftover, NUMBER_BLOCK, PushLinkStats, PushStats, Pusher, PusherEvent,
    PusherSettings, Refused, RejectedMessage, RestoreError, Restored, RestoredMessage, StoreRecord,
    Undelivered,
};
pub use random::Random;
pub use rule::{Level, Rule, UnknownRule};
pub use shown::{Shown, shown};
pub use subsets::Subsets;
pub use time::Time;
pub use violation::{Code, SettingError, Violation};
pub use wire::v1::Role;

/// The compiled `.proto` file (a serialized `google.protobuf.FileDescriptorSet`), for peers in other languages.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tidegate.binpb"));
