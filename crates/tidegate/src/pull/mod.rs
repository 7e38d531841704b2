//! `Pull`, the handle of a puller.

mod blocking;
mod delivery;
mod receiver;
mod state;
mod stream;

use std::{sync::Arc, time::Duration};

use tidegate_proto::{Machine, PullLinkStats, PullStats, SettingError, Tokens};

pub(crate) use self::state::PullState;
use self::state::{PullMachine, is_over, refusal};
pub use self::{
    delivery::Delivery,
    receiver::{BorrowedDelivery, Receiver},
    stream::PullStream,
};
use crate::{
    blocking::block_on,
    endpoint::Endpoint,
    error::{ConnectedError, LeaveError, RecvError, RecvTimeoutError, Refusal},
    events::Events,
    lost::LossReason,
    push::connected,
    shared::{Inner, Shared},
};

/// A puller: grants credit to every pusher that it has a link to, and receives their messages.
///
/// This is a cheap handle; clones refer to the same puller and compete for messages. Call
/// [`leave`](Self::leave) before the program ends: an ack that was not sent is lost with the process, and its
/// message is delivered again.
///
/// If the last handle is dropped without [`leave`](Self::leave), the puller leaves in the background: it
/// returns the messages that were not handed out, and keeps a link open until the deliveries from it are
/// settled. With [`linger_on_drop`](crate::PullBuilder::linger_on_drop) the drop waits for that.
#[derive(Clone)]
pub struct Pull {
    handle: Arc<PullHandle>,
}

/// State that clones share. Links and deliveries hold only `shared`.
struct PullHandle {
    shared: Arc<Shared<PullMachine>>,
    linger_on_drop: Option<Duration>,
}

impl Pull {
    pub(crate) fn new(shared: Arc<Shared<PullMachine>>, linger_on_drop: Option<Duration>) -> Self {
        Self { handle: Arc::new(PullHandle { shared, linger_on_drop }) }
    }

