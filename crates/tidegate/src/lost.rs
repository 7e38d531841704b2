//! How a socket ends that nobody has stopped: what runs its links is gone. Everything that waits for it ends then.
//!
//! ```text
//! runtime shut down ──► its tasks are dropped, the timer's among them ─► Keeper ─┐
//! fork ──► a wait in the child, which has none of the threads ──────────────────┴► lose ─► recv, send, finish, events…
//! ```

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Arc, Weak},
    task::Poll,
    time::Duration,
};

use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    io_thread::Place,
    shared::{Role, Shared},
};

/// Why a socket has ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// What ran its links is gone.
    RuntimeGone,
    /// There was no link for as long as `give_up_after` says.
    GaveUp(Duration),
}

impl Lost {
    fn reason(self) -> &'static str {
        match self {
            Self::RuntimeGone => "the runtime that ran the link has been shut down",
            Self::GaveUp(_) => "the socket has given up",
        }
    }
}

/// Part of a task that lives as long as the socket or its runtime. Dropped before the socket, the runtime is gone.
pub(crate) struct Keeper<M: Role>(Weak<Shared<M>>);

impl<M: Role> Keeper<M> {
    pub(crate) fn new(shared: &Arc<Shared<M>>) -> Self {
        Self(Arc::downgrade(shared))
    }

    pub(crate) fn socket(&self) -> Option<Arc<Shared<M>>> {
        self.0.upgrade()
    }
}

impl<M: Role> Drop for Keeper<M> {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.lose(Lost::RuntimeGone);
        }
    }
}

impl<M: Role> Shared<M> {
    /// The socket has ended by itself. Its links are lost at once: their drivers may never run again.
    pub(crate) fn lose(&self, why: Lost) {
        let now = self.now();
        self.with(|inner| {
            if inner.lost.is_none() && M::lose(inner, now) {
                inner.lost = Some(why);
            }
            for link in inner.machine.link_ids() {
                inner.forget(link);
                inner.machine.abandoned(now, link, why.reason());
            }
        });
        self.stop.cancel();
        self.events.end();
        self.signals.changed();
        self.signals.ready.notify_waiters();
    }

    /// Gives up when there was no link for so long, if it is not stopped before.
    pub(crate) fn give_up_after(self: &Arc<Self>, wait: Duration) {
        let shared = self.clone();
        self.place.handle.spawn(async move {
            let watch = async {
                loop {
                    let linked = shared.until(|inner| (inner.machine.links() > 0).then_some(()));
                    if tokio::time::timeout(wait, linked).await.is_err() {
                        if !shared.with(|inner| M::at_end(inner)) {
                            return;
                        }
                        // Nobody is missed any more: an end in order, which `recv` tells, or a pusher that stays to tell it.
                        shared.until(|inner| (inner.machine.links() > 0).then_some(())).await;
                    }
                    shared.until(|inner| (inner.machine.links() == 0).then_some(())).await;
                }
            };
            tokio::select! {
                biased;
                () = shared.stop.cancelled() => {}
                () = watch => {
                    tracing::warn!("giving up: there was no link for {wait:?}");
                    shared.lose(Lost::GaveUp(wait));
                }
            }
        });
    }

    /// Whether this is another process than the one that built the socket: a fork copies no threads, so that nothing
    /// would end a wait. The socket is lost then.
    pub(crate) fn lost_by_fork(&self) -> bool {
        let lost = self.place.is_of_other_process();
        if lost && self.with(|inner| inner.lost.is_none()) {
            self.lose(Lost::RuntimeGone);
        }
        lost
    }

    /// Bounds a wait: `None` when the time is over first. Works on any executor, and whether the runtime of the links runs or not.
    pub(crate) async fn timeout<F: Future>(&self, wait: Duration, work: F) -> Option<F::Output> {
        let mut work = pin!(work);
        let mut sleep = None;
        poll_fn(|cx| {
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            let starts = sleep.is_none() && !self.is_here();
            let (sleep, _) = sleep.get_or_insert_with(|| {
                let place = self.clock();
                // A task of its own, for a timer panics that is polled when its runtime is gone. The task is cancelled then.
                let sleep = place.handle.spawn(async move { tokio::time::sleep(wait).await });
                (AbortOnDropHandle::new(sleep), place)
            });
            // To start the thread of the clock may park this one, and so swallow the wake-up that an executor like that waits for.
            if starts && let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            Pin::new(sleep).poll(cx).map(|_| None)
        })
        .await
    }

    /// Whether this is the runtime of the links.
    fn is_here(&self) -> bool {
        Handle::try_current().is_ok_and(|here| here.id() == self.place.handle.id())
    }

    /// Where a timer for a wait here runs: with the links, if whoever waits is on their runtime, so that the test clocks of
    /// runtimes work. Elsewhere the runtime of the links may stand still, and the library's own thread does not.
    fn clock(&self) -> Place {
        if self.is_here() { self.place.clone() } else { Place::own().unwrap_or_else(|_| self.place.clone()) }
    }

    /// Waits until all links have ended. Their Close handshakes are bounded by themselves, unless their runtime stands still.
    pub(crate) async fn links_ended(&self) {
        let ended = self.until(|inner| (inner.machine.links() == 0).then_some(()));
        let _ = self.timeout(self.times.close_wait * 2, ended).await;
    }
}
