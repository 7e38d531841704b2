//! How a pusher stops: finish, drain, abort, and dropping the last handle.

use std::{sync::Arc, time::Duration};

use tidegate_proto::{EndWait, Leftover, Machine, PushStats, Pusher};

use super::{Push, PushHandle};
use crate::{
    error::{ReceiptError, Unfinished},
    park::block_on,
    socket::{LossReason, Shared},
};

impl Push {
    /// Stops accepting messages, waits until all held messages are settled, and ends the stream.
    ///
    /// The end tells pullers that no more messages will come from this pusher. With `Duration::MAX` the wait
    /// has no limit. Affects all clones.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # let push = tidegate::Push::builder().bind("mem://doc-finish").build().await?;
    /// # let pull = tidegate::Pull::builder().connect("mem://doc-finish").build().await?;
    /// let worker = tokio::spawn(async move {
    ///     while let Some(delivery) = pull.recv().await? {
    ///         delivery.ack();
    ///     }
    ///     Ok::<_, tidegate::RecvError>(()) // the stream has ended
    /// });
    /// push.send("resize 17.png").await?;
    /// let stats = push.finish(Duration::from_secs(10)).await?;
    /// assert_eq!(stats.acked, 1);
    /// worker.await??;
    /// assert!(push.send("too late").await.is_err());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Unfinished`] if messages are left when the linger time is over, or the runtime that ran the links
    /// was shut down. The pusher is then aborted, and the error contains the messages.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, the pusher continues to drain without a time limit; call
    /// it again to wait for that. If the last handle is dropped then, it drains for the builder's linger time
    /// and warns if messages are left.
    pub async fn finish(&self, linger: Duration) -> Result<PushStats, Unfinished> {
        self.stop(linger, true).await
    }

    /// Stops accepting messages and waits until all held messages are settled, without ending the stream.
    ///
    /// Use it before a restart: pullers wait for this pusher to come back. Otherwise the same as
    /// [`Self::finish`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # let push = tidegate::Push::builder().bind("mem://doc-drain").build().await?;
    /// push.send("resize 17.png").await?;
    /// match push.drain(Duration::from_millis(5)).await {
    ///     Ok(_) => {}
    ///     // No puller was there. Save these messages, and send them after the restart.
    ///     Err(unfinished) => {
    ///         assert_eq!(unfinished.leftover.unsent[0].message.payload(), "resize 17.png");
    ///         assert!(unfinished.leftover.unacked.is_empty());
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The same as [`Self::finish`].
    ///
    /// # Cancel safety
    /// The same as [`Self::finish`].
    pub async fn drain(&self, linger: Duration) -> Result<PushStats, Unfinished> {
        self.stop(linger, false).await
    }

    async fn stop(&self, linger: Duration, end: bool) -> Result<PushStats, Unfinished> {
        let shared = self.shared();
        settle(shared, linger, end).await?;
        // Each call has a wait of its own: the last one may have been cancelled.
        let mut began = None;
        loop {
            // If nothing runs the links, they never end, and this returns nevertheless.
            shared.links_ended().await;
            let now = shared.now();
            let began = *began.get_or_insert(now);
            let wait = shared.with(|inner| {
                let reachable = inner.lost.is_none() && inner.endpoints.are_reachable();
                inner.endpoints.peers.end_wait(now, began, inner.machine.link_count(), reachable)
            });
            match wait {
                EndWait::Return(until) => {
                    let back = shared.until(|inner| {
                        let waits = inner.endpoints.expects_return() && inner.machine.link_count() == 0;
                        (!waits).then_some(())
                    });
                    shared.timeout(until.since(now), back).await;
                }
                EndWait::Close if end => {}
                EndWait::Stay(until) if end => {
                    stay(shared, until.since(now));
                    break;
                }
                EndWait::Close | EndWait::Stay(_) | EndWait::Over => {
                    shared.stop.cancel();
                    break;
                }
            }
        }
        shared.links_ended().await;
        Ok(self.stats())
    }

    /// Returns a copy of what [`Self::abort`] would return now, while the pusher continues.
    ///
    /// Use it to save messages in a process that may be killed before they are settled. It takes time and
    /// memory for each held message, but does not copy payloads.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let push = tidegate::Push::builder().bind("mem://leftover").build().await?;
    /// push.send("work").await?;
    /// assert_eq!(push.leftover().unsent[0].message.payload(), &b"work"[..]);
    /// # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn leftover(&self) -> Leftover {
        let shared = self.shared();
        shared.with(|inner| inner.machine.leftover(shared.now()))
    }

    /// Stops at once, and returns the messages that were certainly not processed and those that may have
    /// been.
    ///
    /// Affects all clones. The receipts of these messages fail with [`ReceiptError::NotSent`] or
    /// [`ReceiptError::Unknown`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let push = tidegate::Push::builder().bind("mem://doc-abort").build().await?;
    /// # let pull = tidegate::Pull::builder().connect("mem://doc-abort").build().await?;
    /// push.send("resize 17.png").await?;
    /// let _delivery = pull.recv().await?.expect("the pusher has not finished");
    /// let leftover = push.abort().await;
    /// assert_eq!(leftover.unacked.len(), 1); // delivered: it may have been processed
    /// assert_eq!(leftover.unsent.len(), 0);
    /// # Ok(()) }
    /// ```
    pub async fn abort(&self) -> Leftover {
        let shared = self.shared();
        let leftover = abort(shared);
        shared.links_ended().await;
        leftover
    }
}

