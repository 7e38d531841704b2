//! The puller's handle.

mod blocking;
mod builder;
mod delivery;
mod receiver;
mod state;
mod stream;

use std::{sync::Arc, time::Duration};

use tidegate_proto::{Machine, PullLinkStats, PullStats, SettingError, Tokens};

use self::state::{PullMachine, is_over, refusal};
pub use self::{
    builder::PullBuilder,
    delivery::Delivery,
    receiver::{Lent, Receiver},
    stream::PullStream,
};
use crate::{
    blocking::block_on,
    endpoint::Endpoint,
    error::{ConnectedError, LeaveError, RecvError, RecvTimeoutError, Refusal},
    events::Events,
    lost::Lost,
    push::connected,
    shared::{Inner, Shared},
};

/// A puller: grants credit to every pusher that it is linked to, and receives what they send.
///
/// A cheap clone; clones are the same puller and compete for messages. When the last one is dropped, the puller leaves:
/// what was not handed out goes back to the pushers, and deliveries that are still held keep their links until they
/// are settled. That takes place in the background: if the process ends at once, the last acks may not have been sent, and what they were
/// for is delivered again. [`leave`](Self::leave) waits for them, and so does
/// [`linger_on_drop`](PullBuilder::linger_on_drop).
#[derive(Clone)]
pub struct Pull {
    handle: Arc<Handle>,
}

/// What clones share; links and deliveries hold `shared` only.
struct Handle {
    shared: Arc<Shared<PullMachine>>,
    linger_on_drop: Option<Duration>,
}

impl Pull {
    /// Settings for a new puller.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tidegate::{Pull, Window};
    ///
    /// let pull = Pull::builder()
    ///     .bind("mem://doc-pull-builder#results")
    ///     .window(Window::messages(20))
    ///     .expect(1) // `recv` returns `None` when one pusher has finished
    ///     .build()
    ///     .await?;
    /// assert_eq!(pull.local_endpoints()[0].pipeline(), "results");
    /// assert!(Pull::builder().build().await.is_err()); // no endpoint
    /// # Ok(()) }
    /// ```
    pub fn builder() -> PullBuilder {
        PullBuilder::default()
    }

    fn new(shared: Arc<Shared<PullMachine>>, linger_on_drop: Option<Duration>) -> Self {
        Self { handle: Arc::new(Handle { shared, linger_on_drop }) }
    }

    fn shared(&self) -> &Arc<Shared<PullMachine>> {
        &self.handle.shared
    }

    /// The next delivery. Waits while as many are un-acked as the window allows ([`PullBuilder::window`]). `None` when every expected pusher has ended its stream ([`PullBuilder::expect`],
    /// [`PullBuilder::keep`]) or after [`Self::leave`]; and `None` from then on.
    ///
    /// Several tasks that wait on clones are served in the order in which they began to wait, and a call that comes later lets those
    /// run first that are due; so tasks of one runtime get about equal shares of what they can all work on. Threads in
    /// [`Self::blocking_recv`] and calls of [`Self::try_recv`] take what is there.
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
    /// An endpoint has refused for good: told once for each, and further calls go on with the others. When there is no other, each
    /// call tells it, until [`Self::set_tokens`] gives it another try. Or the runtime that ran the links has been shut down.
    ///
    /// # Cancel safety
    /// Cancelled: nothing is lost; a delivery that had arrived goes to the next call.
    pub async fn recv(&self) -> Result<Option<Delivery>, RecvError> {
        match self.shared().with_message(take) {
            Some(delivery) => Ok(Some(delivery)),
            None => self.wait().await,
        }
    }

    /// The way of a `recv` for which nothing was there.
    async fn wait(&self) -> Result<Option<Delivery>, RecvError> {
        let shared = self.shared();
        let (yields, in_line) = shared.with(|inner| {
            let others = inner.state.in_line > 0 && inner.machine.has_next();
            let yields = std::mem::take(&mut inner.state.yield_due) || others;
            (yields, others.then(|| InLine::new(shared, inner)))
        });
        if yields {
            // Before a delivery is taken, so that nothing is lost if this is cancelled. Those that wait have been woken in their turn,
            // and run first; if they do not, because a future is kept that nobody polls, they delay nobody any longer.
            tokio::task::yield_now().await;
        }
        drop(in_line);
        self.wait_in_line().await
    }

