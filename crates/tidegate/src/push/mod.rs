//! The pusher's handle.

mod blocking;
mod builder;
mod permit;
mod receipt;
mod rejections;
mod sink;
mod state;
mod stop;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tidegate_proto::{
    Accepted, Blocked, InstanceId, Machine as _, Message, MessageId, PushLinkStats, PushStats, Pusher,
    Refused, SettingError, Tokens,
};
use tokio::sync::oneshot;

use self::state::yield_every;
pub use self::{
    builder::PushBuilder,
    permit::Permit,
    receipt::Receipt,
    rejections::{Rejected, Rejections},
    sink::PushSink,
};
use crate::{
    endpoint::Endpoint,
    error::{ConnectedError, Refusal, ReserveError, SendError, TrySendError},
    events::Events,
    shared::{Inner, Shared},
};

/// A pusher: sends messages to whichever puller is next and has credit, and keeps each until it is settled.
///
/// A cheap clone; clones are the same pusher. When the last one is dropped without [`finish`](Self::finish),
/// [`drain`](Self::drain) or [`abort`](Self::abort), the pusher drains in the background for its linger time, without ending the stream, and
/// warns if something is left. So it does when one of the first two was cancelled; then the stream ends as was asked for.
#[derive(Clone)]
pub struct Push {
    handle: Arc<Handle>,
}

/// What clones share; the links hold `shared` only.
struct Handle {
    shared: Arc<Shared<Pusher>>,
    instance: InstanceId,
    linger: Duration,
}

impl Push {
    /// Settings for a new pusher.
    pub fn builder() -> PushBuilder {
        PushBuilder::default()
    }

    fn new(shared: Arc<Shared<Pusher>>, instance: InstanceId, linger: Duration) -> Self {
        Self { handle: Arc::new(Handle { shared, instance, linger }) }
    }

    fn shared(&self) -> &Arc<Shared<Pusher>> {
        &self.handle.shared
    }

