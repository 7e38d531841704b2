//! `Pull`, the handle of a puller.

mod body;
mod delivery;
mod lane;
mod page;
mod page_use;
mod recv;
mod state;
mod stream;
mod watch;
mod words;

use std::{
    sync::{Arc, atomic},
    time::Duration,
};

use tidegate_proto::{Machine, PullLinkStats, PullStats, SettingError, Tokens};

use self::state::{PullMachine, refusal};
pub use self::{delivery::Delivery, recv::Recv, stream::PullStream};
pub(crate) use self::{lane::MIN_BATCH, state::PullState};
use crate::{
    error::{ConnectedError, LeaveError, Refusal},
    events::Events,
    park::block_on,
    push::connected,
    socket::Shared,
    transport::Endpoint,
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

    pub(crate) fn shared(&self) -> &Arc<Shared<PullMachine>> {
        &self.handle.shared
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
        let held = shared.outside.inspect(shared, |machine| machine.stats().in_flight);
        shared.with(|inner| inner.machine.abandon(shared.now()));
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
        let shared = self.shared();
        shared.outside.inspect(shared, |machine| machine.stats())
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
        let shared = self.shared();
        shared.outside.inspect(shared, |machine| machine.link_stats())
    }

    /// Returns the events of links and endpoints from now on.
    ///
    /// For the events of building, use [`PullBuilder::events`](crate::PullBuilder::events).
    /// [`Push::events`](crate::Push::events) has an example.
    #[must_use]
    pub fn events(&self) -> Events {
        self.shared().events.subscribe_at(self.shared().runtime.own_thread())
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

fn leave(shared: &Arc<Shared<PullMachine>>) {
    shared.outside.close(shared);
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
            && self.shared.runtime.own_thread().is_some_and(|thread| thread.may_wait().is_ok())
        {
            let ended = self.shared.until(|inner| (inner.machine.link_count() == 0).then_some(()));
            let _ = block_on(self.shared.timeout(wait, ended));
        }
    }
}
