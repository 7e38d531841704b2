//! Receives: calls that return the next deliveries, and wait for them in turn.

use std::time::Duration;

use super::{
    Delivery, Pull, announce,
    state::{PullMachine, is_over},
};
use crate::{
    error::{RecvError, RecvTimeoutError},
    socket::{Inner, LossReason, Shared},
};

impl Pull {
    /// Returns the next delivery, waiting for it if necessary.
    ///
    /// It also waits while the number of un-acked deliveries has reached the [`window`](crate::PullBuilder::window). It
    /// returns `None` when every expected pusher has ended its stream ([`expect`](crate::PullBuilder::expect),
    /// [`keep`](crate::PullBuilder::keep)), or after [`Self::leave`], and on every later call.
    ///
    /// Tasks that wait on clones are served in the order in which they began to wait. A call that begins
    /// later lets them run first, so tasks of one runtime get about equal shares. [`Self::blocking_recv`] and
    /// [`Self::try_recv`] do not join this order; they take what is there.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # let push = tidegate::Push::builder().bind("mem://doc-recv").build().await?;
    /// let pull = tidegate::Pull::builder().connect("mem://doc-recv").build().await?;
    /// push.send_all(["resize 17.png", "resize 18.png"]).await?;
    /// # let finishing = tokio::spawn(async move { push.finish(Duration::from_secs(10)).await });
    /// while let Some(delivery) = pull.recv().await? {
    ///     assert!(delivery.payload().starts_with(b"resize "));
    ///     assert_eq!(delivery.attempt(), 1);
    ///     delivery.ack();
    /// }
    /// // Every pusher has finished.
    /// # assert_eq!(finishing.await??.acked, 2);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`RecvError::Refused`] if an endpoint has refused this puller permanently. The error is returned once
    /// for each endpoint, and further calls receive from the others. If no other endpoint is left, every call
    /// returns it, until [`Self::set_tokens`] allows another try. [`RecvError::RuntimeGone`] if the runtime
    /// that ran the links was shut down.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, no delivery is lost: the next call returns it.
    pub async fn recv(&self) -> Result<Option<Delivery>, RecvError> {
        match self.shared().with_message(take) {
            Some(delivery) => Ok(Some(delivery)),
            None => self.wait().await,
        }
    }

    /// The slow path of `recv`, for when no delivery was there.
    pub(super) async fn wait(&self) -> Result<Option<Delivery>, RecvError> {
        let shared = self.shared();
        let (yields, in_line) = shared.with(|inner| {
            let others = inner.state.in_line > 0 && inner.machine.has_next();
            let yields = std::mem::take(&mut inner.state.yield_due) || others;
            (yields, others.then(|| InLine::new(shared, inner)))
        });
        if yields {
            // Yields before it takes a delivery, so that a cancelled call loses nothing. The waiting tasks
            // have been woken and run first. One whose future is not polled delays this call only once.
            tokio::task::yield_now().await;
        }
        drop(in_line);
        self.wait_in_line().await
    }

    /// Waits without letting other tasks run first.
    pub(super) async fn wait_in_line(&self) -> Result<Option<Delivery>, RecvError> {
        let shared = self.shared();
        if let Some(result) = self.next(false) {
            return result;
        }
        let _waiting = WaitingRecv::new(shared);
        loop {
            let arrived = shared.wakers.ready.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            if let Some(result) = self.next(false) {
                return result;
            }
            if shared.lost_by_fork() {
                return Err(RecvError::RuntimeGone);
            }
            arrived.await;
        }
    }

    /// Waits for a delivery, and appends it and others that are there to `deliveries`; returns how many it
    /// appended.
    ///
    /// It appends at most `limit`, and does not wait for more than the first, so `limit` may exceed the
    /// window. The result 0 means the same as `None` from [`Self::recv`], unless `limit` is 0. For small
    /// messages this is faster than one `recv` each; [`Delivery::ack_all`] is the counterpart for acks.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tidegate::Delivery;
    /// # use std::time::Duration;
    /// # let push = tidegate::Push::builder().bind("mem://doc-recv-many").build().await?;
    /// # let pull = tidegate::Pull::builder().connect("mem://doc-recv-many").build().await?;
    /// # push.send_all((0..1_000).map(|n| n.to_string())).await?;
    /// # let finishing = tokio::spawn(async move { push.finish(Duration::from_secs(10)).await });
    ///
    /// let mut batch = Vec::new();
    /// while pull.recv_many(&mut batch, 100).await? > 0 {
    ///     assert!(batch.len() <= 100); // here the batch would be written to a database
    ///     Delivery::ack_all(batch.drain(..));
    /// }
    /// # assert_eq!(finishing.await??.acked, 1_000);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The same as [`Self::recv`].
    ///
    /// # Cancel safety
    /// The same as [`Self::recv`].
    pub async fn recv_many(&self, deliveries: &mut Vec<Delivery>, limit: usize) -> Result<usize, RecvError> {
        if limit == 0 {
            return Ok(0);
        }
        let taken = self.take_many(deliveries, limit);
        if taken > 0 {
            return Ok(taken);
        }
        let Some(first) = self.wait().await? else { return Ok(0) };
        deliveries.push(first);
        Ok(1 + self.take_share(deliveries, limit - 1))
    }

    /// Takes more deliveries after the first one, up to this call's share beside the tasks that wait.
    pub(super) fn take_share(&self, deliveries: &mut Vec<Delivery>, limit: usize) -> usize {
        self.shared().with_message(|inner| {
            if inner.state.yield_due {
                return 0; // a link should run first (OC-5)
            }
            let share = inner.machine.queued() / (inner.state.in_line as u64 + 1);
            let before = deliveries.len();
            deliveries
                .extend((0..share.min(limit as u64)).map_while(|_| inner.machine.recv()).map(Delivery::new));
            deliveries.len() - before
        })
    }