    /// Accepts a message, waiting for room if the high-water mark is reached.
    ///
    /// Waiting sends get room in the order in which they began to wait. After about every 64 KiB for each link it yields to
    /// the links once, so that data leaves while a busy sender on the same thread goes on.
    ///
    /// A payload with an owner of its own (`Bytes::from_owner`) is dropped when the message is settled, by the thread that runs the
    /// links, under the lock of the socket. That drop must be quick and must not use a socket, not even by dropping its last
    /// handle or a [`Permit`]: it would wait for itself, for ever. It may send to a channel, for somebody else to do that.
    ///
    /// # Errors
    /// The pusher is closed, as it also is when the runtime that ran its links has been shut down; the message is outside its
    /// limits; or every endpoint has refused for good. The message comes back in the error.
    ///
    /// # Cancel safety
    /// Cancelled: the message is certainly not sent, and dropped. [`Self::reserve`] keeps it.
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        let mut message = message.into();
        if self.shared().with_send(|inner| send_short(inner, &mut message)) {
            return Ok(());
        }
        self.send_any(message, None, true).await.map(|_| ())
    }

    /// As [`Self::send`], for a payload that is not in a `Bytes`: a small one is copied once, into what goes to the
    /// connection, which is the quickest way to send it.
    ///
    /// # Errors
    /// As [`Self::send`].
    ///
    /// # Cancel safety
    /// As [`Self::send`].
    pub async fn send_slice(&self, payload: &[u8]) -> Result<(), SendError> {
        if self.send_slice_short(payload) {
            return Ok(());
        }
        self.send(Bytes::copy_from_slice(payload)).await
    }

    fn send_slice_short(&self, payload: &[u8]) -> bool {
        self.shared().with_send(|inner| {
            let state = &mut inner.state;
            if state.since_yield >= yield_every(inner.machine.links()) || state.waiting > 0 {
                return false;
            }
            let Some(accepted) = inner.machine.send_slice(payload) else { return false };
            state.since_yield += accepted.size + 16;
            true
        })
    }

    /// Accepts all of them, in order, and returns how many there were: as [`Self::send`] for each, for less.
    ///
    /// # Errors
    /// As [`Self::send`], for the first message that is not taken; those before it are. Give `&mut iterator` to keep those
    /// behind it.
    ///
    /// # Cancel safety
    /// Cancelled: the first ones are sent, and the others dropped, and nothing tells how many. [`Self::send`] does.
    pub async fn send_all<I>(&self, messages: I) -> Result<u64, SendError>
    where
        I: IntoIterator,
        I::Item: Into<Message>,
    {
        let mut messages = messages.into_iter();
        // Gathered before the lock is taken: an iterator may do anything.
        let mut chunk = Vec::with_capacity(CHUNK);
        let mut sent = 0;
        loop {
            chunk.extend(messages.by_ref().take(CHUNK).map(Into::into));
            if chunk.is_empty() {
                return Ok(sent);
            }
            let short = self.send_chunk(&mut chunk);
            sent += short as u64;
            for message in chunk.drain(..).skip(short) {
                self.send_any(message, None, true).await?;
                sent += 1;
            }
        }
    }

    /// Sends as many of them as go the short way, and returns how many that are.
    fn send_chunk(&self, chunk: &mut [Message]) -> usize {
        self.shared().with_message(|inner| {
            let refused = chunk.iter_mut().position(|message| !send_short(inner, message));
            refused.unwrap_or(chunk.len())
        })
    }

    /// As [`Self::send`], and gives a future of the outcome. Pullers send the ack of such a message without delay.
    ///
    /// # Errors
    /// As [`Self::send`].
    ///
    /// # Cancel safety
    /// As [`Self::send`].
    pub async fn send_tracked(&self, message: impl Into<Message>) -> Result<Receipt, SendError> {
        let (sender, outcome) = oneshot::channel();
        let id = self.send_any(message.into(), Some(sender), true).await?;
        Ok(Receipt { id, outcome, links: self.shared().place.links() })
    }

    /// Accepts a message if there is room at once.
    ///
    /// # Errors
    /// There is none, or as [`Self::send`]; the message comes back.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), TrySendError> {
        let message = message.into();
        match self.shared().with(|inner| accept(inner, message, &mut None)) {
            Ok(_) => Ok(()),
            Err(Refused { message, reason: Blocked::Full }) => match self.refusal() {
                Some(refusal) => Err(SendError::Refused { message, refusal: Box::new(refusal) }.into()),
                None => Err(TrySendError::Full(message)),
            },
            Err(Refused { message, reason }) => Err(failed(message, reason).into()),
        }
    }

    /// Unless it `yields`, the links have a thread of their own.
    async fn send_any(
        &self,
        mut message: Message,
        mut receipt: Option<ReceiptSender>,
        yields: bool,
    ) -> Result<MessageId, SendError> {
        let shared = self.shared();
        let mut yielded = false;
        loop {
            let result = shared.with(|inner| {
                if inner.state.since_yield >= yield_every(inner.machine.links()) && !yielded {
                    inner.state.since_yield = 0;
                    if yields {
                        return Err((message.clone(), None));
                    }
                }
                // Those who wait already come first.
                if inner.state.waiting > 0 && inner.machine.is_open() && !yielded {
                    return Err((message.clone(), Some(Blocked::Full)));
                }
                let message = std::mem::take(&mut message);
                accept(inner, message, &mut receipt)
                    .map_err(|refused| (refused.message, Some(refused.reason)))
            });
            match result {
                Ok(number) => return Ok(MessageId { instance: self.handle.instance, number }),
                Err((back, None)) => {
                    // Before the message is accepted, so that a send that is cancelled here has not happened.
                    message = back;
                    tokio::task::yield_now().await;
                }
                Err((back, Some(Blocked::Full))) => {
                    message = back;
                    if let Err(error) = self.wait_for_room().await {
                        return Err(match error {
                            ReserveError::Refused(refusal) => SendError::Refused { message, refusal },
                            _ => SendError::Closed(message),
                        });
                    }
                    yielded = true; // it is our turn
                    continue;
                }
                Err((back, Some(reason))) => return Err(failed(back, reason)),
            }
        }
    }

    /// Waits in line until there is room for one message. Cancel safe: a turn that is not taken goes to the next.
    async fn wait_for_room(&self) -> Result<(), ReserveError> {
        let shared = self.shared();
        let turn = shared.signals.ready.notified();
        tokio::pin!(turn);
        turn.as_mut().enable();
        let _waiting = Waiting::new(shared);
        loop {
            let room = shared.with(|inner| (inner.machine.room(), inner.state.waiting));
            match room {
                (Ok(()), 1) => return Ok(()), // nobody else is in line
                (Err(Blocked::Closed), _) => return Err(ReserveError::Closed),
                _ => {}
            }
            if let Some(refusal) = self.refusal() {
                return Err(ReserveError::Refused(Box::new(refusal)));
            }
            if shared.lost_by_fork() {
                return Err(ReserveError::Closed);
            }
            turn.as_mut().await;
            if shared.with(|inner| inner.machine.room()).is_ok() {
                return Ok(());
            }
            turn.set(shared.signals.ready.notified());
            turn.as_mut().enable();
        }
    }

    /// The refusal that makes sending pointless: no endpoint is left that could bring a puller.
    fn refusal(&self) -> Option<Refusal> {
        self.shared().with(|inner| {
            let places = &inner.places;
            let hope = places.dialing > 0 || !places.bound.is_empty() || inner.machine.links() > 0;
            if hope { None } else { places.refused.last().cloned() }
        })
    }

    /// Reserves room for one message, waiting for it. The permit then sends without waiting; with a high-water mark of 0 it may
    /// be the only one at a time. It is for a message of any size: as many permits as there are may take what is held so many times
    /// `max_message` beyond its limits in octets.
    ///
    /// # Errors
    /// The pusher is closed, or every endpoint has refused for good.
    ///
    /// # Cancel safety
    /// Cancelled: nothing is reserved.
    pub async fn reserve(&self) -> Result<Permit, ReserveError> {
        loop {
            match self.shared().with(|inner| inner.machine.reserve()) {
                Ok(()) => return Ok(Permit::new(self.clone())),
                Err(Blocked::Full) => self.wait_for_room().await?,
                Err(_) => return Err(ReserveError::Closed),
            }
        }
    }

    /// Waits until everything that was given to links has been written to their connections. What waits for credit is not
    /// waited for. Cancel safe.
    pub async fn flush(&self) {
        let shared = self.shared();
        shared.with(|inner| inner.state.flushing += 1);
        let _flushing = scopeguard(|| shared.with(|inner| inner.state.flushing -= 1));
        shared.until(|inner| inner.machine.is_flushed().then_some(())).await;
    }

    /// Waits until at least `n` links are open at once. Cancel safe.
    ///
    /// # Errors
    /// The pusher is closed, or an endpoint has refused for good.
    pub async fn connected(&self, n: usize) -> Result<(), ConnectedError> {
        self.shared().until(|inner| connected(inner, n, Pusher::is_open)).await
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
    /// There is none, or one has more than 4,096 octets; then everything stays as it was.
    pub fn set_tokens(&self, tokens: Tokens) -> Result<(), SettingError> {
        self.shared().set_tokens(tokens)
    }

    /// Counts, and what is held now.
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
    #[must_use]
    pub fn events(&self) -> Events {
        self.shared().events.subscribe()
    }

    /// Messages that will never be sent again, with their reasons. From the first call on they are kept until they are fetched,
    /// and count as held: who does not fetch them comes to a stop instead of losing them. Several handles share them.
    #[must_use]
    pub fn rejections(&self) -> Rejections {
        self.shared().with(|inner| inner.machine.keep_rejected());
        Rejections::new(self.shared().clone(), self.handle.instance)
    }

    /// A `Sink`: ready means room, flush means written, close means [`Self::finish`] with this linger time.
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

/// The short way: nobody waits in line, no link is kept from writing, and there is credit or room in the queue.
#[inline]
fn send_short(inner: &mut Inner<Pusher>, message: &mut Message) -> bool {
    let state = &mut inner.state;
    if state.since_yield >= yield_every(inner.machine.links()) || state.waiting > 0 {
        return false;
    }
    let Some(accepted) = inner.machine.send_short(message) else { return false };
    state.since_yield += accepted.size + 16;
    true
}

/// Messages of [`Push::send_all`] that are accepted under one lock: more makes nothing quicker, and keeps others waiting.
const CHUNK: usize = 64;

type ReceiptSender = oneshot::Sender<Result<(), crate::ReceiptError>>;

/// Accepts under the lock, and enters the receipt before any outcome can come.
fn accept(
    inner: &mut Inner<Pusher>,
    message: Message,
    receipt: &mut Option<ReceiptSender>,
) -> Result<u64, Refused> {
    let accepted = inner.machine.send(message, receipt.is_some())?;
    Ok(accepted_as(inner, accepted, receipt.take()))
}

/// Enters the receipt of a message that has just been accepted, and returns its number.
fn accepted_as(inner: &mut Inner<Pusher>, accepted: Accepted, receipt: Option<ReceiptSender>) -> u64 {
    inner.state.since_yield += accepted.size + 16;
    if let Some(sender) = receipt {
        inner.state.receipts.insert(accepted.number, sender);
    }
    accepted.number
}

fn failed(message: Message, reason: Blocked) -> SendError {
    match reason {
        Blocked::Invalid(source) => SendError::Invalid { message, source },
        _ => SendError::Closed(message),
    }
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
    if !is_open(&inner.machine) {
        return Some(Err(ConnectedError::Closed));
    }
    let refusal = inner.places.refused.first().cloned()?;
    Some(Err(ConnectedError::Refused(Box::new(refusal))))
}

/// Counts a waiting send for as long as it waits.
struct Waiting<'a>(&'a Shared<Pusher>);

impl<'a> Waiting<'a> {
    fn new(shared: &'a Shared<Pusher>) -> Self {
        shared.with(|inner| inner.state.start_waiting());
        Self(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.with(|inner| inner.state.stop_waiting());
    }
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
