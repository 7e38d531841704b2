//! The pusher's handle.

mod blocking;
mod builder;
mod line;
mod many;
mod permit;
mod receipt;
mod rejections;
mod send;
mod sink;
mod state;
mod stop;
mod waiting;

use std::{sync::Arc, time::Duration};

use tidegate_proto::{InstanceId, Machine as _, PushLinkStats, PushStats, Pusher, SettingError, Tokens};

pub use self::{
    builder::PushBuilder,
    permit::Permit,
    receipt::Receipt,
    rejections::{Rejected, Rejections},
    sink::{PushSink, SinkError},
};
use crate::{
    endpoint::Endpoint,
    error::{ConnectedError, Refusal},
    events::Events,
    lost::Lost,
    shared::{Inner, Shared},
};

/// A pusher: sends messages to whichever puller is next and has credit, and keeps each until it is settled.
///
/// A cheap clone; clones are the same pusher. When the last one is dropped without [`finish`](Self::finish),
/// [`drain`](Self::drain) or [`abort`](Self::abort), the pusher drains in the background for its linger time, without ending the stream, and
/// warns if something is left. So it does when one of the first two was cancelled; then the stream ends as was asked for. The background
/// is the runtime that runs the links, and goes when the process does: to connect, to send and to return from `main` loses the message. Call
/// `finish` or `drain` first, or see [`linger_on_drop`](PushBuilder::linger_on_drop).
#[derive(Clone)]
pub struct Push {
    handle: Arc<Handle>,
}

/// What clones share; the links hold `shared` only.
struct Handle {
    shared: Arc<Shared<Pusher>>,
    instance: InstanceId,
    linger: Duration,
    linger_on_drop: Option<Duration>,
}

impl Push {
    /// Settings for a new pusher.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use tidegate::Push;
    ///
    /// let push = Push::builder()
    ///     .bind("mem://doc-push-builder")
    ///     .high_water_mark(100)
    ///     .max_attempts(Some(5))
    ///     .build()
    ///     .await?;
    /// assert_eq!(push.local_endpoints()[0].to_string(), "mem://doc-push-builder");
    ///
    /// let error = Push::builder().bind("mem://doc-push-builder#2").heartbeat(Duration::ZERO).build().await.unwrap_err();
    /// assert!(error.to_string().contains("heartbeat"));
    /// # Ok(()) }
    /// ```
    pub fn builder() -> PushBuilder {
        PushBuilder::default()
    }

    fn new(
        shared: Arc<Shared<Pusher>>,
        instance: InstanceId,
        (linger, linger_on_drop): (Duration, Option<Duration>),
    ) -> Self {
        Self { handle: Arc::new(Handle { shared, instance, linger, linger_on_drop }) }
    }

    fn shared(&self) -> &Arc<Shared<Pusher>> {
        &self.handle.shared
    }

    /// Waits until everything that was given to links has been written to their connections. What waits for credit is not
    /// waited for. Cancel safe.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let push = tidegate::Push::builder().bind("mem://doc-flush").build().await?;
    /// # let pull = tidegate::Pull::builder().connect("mem://doc-flush").build().await?;
    /// push.send("resize 17.png").await?;
    /// let delivery = pull.recv().await?.expect("the pusher has not finished");
    /// push.flush().await; // written, which does not mean processed
    /// assert_eq!((push.stats().sent, push.stats().acked), (1, 0));
    /// delivery.ack();
    /// # Ok(()) }
    /// ```
    pub async fn flush(&self) {
        let shared = self.shared();
        shared.with(|inner| inner.state.flushing += 1);
        let _flushing = scopeguard(|| shared.with(|inner| inner.state.flushing -= 1));
        shared.until(|inner| inner.machine.is_flushed().then_some(())).await;
    }

    /// Waits until at least `n` links are open at once. Cancel safe.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tidegate::{Pull, Push};
    ///
    /// let push = Push::builder().bind("mem://doc-push-connected").build().await?;
    /// let _one = Pull::builder().connect("mem://doc-push-connected").build().await?;
    /// let _two = Pull::builder().connect("mem://doc-push-connected").build().await?;
    /// push.connected(2).await?; // so that the first worker does not get everything
    /// assert_eq!(push.stats().links, 2);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The pusher is closed, or an endpoint has refused for good.
    pub async fn connected(&self, n: usize) -> Result<(), ConnectedError> {
        self.shared().until(|inner| connected(inner, n, Pusher::is_open)).await
    }

