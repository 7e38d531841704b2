//! How a socket ends by itself: the runtime that runs its links is gone, or it gives up. Every call that
//! waits for the socket then returns.
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

use super::{Shared, SocketMachine};
use crate::io_thread::LinkRuntime;

/// Why a socket ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LossReason {
    /// The runtime that ran its links was shut down, or this is the child of a fork.
    RuntimeGone,
    /// There was no link for the time of `give_up_after`.
    GaveUp(Duration),
}

impl LossReason {
    fn reason(self) -> &'static str {
        match self {
            Self::RuntimeGone => "the runtime that ran the link has been shut down",
            Self::GaveUp(_) => "the socket gave up after a time without a link",
        }
    }
}

/// Part of a task that lives as long as the socket or its runtime. If it is dropped before the socket, the
/// runtime is gone.
pub(crate) struct SocketGuard<M: SocketMachine>(Weak<Shared<M>>);

impl<M: SocketMachine> SocketGuard<M> {
    pub(crate) fn new(shared: &Arc<Shared<M>>) -> Self {
        Self(Arc::downgrade(shared))
    }

    pub(crate) fn socket(&self) -> Option<Arc<Shared<M>>> {
        self.0.upgrade()
    }
}

impl<M: SocketMachine> Drop for SocketGuard<M> {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.lose(LossReason::RuntimeGone);
        }
    }
}

impl<M: SocketMachine> Shared<M> {
    /// Ends the socket. Its links are lost at once, because their drivers may never run again.
    pub(crate) fn lose(&self, why: LossReason) {
        let now = self.now();
        self.with(|inner| {
            if inner.lost.is_none() && M::lose(inner, now) {
                inner.lost = Some(why);
            }
            for link in inner.machine.link_ids() {
                inner.forget(link);
                inner.machine.handle_driver_lost(now, link, why.reason());
            }
        });
        self.stop.cancel();
        self.events.end();
        self.wakers.changed();
        self.wakers.ready.notify_waiters();
    }

    /// Ends the socket if it had no link for this time and was not stopped before.
    pub(crate) fn give_up_after(self: &Arc<Self>, wait: Duration) {
        let shared = self.clone();
        self.runtime.handle.spawn(async move {
            let watch = async {
                loop {
                    let linked = shared.until(|inner| (inner.machine.link_count() > 0).then_some(()));
                    if tokio::time::timeout(wait, linked).await.is_err() {
                        if !shared.with(|inner| M::at_end(inner)) {
                            return;
                        }
                        // No peer is missed any more. Either the stream has ended in order, which `recv`
                        // reports, or the pusher stays only to send its end.
                        shared.until(|inner| (inner.machine.link_count() > 0).then_some(())).await;
                    }
                    shared.until(|inner| (inner.machine.link_count() == 0).then_some(())).await;
                }
            };
            tokio::select! {
                biased;
                () = shared.stop.cancelled() => {}
                () = watch => {
                    tracing::warn!("giving up: there was no link for {wait:?}");
                    shared.lose(LossReason::GaveUp(wait));
                }
            }
        });
    }

    /// Whether this process is a fork of the one that built the socket. A fork copies no threads, so a wait
    /// would never end; the socket is lost then.
    pub(crate) fn lost_by_fork(&self) -> bool {
        let lost = self.runtime.is_of_other_process();
        if lost && self.with(|inner| inner.lost.is_none()) {
            self.lose(LossReason::RuntimeGone);
        }
        lost
    }

    /// Limits a wait: `None` if the time ends first. Works on any executor, whether the runtime of the links
    /// runs or not.
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
                // Runs in a task of its own, because polling a timer panics if its runtime is gone. The task
                // is cancelled then.
                let sleep = place.handle.spawn(async move { tokio::time::sleep(wait).await });
                (AbortOnDropHandle::new(sleep), place)
            });
            // Starting the clock's thread may park this thread, and so lose a wake-up that this executor
            // waits for.
            if starts && let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            Pin::new(sleep).poll(cx).map(|_| None)
        })
        .await
    }

    /// Whether the current runtime is that of the links.
    fn is_here(&self) -> bool {
        Handle::try_current().is_ok_and(|here| here.id() == self.runtime.handle.id())
    }

    /// Where a timer for a wait here runs. On the runtime of the links it runs there, so that a paused test
    /// clock works. Elsewhere that runtime may not be polled, so the timer runs on the library's own thread.
    fn clock(&self) -> LinkRuntime {
        if self.is_here() {
            self.runtime.clone()
        } else {
            LinkRuntime::own().unwrap_or_else(|_| self.runtime.clone())
        }
    }

    /// Waits until all links have ended. Their Close handshakes have time limits, unless their runtime is not
    /// polled.
    pub(crate) async fn links_ended(&self) {
        let ended = self.until(|inner| (inner.machine.link_count() == 0).then_some(()));
        let _ = self.timeout(self.times.close_wait * 2, ended).await;
    }
}
