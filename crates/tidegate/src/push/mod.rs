//! `Push`, the handle of a pusher.

mod many;
mod payload;
mod permit;
mod receipt;
mod rejections;
mod reserve;
mod send;
mod send_future;
mod send_queue;
mod sink;
mod state;
mod stop;
mod waiting;

use std::{sync::Arc, time::Duration};

use tidegate_proto::{InstanceId, Machine as _, PushLinkStats, PushStats, Pusher, SettingError, Tokens};

pub use self::{
    payload::Payload,
    permit::Permit,
    receipt::Receipt,
    rejections::{Rejected, Rejections},
    send_future::SendFuture,
    sink::{PushSink, SinkError},
};
pub(crate) use self::{
    send::{ANY, with_permit},
    state::PushState,
    waiting::Turn,
};
use crate::{
    error::{ConnectedError, Refusal},
    events::Events,
    socket::{Inner, LossReason, Shared},
    transport::Endpoint,
};

/// A pusher: sends each message to the next puller that has credit, and keeps the message until it is
/// settled.
///
/// This is a cheap handle; clones refer to the same pusher. Call [`finish`](Self::finish) or
/// [`drain`](Self::drain) before the program ends: messages that are still held are lost with the process.
///
/// If the last handle is dropped without [`finish`](Self::finish), [`drain`](Self::drain) or
/// [`abort`](Self::abort), the pusher drains in the background for its linger time and logs a warning if
/// messages are left. It does not end the stream. The same happens if a `finish` or `drain` was cancelled,
/// except that a cancelled `finish` still ends the stream. The background is the runtime that runs the links,
/// so it ends with the process. With [`linger_on_drop`](crate::PushBuilder::linger_on_drop) the drop waits instead.
#[derive(Clone)]
pub struct Push {
    handle: Arc<PushHandle>,
}

/// State that clones share. The links hold only `shared`.
struct PushHandle {
    shared: Arc<Shared<Pusher>>,
    instance: InstanceId,
    linger: Duration,
    linger_on_drop: Option<Duration>,
}

impl Push {
    pub(crate) fn new(
        shared: Arc<Shared<Pusher>>,
        instance: InstanceId,
        (linger, linger_on_drop): (Duration, Option<Duration>),
    ) -> Self {
        Self { handle: Arc::new(PushHandle { shared, instance, linger, linger_on_drop }) }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared<Pusher>> {
        &self.handle.shared
    }

    /// Waits until all messages that were assigned to links have been written to their connections.
    ///
    /// Messages that are queued because no puller has credit are not waited for. Written does not mean
    /// processed.
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
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, nothing changes.
    pub async fn flush(&self) {
        let shared = self.shared();
        shared.with(|inner| inner.state.flushing += 1);
        let _flushing = scopeguard(|| shared.with(|inner| inner.state.flushing -= 1));
        shared.until(|inner| inner.machine.is_flushed().then_some(())).await;
    }

    /// Waits until at least `n` links are open at the same time.
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
    /// [`ConnectedError`] if the pusher is closed, has given up, or an endpoint has refused it permanently.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, nothing changes.
    pub async fn connected(&self, n: usize) -> Result<(), ConnectedError> {
        self.shared().until(|inner| connected(inner, n, Pusher::is_open)).await
    }

    /// Returns the reason why no puller will connect, if that is certain.
    ///
    /// It is certain if nothing is bound, no link is open, and every endpoint to connect to has refused this
    /// pusher permanently. The result is the most recent refusal. It is `None` otherwise, also after
    /// [`Self::set_tokens`]. An [`Event`](crate::Event) is reported whenever the result may have changed.
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tidegate::{Code, Pull, Push};
    ///
    /// let pull = Pull::builder().bind("mem://doc-push-refusal").token("secret").build().await?;
    /// let push = Push::builder().connect("mem://doc-push-refusal").build().await?; // without the token
    /// push.connected(1).await.unwrap_err();
    /// assert_eq!(push.refusal().unwrap().code, Code::Unauthorized);
    /// # drop(pull);
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
    /// let other = Pull::builder().connect(at).token("guessed").build().await?;
    /// assert!(other.connected(1).await.is_err());
    /// assert!(push.set_tokens(Tokens::new(Vec::<String>::new())).is_err());
    /// # Ok(()) }
    /// ```
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
            stats.waiting_sends = inner.state.send_queue.waiting() as u64;
            stats
        })
    }

    /// Returns the statistics of each open link.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let push = tidegate::Push::builder().bind("mem://doc-push-link-stats").build().await?;
    /// # let pull = tidegate::Pull::builder().connect("mem://doc-push-link-stats").build().await?;
    /// push.connected(1).await?;
    /// for link in push.link_stats() {
    ///     println!("{}: {} in flight", link.peer, link.in_flight);
    /// }
    /// # drop(pull);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn link_stats(&self) -> Vec<PushLinkStats> {
        self.shared().with(|inner| inner.machine.link_stats())
    }

    /// Returns the events of links and endpoints from now on.
    ///
    /// For the events of building, use [`PushBuilder::events`](crate::PushBuilder::events).
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
        self.shared().events.subscribe_at(self.shared().runtime.own_thread())
    }

    /// Returns a handle for the messages that will never be sent again, with their reasons.
    ///
    /// While a handle exists, rejected messages are kept until they are fetched, and count as held. If you do
    /// not fetch them, sends eventually block; none is dropped. Several handles share the messages. When the
    /// last handle is dropped, messages that were not fetched are lost, with a warning; later ones are only
    /// counted.
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

    /// Returns a `Sink` of messages.
    ///
    /// Ready means that there is room, flush means written, and close means [`Self::finish`] with this linger
    /// time.
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

/// The refusal that makes sending pointless, if no endpoint can bring a puller any more.
fn refusal(inner: &Inner<Pusher>) -> Option<Refusal> {
    let places = &inner.endpoints;
    // An endpoint where the stream has ended needs no further connection, so it counts as reachable.
    let hope =
        places.dialing + places.ended > 0 || !places.bound.is_empty() || inner.machine.link_count() > 0;
    if hope { None } else { places.refused.last().cloned() }
}

/// The condition of `connected`, for pushers and pullers.
pub(crate) fn connected<M: crate::socket::SocketMachine>(
    inner: &mut Inner<M>,
    n: usize,
    is_open: impl Fn(&M) -> bool,
) -> Option<Result<(), ConnectedError>> {
    if inner.machine.link_count() >= n {
        return Some(Ok(()));
    }
    if let Some(LossReason::GaveUp(after)) = inner.lost {
        return Some(Err(ConnectedError::GaveUp { after }));
    }
    if !is_open(&inner.machine) {
        return Some(Err(ConnectedError::Closed));
    }
    let refusal = inner.endpoints.refused.first().cloned()?;
    Some(Err(ConnectedError::Refused(Box::new(refusal))))
}

/// Runs `f` when dropped, also if the future that holds it is cancelled.
fn scopeguard(f: impl FnMut()) -> impl Drop {
    struct Guard<F: FnMut()>(F);
    impl<F: FnMut()> Drop for Guard<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    Guard(f)
}