    /// Why no puller will come: nothing is bound, no link is open, and every endpoint to connect to has refused this pusher for good. This is
    /// the refusal of the last one. `None` while there is hope, also again after [`Self::set_tokens`]. When the answer may have changed, there
    /// is an [`Event`](crate::Event).
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
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tidegate::{Pull, Push, Tokens};
    ///
    /// let at = "mem://doc-set-tokens";
    /// let push = Push::builder().bind(at).token("old").build().await?;
    /// push.set_tokens(Tokens::new(["new", "old"]))?; // both, until every puller has the new one
    /// let _before = Pull::builder().connect(at).token("old").build().await?;
    /// let _after = Pull::builder().connect(at).token("new").build().await?;
    /// push.connected(2).await?;
    ///
    /// let stranger = Pull::builder().connect(at).token("guessed").build().await?;
    /// assert!(stranger.connected(1).await.is_err());
    /// assert!(push.set_tokens(Tokens::new(Vec::<String>::new())).is_err());
    /// # Ok(()) }
    /// ```
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
    /// # let push = tidegate::Push::builder().bind("mem://doc-push-stats").build().await?;
    /// push.send_all(["one", "two"]).await?;
    /// let stats = push.stats();
    /// assert_eq!((stats.accepted, stats.queued, stats.in_flight), (2, 2, 0)); // no puller is there yet
    /// assert_eq!(stats.held_bytes, 6);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn stats(&self) -> PushStats {
        self.shared().with(|inner| {
            let mut stats = inner.machine.stats();
            stats.blocked = inner.state.blocked();
            stats
        })
    }

    /// Every open link.
    #[must_use]
    pub fn link_stats(&self) -> Vec<PushLinkStats> {
        self.shared().with(|inner| inner.machine.link_stats())
    }

    /// The events of links and endpoints from now on; those of its building are to be had from the builder.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tidegate::{Event, Pull, Push};
    ///
    /// let push = Push::builder().bind("mem://doc-push-events").build().await?;
    /// let mut events = push.events();
    /// let _pull = Pull::builder().connect("mem://doc-push-events").name("worker 1").build().await?;
    /// match events.recv().await {
    ///     Some(Event::Connected { peer, .. }) => assert_eq!(peer.name, "worker 1"),
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn events(&self) -> Events {
        self.shared().events.subscribe()
    }

    /// Messages that will never be sent again, with their reasons. For as long as there is a handle they are kept until they are
    /// fetched, and count as held: if you do not fetch them, sends eventually wait; none is dropped. Several handles share them. With
    /// the last handle those go that were not fetched, with a warning; from then on rejected messages are only counted.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let push = tidegate::Push::builder().bind("mem://doc-rejections").build().await?;
    /// # let pull = tidegate::Pull::builder().connect("mem://doc-rejections").build().await?;
    /// let mut rejections = push.rejections(); // before the first message can be rejected
    /// push.send("resize notes.txt").await?;
    /// pull.recv().await?.expect("the pusher has not finished").reject("not a picture");
    ///
    /// let dead = rejections.recv().await.expect("the pusher is open");
    /// assert_eq!(dead.message.payload(), "resize notes.txt");
    /// assert_eq!((dead.attempts, dead.reason.as_str()), (1, "not a picture"));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn rejections(&self) -> Rejections {
        Rejections::new(self.shared().clone(), self.handle.instance)
    }

    /// A `Sink` of messages: ready means room, flush means written, close means [`Self::finish`] with this linger time.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::{future::poll_fn, pin::pin, time::Duration};
    /// use futures_sink::Sink;
    /// use tidegate::Message;
    /// # let push = tidegate::Push::builder().bind("mem://doc-sink").build().await?;
    /// # let pull = tidegate::Pull::builder().connect("mem://doc-sink").build().await?;
    /// # let worker = tokio::spawn(async move { pull.recv().await.unwrap().unwrap().ack(); pull.recv().await });
    ///
    /// // With `futures_util::SinkExt`: `sink.send(message).await` and `sink.close().await`.
    /// let mut sink = pin!(push.sink(Duration::from_secs(10)));
    /// poll_fn(|cx| sink.as_mut().poll_ready(cx)).await?;
    /// sink.as_mut().start_send(Message::from("resize 17.png"))?;
    /// poll_fn(|cx| sink.as_mut().poll_close(cx)).await?;
    /// assert_eq!(push.stats().acked, 1);
    /// # assert!(worker.await??.is_none());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn sink(&self, linger: Duration) -> PushSink {
        PushSink::new(self.clone(), linger)
    }
}

impl std::fmt::Debug for Push {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Push").field("instance", &self.handle.instance).finish_non_exhaustive()
    }
}

/// The refusal that makes sending pointless: no endpoint is left that could bring a puller.
fn refusal(inner: &Inner<Pusher>) -> Option<Refusal> {
    let places = &inner.places;
    // An endpoint that has had the end of the stream is connected to no more, and none is needed any more.
    let hope = places.dialing + places.ended > 0 || !places.bound.is_empty() || inner.machine.links() > 0;
    if hope { None } else { places.refused.last().cloned() }
}

/// The condition of `connected`, for both roles.
pub(crate) fn connected<M: crate::shared::Role>(
    inner: &mut Inner<M>,
    n: usize,
    is_open: impl Fn(&M) -> bool,
) -> Option<Result<(), ConnectedError>> {
    if inner.machine.links() >= n {
        return Some(Ok(()));
    }
    if let Some(Lost::GaveUp(after)) = inner.lost {
        return Some(Err(ConnectedError::GaveUp { after }));
    }
    if !is_open(&inner.machine) {
        return Some(Err(ConnectedError::Closed));
    }
    let refusal = inner.places.refused.first().cloned()?;
    Some(Err(ConnectedError::Refused(Box::new(refusal))))
}

/// Runs `f` when dropped, also when the future that holds it is cancelled.
fn scopeguard(f: impl FnMut()) -> impl Drop {
    struct Guard<F: FnMut()>(F);
    impl<F: FnMut()> Drop for Guard<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    Guard(f)
}