    /// Takes the deliveries that are there, and returns their number.
    pub(super) fn take_many(&self, deliveries: &mut Vec<Delivery>, limit: usize) -> usize {
        self.shared().with_message(|inner| {
            let before = deliveries.len();
            while deliveries.len() - before < limit
                && let Some(delivery) = take(inner)
            {
                deliveries.push(delivery);
            }
            deliveries.len() - before
        })
    }

    /// Returns the next delivery, if there is one now.
    ///
    /// `None` means that there is none now, or that none will come; only [`Self::recv`] reports the end.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let push = tidegate::Push::builder().bind("mem://doc-try-recv").build().await?;
    /// # let pull = tidegate::Pull::builder().connect("mem://doc-try-recv").build().await?;
    /// assert!(pull.try_recv()?.is_none()); // nothing has been sent
    /// push.send("resize 17.png").await?;
    /// loop {
    ///     if let Some(delivery) = pull.try_recv()? {
    ///         delivery.ack();
    ///         break;
    ///     }
    ///     tokio::task::yield_now().await; // other work
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The same as [`Self::recv`].
    pub fn try_recv(&self) -> Result<Option<Delivery>, RecvError> {
        self.next(true).unwrap_or(Ok(None))
    }

    /// Returns the next delivery, waiting at most `wait` for it.
    ///
    /// `None` means the same as for [`Self::recv`]: no more deliveries will come. If none came in time, the
    /// result is an error.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use tidegate::RecvTimeoutError;
    /// # let push = tidegate::Push::builder().bind("mem://doc-recv-timeout").build().await?;
    /// # let pull = tidegate::Pull::builder().connect("mem://doc-recv-timeout").build().await?;
    ///
    /// let nothing = pull.recv_timeout(Duration::from_millis(5)).await;
    /// assert!(matches!(nothing, Err(RecvTimeoutError::Timeout)));
    /// push.send("resize 17.png").await?;
    /// let delivery = pull.recv_timeout(Duration::from_secs(10)).await?.expect("the pusher has not finished");
    /// delivery.ack();
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`RecvTimeoutError::Timeout`] if no delivery came within `wait`, and otherwise the same as
    /// [`Self::recv`].
    ///
    /// # Cancel safety
    /// The same as [`Self::recv`].
    pub async fn recv_timeout(&self, wait: Duration) -> Result<Option<Delivery>, RecvTimeoutError> {
        match self.shared().timeout(wait, self.recv()).await {
            Some(result) => Ok(result?),
            None => Err(RecvTimeoutError::Timeout),
        }
    }

    /// The result of a `recv`, if there is one now. If not and `asks` is set, requests credit for a message.
    pub(super) fn next(&self, asks: bool) -> Option<Result<Option<Delivery>, RecvError>> {
        let shared = self.shared();
        let mut closes = false;
        let next = shared.with(|inner| {
            if let Some(received) = inner.machine.recv() {
                return Some(Ok(Some(Delivery::new(received))));
            }
            if let Some(lost) = inner.lost {
                return Some(Err(match lost {
                    LossReason::RuntimeGone => RecvError::RuntimeGone,
                    LossReason::GaveUp(after) => RecvError::GaveUp { after },
                }));
            }
            if let Some(refusal) = inner.endpoints.next_refusal() {
                return Some(Err(RecvError::Refused(Box::new(refusal))));
            }
            let over = !inner.state.closed && is_over(inner);
            // This is not the end of the stream, and not final: other tokens may be set.
            if over && let Some(refusal) = inner.endpoints.refused.last() {
                return Some(Err(RecvError::Refused(Box::new(refusal.clone()))));
            }
            closes = over;
            if closes {
                inner.state.closed = true;
                inner.machine.leave(); // no pusher is expected any more; new ones are refused
            }
            if asks && !inner.state.closed {
                inner.machine.handle_empty_poll();
            }
            inner.state.closed.then_some(Ok(None))
        });
        if closes {
            announce(shared);
        }
        next
    }
}

/// The next delivery, unless a link should run first (OC-5) or other tasks wait.
#[inline]
pub(super) fn take(inner: &mut Inner<PullMachine>) -> Option<Delivery> {
    if inner.state.yield_due || inner.state.in_line > 0 {
        return None;
    }
    inner.machine.recv().map(Delivery::new)
}

/// Keeps the place of a `recv` that lets other tasks run first, so that later calls do not overtake it.
struct InLine<'a>(&'a Shared<PullMachine>);

impl<'a> InLine<'a> {
    fn new(shared: &'a Shared<PullMachine>, inner: &mut Inner<PullMachine>) -> Self {
        inner.state.in_line += 1;
        Self(shared)
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.with_message(|inner| inner.state.in_line -= 1);
    }
}

/// Registers with the machine that a `recv` waits: meanwhile every link has credit (CR-6).
struct WaitingRecv<'a>(&'a Shared<PullMachine>);

impl<'a> WaitingRecv<'a> {
    fn new(shared: &'a Shared<PullMachine>) -> Self {
        shared.with(|inner| {
            inner.state.waiting += 1;
            inner.state.in_line += 1;
            inner.machine.start_waiting(shared.now());
        });
        Self(shared)
    }
}

impl Drop for WaitingRecv<'_> {
    fn drop(&mut self) {
        self.0.with(|inner| {
            inner.state.waiting -= 1;
            inner.state.in_line -= 1;
            inner.machine.stop_waiting(self.0.now());
        });
    }
}
