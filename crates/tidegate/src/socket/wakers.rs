//! Wakes what waits for a socket: calls of the application, drivers of links, and the timer.

use std::{
    sync::{Arc, MutexGuard},
    task::Waker,
};

use tidegate_proto::LinkId;
use tokio::sync::Notify;

use super::{Inner, SocketMachine};

/// The wakers of a socket.
pub(crate) struct Wakers {
    /// For a puller: wakes one `recv` for each delivery, in order of arrival. For a pusher: wakes the task
    /// that watches its queue.
    pub(crate) ready: Notify,
    /// Wakes all waiting calls after a rare change, such as of links, ends, refusals or a drain, in order of
    /// arrival.
    pub(super) changed: Notify,
    /// The deadline of the socket may be earlier now.
    pub(super) timer: Arc<Notify>,
}

impl Wakers {
    pub(super) fn new() -> Self {
        Self { ready: Notify::new(), changed: Notify::new(), timer: Arc::new(Notify::new()) }
    }

    pub(crate) fn changed(&self) {
        self.changed.notify_waiters();
    }
}

/// Wakes the drivers of links that have work, after the lock is released.
pub(super) fn wake_links<M: SocketMachine>(mut guard: MutexGuard<'_, Inner<M>>, own: Option<LinkId>) {
    let Inner { machine, ready_links, driver_wakers, .. } = &mut *guard;
    machine.poll_ready_links(ready_links);
    let mut others =
        ready_links.drain(..).filter(|id| Some(*id) != own).filter_map(|id| driver_wakers.get(&id).cloned());
    let first = others.next(); // there is rarely a second one
    let rest: Vec<_> = others.collect();
    drop(guard);
    first.into_iter().chain(rest).for_each(Waker::wake);
}
