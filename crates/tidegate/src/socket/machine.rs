//! What a role adds to a socket.

use std::{sync::Arc, task::Waker};

use tidegate_proto::{LinkId, Machine, Peer, Time};

use super::{Inner, Shared, wakers::Wakers};

/// A role: its machine, and what the library keeps beside it under the same lock.
pub(crate) trait SocketMachine: Machine + Send + Sized + 'static {
    type State: Send;

    /// What the library keeps outside the lock. Its own locks are taken before it, never after.
    type Outside: Send + Sync;

    /// Whether the driver yields before it sends. A puller's acks do, so that in a program that sends and
    /// receives, the next message goes first.
    const GIVES_WAY: bool;

    /// Runs after every use of the machine, under the lock. Passes on its events.
    fn after(inner: &mut Inner<Self>, wakers: &Wakers);

    /// Returns what must be done after the lock is released.
    fn take_deferred(_state: &mut Self::State) -> Deferred {
        Deferred::default()
    }

    /// Called when a link is open, before it is driven.
    fn opened(_inner: &mut Inner<Self>, _link: LinkId, _peer: &Peer, _shared: &Arc<Shared<Self>>) {}

    /// Whether a message was settled over the link (RD-6).
    fn has_outcome(&self, link: LinkId) -> bool;

    /// Whether the peer has ended its stream over this link (ST-6).
    fn has_ended(&self, link: LinkId) -> bool;

    /// Whether the stream is over for both sides of the link, so that connecting to the peer again is
    /// pointless (ST-3, ST-6).
    fn is_over(&self, link: LinkId) -> bool;

    /// Whether the peer may not have received the end of our stream, although the link was closed for it
    /// (ST-3).
    fn end_unanswered(&self, _link: LinkId) -> bool {
        false
    }

    /// Whether the socket has ended in order, whether or not a call has returned that.
    fn at_end(inner: &Inner<Self>) -> bool;

    /// Called when nothing runs the links any more: accepts and delivers nothing more. Returns false if the
    /// socket had already ended.
    fn lose(inner: &mut Inner<Self>, now: Time) -> bool;

    /// Whether an endpoint is connected to again after the stream there has ended, because another may begin.
    fn stays(_state: &Self::State) -> bool {
        false
    }
}

/// What must not be done under the lock, because it may use the socket.
#[derive(Default)]
pub(crate) struct Deferred {
    pub(crate) wakers: Vec<Waker>,
    pub(crate) warnings: Vec<String>,
}