/// Keeps sending the end of the stream to disconnected pullers that come back, until all have received it or
/// the last handle is dropped. Reconnects only to those endpoints where a puller is missing. Another socket
/// of this process that binds the same address takes it over.
fn stay(shared: &Arc<Shared<Pusher>>, time: Duration) {
    if shared.stays.is_cancelled() {
        return;
    }
    shared.stays.cancel();
    let socket = shared.clone();
    shared.runtime.handle.spawn(async move {
        let told = socket.until(|inner| {
            (!inner.endpoints.expects_return() && inner.machine.link_count() == 0).then_some(())
        });
        tokio::select! {
            biased;
            () = socket.stop.cancelled() => {}
            () = told => {}
            () = tokio::time::sleep(time) => {}
        }
        socket.stop.cancel();
    });
}

/// Waits until everything is settled, and aborts at the end of the linger time.
async fn settle(shared: &Arc<Shared<Pusher>>, linger: Duration, end: bool) -> Result<(), Unfinished> {
    shared.with(|inner| {
        inner.machine.drain(shared.now(), end);
    });
    // Wakes senders that wait for room, and callers of `connected`: neither will succeed any more.
    shared.wakers.ready.notify_waiters();
    shared.wakers.changed();
    let over = shared.until(|inner| {
        let over = inner.machine.is_done() || inner.state.aborted || inner.lost.is_some();
        over.then_some((inner.state.aborted, inner.lost))
    });
    let (aborted, lost) = match shared.timeout(linger, over).await {
        Some((false, None)) => return Ok(()),
        Some(over) => over,
        None => (false, None),
    };
    let leftover = if aborted {
        let mut leftover = Leftover::default();
        leftover.stats = shared.with(|inner| inner.machine.stats());
        leftover
    } else {
        abort(shared)
    };
    shared.links_ended().await;
    let (runtime_gone, gave_up) = match lost {
        Some(LossReason::RuntimeGone) => (true, false),
        Some(LossReason::GaveUp(_)) => (false, true),
        None => (false, false),
    };
    Err(Unfinished { leftover: Box::new(leftover), aborted, runtime_gone, gave_up })
}

fn abort(shared: &Arc<Shared<Pusher>>) -> Leftover {
    let leftover = shared.with(|inner| {
        let leftover = inner.machine.abort(shared.now());
        inner.state.aborted = true;
        for unsent in &leftover.unsent {
            if let Some(receipt) = inner.state.receipts.remove(&unsent.id.number) {
                let _ = receipt.send(Err(ReceiptError::NotSent));
            }
        }
        // The other receipts fail with `Unknown` when their senders are dropped, in the order in which they
        // were sent.
        let mut unknown: Vec<_> = inner.state.receipts.drain().collect();
        unknown.sort_unstable_by_key(|(number, _)| *number);
        leftover
    });
    shared.stop.cancel();
    shared.wakers.changed();
    shared.wakers.ready.notify_waiters();
    leftover
}

impl Drop for PushHandle {
    fn drop(&mut self) {
        let shared = self.shared.clone();
        let linger = self.linger;
        if shared.runtime.is_of_other_process() {
            return; // the child of a fork has a copy; the parent drains
        }
        // If a drain was cancelled, messages may still be held; they would be lost with the links.
        let held = shared.with(|inner| {
            let over = inner.machine.is_done() || inner.state.aborted;
            (!over).then(|| (inner.machine.stats(), inner.lost.is_some()))
        });
        let Some((stats, lost)) = held else {
            shared.stop.cancel();
            return;
        };
        if let Some(wait) = self.linger_on_drop
            && shared.runtime.own_thread().is_some_and(|thread| thread.may_wait().is_ok())
        {
            if let Err(unfinished) = block_on(settle(&shared, wait, false)) {
                tracing::warn!("a dropped pusher has lost messages: {unfinished}");
            }
            block_on(shared.links_ended());
            shared.stop.cancel();
            return;
        }
        let left = stats.queued + stats.in_flight;
        if left > 0 && !lost {
            tracing::warn!(
                "the last handle of a pusher was dropped with {left} messages un-acked; draining for up to {linger:?}, \
                 unless the process or its runtime ends first; call finish or drain before dropping it"
            );
        }
        let drain = Draining { shared: shared.clone(), done: false };
        self.shared.runtime.handle.spawn(async move {
            // If a drain is running already, this call does not change whether it ends the stream.
            if let Err(unfinished) = settle(&shared, linger, false).await {
                tracing::warn!("a dropped pusher has lost messages: {unfinished}");
            }
            drain.done();
            shared.stop.cancel();
        });
    }
}

/// Logs what a background drain has lost if its runtime ends first.
struct Draining {
    shared: Arc<Shared<Pusher>>,
    done: bool,
}

impl Draining {
    fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Draining {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let Leftover { unsent, unacked, .. } = abort(&self.shared);
        if !(unsent.is_empty() && unacked.is_empty()) {
            tracing::warn!(
                "a dropped pusher has lost messages because its runtime was shut down while it drained: \
                 {} unsent, {} unacknowledged",
                unsent.len(),
                unacked.len()
            );
        }
    }
}