    /// Waits without letting others run first.
    async fn wait_in_line(&self) -> Result<Option<Delivery>, RecvError> {
        let shared = self.shared();
        if let Some(result) = self.next(false) {
            return result;
        }
        let _waiting = Waiting::new(shared);
        loop {
            let arrived = shared.signals.ready.notified();
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

    /// Waits for a delivery, and appends it and what else is there to `deliveries`, `limit` at most; returns how many it
    /// appended. It does not wait for more, so that a `limit` above the window does no harm. 0 means what `None` means for [`Self::recv`], unless `limit` is 0. For less than `recv` for each;
    /// [`Delivery::ack_all`] does as much for outcomes.
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
    /// As [`Self::recv`].
    ///
    /// # Cancel safety
    /// As [`Self::recv`].
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

    /// Takes more after a delivery that was waited for: its share of what is there beside those that wait, which have been let go first.
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

    /// Takes what is there, and returns how many that are.
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

    /// The next delivery, if one is there. `None` means that nothing is there now, or that nothing will come any more: only
    /// [`Self::recv`] tells which.
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
    /// As [`Self::recv`].
    pub fn try_recv(&self) -> Result<Option<Delivery>, RecvError> {
        self.next(true).unwrap_or(Ok(None))
    }

    /// The next delivery, waiting for it for at most `wait`. `None` means what it means for [`Self::recv`]: nothing will come any
    /// more. That nothing came in time is an error.
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
    /// [`RecvTimeoutError::Timeout`] if nothing came in that time, or as [`Self::recv`].
    ///
    /// # Cancel safety
    /// As [`Self::recv`].
    pub async fn recv_timeout(&self, wait: Duration) -> Result<Option<Delivery>, RecvTimeoutError> {
        match self.shared().timeout(wait, self.recv()).await {
            Some(result) => Ok(result?),
            None => Err(RecvTimeoutError::Timeout),
        }
    }

    /// What there is for a `recv`, if something is. If nothing is, it `asks` for it.
    fn next(&self, asks: bool) -> Option<Result<Option<Delivery>, RecvError>> {
        let shared = self.shared();
        let mut closes = false;
        let next = shared.with(|inner| {
            if let Some(received) = inner.machine.recv() {
                return Some(Ok(Some(Delivery::new(received))));
            }
            if let Some(lost) = inner.lost {
                return Some(Err(match lost {
                    Lost::RuntimeGone => RecvError::RuntimeGone,
                    Lost::GaveUp(after) => RecvError::GaveUp { after },
                }));
            }
            if let Some(refusal) = inner.places.tell() {
                return Some(Err(RecvError::Refused(Box::new(refusal))));
            }
            let over = !inner.state.closed && is_over(inner);
            // Not the end of a stream, and not for ever: other tokens may be set.
            if over && let Some(refusal) = inner.places.refused.last() {
                return Some(Err(RecvError::Refused(Box::new(refusal.clone()))));
            }
            closes = over;
            if closes {
                inner.state.closed = true;
                inner.machine.leave(); // nobody is expected any more, and who comes is told so
            }
            if asks && !inner.state.closed {
                inner.machine.ask();
            }
            inner.state.closed.then_some(Ok(None))
        });
        if closes {
            announce(shared);
        }
        next
    }

    /// A receiver that lends deliveries one at a time: the quickest way, for one task.
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
    /// while let Some(lent) = receiver.recv().await? {
    ///     bytes += lent.payload().len();
    ///     lent.ack(); // before the next `recv`
    /// }
    /// assert_eq!(bytes, 3);
    /// # finishing.await??;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn receiver(&self) -> Receiver {
        Receiver::new(self.clone())
    }

    /// Leaves: hands nothing more out, gives back what was not, waits up to `linger` for the outcomes of the deliveries that are
    /// held, and closes. Closes all clones; `recv` gives `None`.
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
    /// The linger time is over: links are closed with deliveries un-acked, which their pushers will send again.
    ///
    /// # Cancel safety
    /// Cancelled: leaving goes on, without a time limit; call again to wait for it.
    pub async fn leave(&self, linger: Duration) -> Result<PullStats, LeaveError> {
        let shared = self.shared();
        leave(shared);
        let closed = shared.until(|inner| (inner.machine.links() == 0).then_some(()));
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

    /// Waits until at least `n` links are open at once. Cancel safe.
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
    /// let stranger = Pull::builder().connect("mem://doc-pull-connected").build().await?;
    /// assert!(matches!(stranger.connected(1).await, Err(ConnectedError::Refused(_))));
    /// # push.finish(Duration::from_secs(10)).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The puller has left, or an endpoint has refused for good.
    pub async fn connected(&self, n: usize) -> Result<(), ConnectedError> {
        self.shared().until(|inner| connected(inner, n, |machine| !machine.is_leaving())).await
    }

    /// Returns the reason why no message will come: no endpoint can bring one any more, and one has refused this puller permanently.
    ///
    /// This is the most recent refusal. The result is `None` while another endpoint may bring messages, and after [`Self::set_tokens`]
    /// has given the endpoints that refused another try. An [`Event`](crate::Event) follows each change of the answer.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        self.shared().with(|inner| refusal(inner))
    }

    /// The endpoints that are bound, in the order of the builder, with ports of 0 resolved.
    #[must_use]
    pub fn local_endpoints(&self) -> Vec<Endpoint> {
        self.shared().with(|inner| inner.places.bound.clone())
    }

    /// From now on: the first of these is shown when connecting, each is taken when bound. Links that are open stay, and endpoints
    /// that have refused this socket for good are tried again.
    ///
    /// # Errors
    /// There is none, or one has more than 4,096 bytes; then everything stays as it was.
    pub fn set_tokens(&self, tokens: Tokens) -> Result<(), SettingError> {
        self.shared().set_tokens(tokens)
    }

    /// Counts, and what is held now.
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

    /// Every open link.
    #[must_use]
    pub fn link_stats(&self) -> Vec<PullLinkStats> {
        self.shared().with(|inner| inner.machine.link_stats())
    }

    /// The events of links and endpoints from now on; those of its building are to be had from the builder.
    #[must_use]
    pub fn events(&self) -> Events {
        self.shared().events.subscribe()
    }

    /// A `Stream` of deliveries; it is fused. An error is not its end, and repeats as that of [`Self::recv`] does.
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

/// The next delivery, unless a link should run first (OC-5) or others wait and have to hear of what is left.
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

/// The puller is closed: whoever waits for something learns it.
fn announce(shared: &Shared<PullMachine>) {
    shared.stop.cancel();
    shared.signals.changed();
    shared.signals.ready.notify_waiters();
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.shared.place.is_of_other_process() {
            return; // a copy of the parent's, which has its own
        }
        leave(&self.shared);
        if let Some(wait) = self.linger_on_drop
            && self.shared.place.may_wait().is_ok()
        {
            let ended = self.shared.until(|inner| (inner.machine.links() == 0).then_some(()));
            let _ = block_on(self.shared.timeout(wait, ended));
        }
    }
}

/// A `recv` that lets others go first: those that come meanwhile do not overtake it.
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

/// Tells the machine that a `recv` waits, for as long as it does: then every link has credit (CR-6).
struct Waiting<'a>(&'a Shared<PullMachine>);

impl<'a> Waiting<'a> {
    fn new(shared: &'a Shared<PullMachine>) -> Self {
        shared.with(|inner| {
            inner.state.waiting += 1;
            inner.state.in_line += 1;
            inner.machine.start_waiting(shared.now());
        });
        Self(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.with(|inner| {
            inner.state.waiting -= 1;
            inner.state.in_line -= 1;
            inner.machine.stop_waiting(self.0.now());
        });
    }
}
