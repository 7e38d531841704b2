//! Receives: calls that return the next deliveries, and wait for them in turn.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use super::{
    Delivery, Pull, announce,
    state::{PullMachine, is_over},
};
use crate::{
    error::{RecvError, RecvTimeoutError},
    socket::{LossReason, Shared},
};

impl Pull {
    /// Returns the next delivery, waiting for it if necessary.
    ///
    /// It also waits while the number of un-acked deliveries has reached the [`window`](crate::PullBuilder::window). It
    /// returns `None` when every expected pusher has ended its stream ([`expect`](crate::PullBuilder::expect),
    /// [`keep`](crate::PullBuilder::keep)), or after [`Self::leave`], and on every later call.
    ///
    /// Tasks that wait on clones are served in the order in which they began to wait. A call that begins
    /// later lets them run first, so tasks of one runtime get about equal shares.
    /// [`blocking_recv`](crate::blocking::Pull::blocking_recv) and [`Self::try_recv`] do not join this order; they
    /// take what is there.
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
    #[inline]
    pub fn recv(&self) -> Recv<'_> {
        Recv { pull: self, waiting: None }
    }

    /// The slow path of `recv`, for when no delivery was there.
    pub(super) async fn wait(&self) -> Result<Option<Delivery>, RecvError> {
        let shared = self.shared();
        let (due, queued) = shared
            .with_message(|inner| (std::mem::take(&mut inner.state.yield_due), inner.machine.has_next()));
        let in_line = shared.outside.enter_line_behind(queued).then(|| InLine(shared));
        if due || in_line.is_some() {
            // Yields before it takes a delivery, so that a cancelled call loses nothing. The waiting tasks
            // have been woken and run first. One whose future is not polled delays this call only once.
            tokio::task::yield_now().await;
        }
        drop(in_line);
        self.wait_in_line().await
    }

    /// The next delivery, if one is there, for a thread that the links do not need.
    pub(crate) fn take_blocking(&self) -> Option<Delivery> {
        self.shared().outside.take_blocking(self.shared())
    }

    /// Waits for a delivery on a thread that the links do not need: they send an Ack that is due by themselves, so
    /// this call does not yield for it.
    pub(crate) async fn wait_blocking(&self) -> Result<Option<Delivery>, RecvError> {
        self.shared().with(|inner| inner.state.yield_due = false);
        self.wait_in_line().await
    }

    /// Takes up to `limit` deliveries that are there.
    pub(crate) fn take_many(&self, deliveries: &mut Vec<Delivery>, limit: usize) -> usize {
        self.shared().outside.take_many(self.shared(), deliveries, limit)
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
        let shared = self.shared();
        Ok(1 + shared.outside.take_share(shared, deliveries, limit - 1))
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
        if let Some(delivery) = shared.outside.take_in_turn(shared) {
            return Some(Ok(Some(delivery)));
        }
        let mut closes = false;
        let next = shared.with(|inner| {
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

type Next = Result<Option<Delivery>, RecvError>;

/// The future of [`Pull::recv`].
#[must_use = "futures do nothing unless they are polled"]
pub struct Recv<'a> {
    pull: &'a Pull,
    /// The slow path.
    waiting: Option<Pin<Box<dyn Future<Output = Next> + Send + 'a>>>,
}

impl Future for Recv<'_> {
    type Output = Next;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.waiting.is_none() {
            let shared = self.pull.shared();
            if let Some(delivery) = shared.outside.take(shared) {
                return Poll::Ready(Ok(Some(delivery)));
            }
        }
        self.poll_waiting(cx)
    }
}

impl Recv<'_> {
    #[cold]
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<<Self as Future>::Output> {
        let pull = self.pull;
        self.waiting.get_or_insert_with(|| Box::pin(pull.wait())).as_mut().poll(cx)
    }
}

impl std::fmt::Debug for Recv<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recv").finish_non_exhaustive()
    }
}

/// Keeps the place of a `recv` that lets other tasks run first, so that later calls do not overtake it.
struct InLine<'a>(&'a Shared<PullMachine>);

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.outside.leave_line(self.0);
    }
}

/// Registers with the machine that a `recv` waits: meanwhile every link has credit (CR-6).
struct WaitingRecv<'a>(&'a Shared<PullMachine>);

impl<'a> WaitingRecv<'a> {
    fn new(shared: &'a Shared<PullMachine>) -> Self {
        shared.outside.enter_line();
        shared.with(|inner| {
            inner.state.waiting += 1;
            inner.machine.start_waiting(shared.now());
        });
        Self(shared)
    }
}

impl Drop for WaitingRecv<'_> {
    fn drop(&mut self) {
        self.0.outside.leave_line(self.0);
        self.0.with(|inner| {
            inner.state.waiting -= 1;
            inner.machine.stop_waiting(self.0.now());
        });
    }
}