    fn shared(&self) -> &Arc<Shared<PullMachine>> {
        &self.handle.shared
    }

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
    async fn wait(&self) -> Result<Option<Delivery>, RecvError> {
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
    async fn wait_in_line(&self) -> Result<Option<Delivery>, RecvError> {
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
    fn take_share(&self, deliveries: &mut Vec<Delivery>, limit: usize) -> usize {
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
    fn take_many(&self, deliveries: &mut Vec<Delivery>, limit: usize) -> usize {
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
    fn next(&self, asks: bool) -> Option<Result<Option<Delivery>, RecvError>> {
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

    /// Returns a receiver that lends deliveries one at a time: the fastest way to receive, for one task.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # let push = tidegate::Push::builder().bind("mem://doc-receiver").build().await?;
    /// # let pull = tidegate::Pull::builder().connect("mem://doc-receiver").build().await?;
    /// # push.send_all(["1", "2", "3"]).await?;
    /// # let finishing = tokio::spawn(async move { push.finish(Duration::from_secs(10)).await });
    /// let mut receiver = pull.receiver();
    /// let mut bytes = 0;
    /// while let Some(delivery) = receiver.recv().await? {
    ///     bytes += delivery.payload().len();
    ///     delivery.ack(); // before the next `recv`
    /// }
    /// assert_eq!(bytes, 3);
    /// # finishing.await??;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn receiver(&self) -> Receiver {
        Receiver::new(self.clone())
    }

    /// Closes the puller: returns the messages that were not handed out, waits up to `linger` for the
    /// outcomes of the deliveries that are held, and closes the links.
    ///
    /// Affects all clones; from then on `recv` returns `None`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # let push = tidegate::Push::builder().bind("mem://doc-leave").build().await?;
    /// # let pull = tidegate::Pull::builder().connect("mem://doc-leave").build().await?;
    /// push.send_all(["resize 17.png", "resize 18.png"]).await?;
    /// let delivery = pull.recv().await?.expect("the pusher has not finished");
    /// delivery.ack();
    /// pull.leave(Duration::from_secs(10)).await?; // gives the second message back
    /// assert!(pull.recv().await?.is_none());
    /// assert_eq!((push.stats().acked, push.stats().queued), (1, 1));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`LeaveError`] if deliveries are un-acked when the linger time is over. Their links are closed, and
    /// their pushers send them again.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, the puller continues to close without a time limit; call
    /// it again to wait for that.
    pub async fn leave(&self, linger: Duration) -> Result<PullStats, LeaveError> {
        let shared = self.shared();
        leave(shared);
        let closed = shared.until(|inner| (inner.machine.link_count() == 0).then_some(()));
        if shared.timeout(linger, closed).await.is_some() {
            return Ok(self.stats());
        }
        let held = shared.with(|inner| {
            inner.machine.abandon(shared.now());
            inner.machine.stats().in_flight
        });
        shared.links_ended().await;
        Err(LeaveError { held })
    }

    /// Waits until at least `n` links are open at the same time.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use tidegate::{ConnectedError, Pull, Push};
    ///
    /// let push = Push::builder().bind("mem://doc-pull-connected").token("secret").build().await?;
    /// let pull = Pull::builder().connect("mem://doc-pull-connected").token("secret").build().await?;
    /// pull.connected(1).await?;
    ///
    /// let other = Pull::builder().connect("mem://doc-pull-connected").build().await?;
    /// assert!(matches!(other.connected(1).await, Err(ConnectedError::Refused(_))));
    /// # push.finish(Duration::from_secs(10)).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ConnectedError`] if the puller has left, has given up, or an endpoint has refused it permanently.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, nothing changes.
    pub async fn connected(&self, n: usize) -> Result<(), ConnectedError> {
        self.shared().until(|inner| connected(inner, n, |machine| !machine.is_leaving())).await
    }

    /// Returns the reason why no message will come, if that is certain.
    ///
    /// It is certain if no endpoint can bring a message any more and one has refused this puller permanently.
    /// The result is the most recent refusal. It is `None` otherwise, also after [`Self::set_tokens`]. An
    /// [`Event`](crate::Event) is reported whenever the result may have changed.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tidegate::{Code, Pull, Push};
    ///
    /// let push = Push::builder().bind("mem://doc-pull-refusal").token("secret").build().await?;
    /// let pull = Pull::builder().connect("mem://doc-pull-refusal").build().await?; // without the token
    /// pull.recv().await.unwrap_err();
    /// assert_eq!(pull.refusal().unwrap().code, Code::Unauthorized);
    /// # drop(push);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        self.shared().with(|inner| refusal(inner))
    }

    /// Returns the endpoints that are bound, in the order of the builder; a port of 0 is replaced by the
    /// actual port.
    #[must_use]
    pub fn local_endpoints(&self) -> Vec<Endpoint> {
        self.shared().with(|inner| inner.endpoints.bound.clone())
    }

    /// Replaces the tokens: new connections present the first one, and bound endpoints accept each of them.
    ///
    /// Open links stay. Endpoints that have refused this socket permanently are tried again.
    /// [`Push::set_tokens`](crate::Push::set_tokens) has an example.
    ///
    /// # Errors
    /// [`SettingError`] if there is no token, or one has more than 4,096 bytes. Then nothing changes.
    pub fn set_tokens(&self, tokens: Tokens) -> Result<(), SettingError> {
        self.shared().set_tokens(tokens)
    }

    /// Returns counters, and the number of messages held now.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let push = tidegate::Push::builder().bind("mem://doc-pull-stats").build().await?;
    /// # let pull = tidegate::Pull::builder().connect("mem://doc-pull-stats").build().await?;
    /// push.send("resize 17.png").await?;
    /// let delivery = pull.recv().await?.expect("the pusher has not finished");
    /// assert_eq!((pull.stats().received, pull.stats().in_flight), (1, 1));
    /// delivery.ack();
    /// assert_eq!((pull.stats().acked, pull.stats().in_flight), (1, 0));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn stats(&self) -> PullStats {
        self.shared().with(|inner| inner.machine.stats())
    }

    /// Returns the statistics of each open link.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let push = tidegate::Push::builder().bind("mem://doc-pull-link-stats").build().await?;
    /// # let pull = tidegate::Pull::builder().connect("mem://doc-pull-link-stats").build().await?;
    /// pull.connected(1).await?;
    /// for link in pull.link_stats() {
    ///     println!("{}: {} un-acked", link.peer, link.unsettled);
    /// }
    /// # drop(push);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn link_stats(&self) -> Vec<PullLinkStats> {
        self.shared().with(|inner| inner.machine.link_stats())
    }

    /// Returns the events of links and endpoints from now on.
    ///
    /// For the events of building, use [`PullBuilder::events`](crate::PullBuilder::events).
    /// [`Push::events`](crate::Push::events) has an example.
    #[must_use]
    pub fn events(&self) -> Events {
        self.shared().events.subscribe()
    }

    /// Returns a fused `Stream` of deliveries.
    ///
    /// An error does not end the stream. A permanent error repeats, as it does for [`Self::recv`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::{future::poll_fn, pin::pin, time::Duration};
    /// use futures_core::Stream;
    /// # let push = tidegate::Push::builder().bind("mem://doc-stream").build().await?;
    /// # let pull = tidegate::Pull::builder().connect("mem://doc-stream").build().await?;
    /// # push.send_all(["1", "2", "3"]).await?;
    /// # let finishing = tokio::spawn(async move { push.finish(Duration::from_secs(10)).await });
    ///
    /// // With `futures_util::TryStreamExt`: `stream.try_next().await?`.
    /// let mut stream = pin!(pull.stream());
    /// let mut count = 0;
    /// while let Some(delivery) = poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
    ///     delivery?.ack();
    ///     count += 1;
    /// }
    /// assert_eq!(count, 3);
    /// # finishing.await??;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn stream(&self) -> PullStream {
        PullStream::new(self.clone())
    }
}

impl std::fmt::Debug for Pull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pull").finish_non_exhaustive()
    }
}

/// The next delivery, unless a link should run first (OC-5) or other tasks wait.
#[inline]
fn take(inner: &mut Inner<PullMachine>) -> Option<Delivery> {
    if inner.state.yield_due || inner.state.in_line > 0 {
        return None;
    }
    inner.machine.recv().map(Delivery::new)
}

fn leave(shared: &Arc<Shared<PullMachine>>) {
    shared.with(|inner| {
        inner.machine.leave();
        inner.state.closed = true;
    });
    announce(shared);
}

/// Wakes everything that waits, because the puller is closed.
fn announce(shared: &Shared<PullMachine>) {
    shared.stop.cancel();
    shared.wakers.changed();
    shared.wakers.ready.notify_waiters();
}

impl Drop for PullHandle {
    fn drop(&mut self) {
        if self.shared.runtime.is_of_other_process() {
            return; // the child of a fork has a copy; the links belong to the parent
        }
        leave(&self.shared);
        if let Some(wait) = self.linger_on_drop
            && self.shared.runtime.may_wait().is_ok()
        {
            let ended = self.shared.until(|inner| (inner.machine.link_count() == 0).then_some(()));
            let _ = block_on(self.shared.timeout(wait, ended));
        }
    }
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
