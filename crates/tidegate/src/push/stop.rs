//! How a pusher stops: finish, drain, abort, and what dropping the last handle does.

use std::{sync::Arc, time::Duration};

use tidegate_proto::{Leftover, Machine, PushStats, Pusher};

use super::{Handle, Push};
use crate::{
    blocking::block_on,
    error::{ReceiptError, Unfinished},
    lost::Lost,
    shared::Shared,
};

/// How long a finished pusher waits for pullers that it has lost, to tell them the end (ST-3).
const END_GRACE: Duration = Duration::from_secs(1);
/// How long a finished pusher whose handle is still there goes on to tell them, in the background: a worker that was busy for minutes is
/// told when it is back, and an address is not kept for ever.
const END_STAY: Duration = Duration::from_secs(10 * 60);

impl Push {
    /// Takes no new messages, waits until all held ones are settled, and ends the stream: pullers are told that it is
    /// over for good. `Duration::MAX` lingers for ever. Closes all clones.
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
    /// The linger time is over, or the runtime that ran the links has been shut down: the pusher is aborted, and the messages that
    /// are left come back.
    ///
    /// # Cancel safety
    /// Cancelled: the pusher goes on draining, without a time limit; call again to wait for it. If the last handle is dropped
    /// instead, it goes on for the linger time of the builder, and warns if something is left.
    pub async fn finish(&self, linger: Duration) -> Result<PushStats, Unfinished> {
        self.stop(linger, true).await
    }

    /// As [`Self::finish`], but without the end of the stream: pullers wait for this pusher to come back, as for a restart.
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
    /// As [`Self::finish`].
    ///
    /// # Cancel safety
    /// As [`Self::finish`].
    pub async fn drain(&self, linger: Duration) -> Result<PushStats, Unfinished> {
        self.stop(linger, false).await
    }

    async fn stop(&self, linger: Duration, end: bool) -> Result<PushStats, Unfinished> {
        let shared = self.shared();
        settle(shared, linger, end).await?;
        let mut deadline = None;
        loop {
            shared.links_ended().await;
            // Not before: a puller whose link dies silently is missed only when the wait for its `Close` is over.
            let deadline = *deadline.get_or_insert_with(|| shared.now() + END_GRACE);
            let back = shared.until(|inner| {
                (!inner.places.expects_return() || inner.machine.links() > 0).then_some(inner.machine.links())
            });
            match shared.timeout(deadline.since(shared.now()), back).await {
                // Links that cannot end, because nothing runs them, are not waited for again and again.
                Some(links) if end && links > 0 && shared.now() < deadline => {}
                None | Some(_) => break,
            }
            if !end {
                break;
            }
        }
        if end && shared.with(|inner| inner.lost.is_none() && inner.places.expects_return()) {
            stay(shared);
        } else {
            shared.stop.cancel();
        }
        shared.links_ended().await;
        Ok(self.stats())
    }

    /// A copy of what [`Self::abort`] would return now; the pusher goes on. For a process that may be killed before its messages
    /// are settled, and wants to save them before. It takes time and memory for each message that is held, but does not
    /// copy payloads.
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

    /// Stops now. Returns what was certainly not processed, and what may have been. Closes all clones; receipts of what is left
    /// fail accordingly.
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

/// Goes on answering lost pullers that come back with the end of the stream, until all have, or the last handle is dropped. Of the
/// endpoints that it connects to, it tries those again at which a puller was lost. Who binds to its address in this process takes
/// over.
fn stay(shared: &Arc<Shared<Pusher>>) {
    if shared.stays.is_cancelled() {
        return;
    }
    shared.stays.cancel();
    let socket = shared.clone();
    shared.place.handle.spawn(async move {
        let told = socket
            .until(|inner| (!inner.places.expects_return() && inner.machine.links() == 0).then_some(()));
        tokio::select! {
            biased;
            () = socket.stop.cancelled() => {}
            () = told => {}
            () = tokio::time::sleep(END_STAY) => {}
        }
        socket.stop.cancel();
    });
}

/// Waits for everything to be settled; aborts at the end of the linger time.
async fn settle(shared: &Arc<Shared<Pusher>>, linger: Duration, end: bool) -> Result<(), Unfinished> {
    shared.with(|inner| {
        inner.machine.drain(shared.now(), end);
    });
    // Who waits for room will not get it, nor more links.
    shared.signals.ready.notify_waiters();
    shared.signals.changed();
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
        Some(Lost::RuntimeGone) => (true, false),
        Some(Lost::GaveUp(_)) => (false, true),
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
        // The others learn that nobody knows, in the order in which they were sent.
        let mut unknown: Vec<_> = inner.state.receipts.drain().collect();
        unknown.sort_unstable_by_key(|(number, _)| *number);
        leftover
    });
    shared.stop.cancel();
    shared.signals.changed();
    shared.signals.ready.notify_waiters();
    leftover
}

impl Drop for Handle {
    fn drop(&mut self) {
        let shared = self.shared.clone();
        let linger = self.linger;
        if shared.place.is_of_other_process() {
            return; // a copy of the parent's, which has its own
        }
        // A drain that was cancelled is not over: what is held would be lost with its links.
        let held = shared.with(|inner| {
            let over = inner.machine.is_done() || inner.state.aborted;
            (!over).then(|| (inner.machine.stats(), inner.lost.is_some()))
        });
        let Some((stats, lost)) = held else {
            shared.stop.cancel();
            return;
        };
        if let Some(wait) = self.linger_on_drop
            && shared.place.may_wait().is_ok()
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
                 unless the process or its runtime ends first: finish or drain before that"
            );
        }
        let drain = Draining { shared: shared.clone(), done: false };
        self.shared.place.handle.spawn(async move {
            // Of a drain that goes on already it does not change how that ends.
            if let Err(unfinished) = settle(&shared, linger, false).await {
                tracing::warn!("a dropped pusher has lost messages: {unfinished}");
            }
            drain.done();
            shared.stop.cancel();
        });
    }
}

/// Tells what a drain in the background has lost, if its runtime ends before it.
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
                "a dropped pusher has lost messages, because its runtime was shut down while it drained: \
                 {} certainly not sent, {} unknown",
                unsent.len(),
                unacked.len()
            );
        }
    }
}
