//! The state that a socket's handles and links share: the machine behind one lock, and the wakers.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::Duration,
};

use bytes::Bytes;
use tidegate_proto::{
    InstanceId, KeyMaker, LinkEnd, LinkId, Machine, Peer, SettingError, Time, Tokens, handshake::Local,
};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    address_limit::AddressCounts,
    caught::caught,
    endpoint::Endpoint,
    error::Refusal,
    events::{Event, Feed, PeerInfo},
    io_thread::LinkRuntime,
    link::outgoing,
    lost::{LossReason, SocketGuard},
    security::Security,
    throttle::Throttled,
    transport::Direct,
};

/// The most missing pullers that are remembered at the end of a stream (ST-3); waiting for more is not worth
/// it.
const MAX_MISSING: usize = 1_024;
/// The most pushers whose end is reported only once if they have several links. Others may be reported again.
const MAX_ENDED: usize = 1_024;

/// A role: its machine, and what the library keeps beside it under the same lock.
pub(crate) trait SocketMachine: Machine + Send + Sized + 'static {
    type State: Send;

    /// Whether the driver yields before it sends. A puller's acks do, so that in a program that sends and
    /// receives, the next message goes first.
    const GIVES_WAY: bool;

    /// Runs after every use of the machine, under the lock. Passes on its events.
    fn after(inner: &mut Inner<Self>, wakers: &Wakers);

    /// Returns what must be done after the lock is released.
    fn take_deferred(_state: &mut Self::State) -> Deferred {
        Deferred::default()
    }

    /// Called when a link is open, before it is driven.
    fn opened(_inner: &mut Inner<Self>, _link: LinkId, _peer: &Peer, _shared: &Arc<Shared<Self>>) {}

    /// Whether a message was settled over the link (RD-6).
    fn has_outcome(&self, link: LinkId) -> bool;

    /// Whether the peer has ended its stream over this link (ST-6).
    fn has_ended(&self, link: LinkId) -> bool;

    /// Whether the stream is over for both sides of the link, so that connecting to the peer again is
    /// pointless (ST-3, ST-6).
    fn is_over(&self, link: LinkId) -> bool;

    /// Whether the peer may not have received the end of our stream, although the link was closed for it
    /// (ST-3).
    fn end_unanswered(&self, _link: LinkId) -> bool {
        false
    }

    /// Whether the socket has ended in order, whether or not a call has returned that.
    fn at_end(inner: &Inner<Self>) -> bool;

    /// Called when nothing runs the links any more: accepts and delivers nothing more. Returns false if the
    /// socket had already ended.
    fn lose(inner: &mut Inner<Self>, now: Time) -> bool;

    /// Whether an endpoint is connected to again after the stream there has ended, because another may begin.
    fn stays(_state: &Self::State) -> bool {
        false
    }
}

/// What must not be done under the lock, because it may use the socket.
#[derive(Default)]
pub(crate) struct Deferred {
    pub(crate) wakers: Vec<Waker>,
    pub(crate) warnings: Vec<String>,
}

/// The wakers of a socket.
pub(crate) struct Wakers {
    /// For a puller: wakes one `recv` for each delivery, in order of arrival. For a pusher: wakes the task
    /// that watches its queue.
    pub(crate) ready: Notify,
    /// Wakes all waiting calls after a rare change, such as of links, ends, refusals or a drain, in order of
    /// arrival.
    changed: Notify,
    /// The deadline of the socket may be earlier now.
    timer: Arc<Notify>,
}

impl Wakers {
    pub(crate) fn changed(&self) {
        self.changed.notify_waiters();
    }
}

/// The state of the endpoints that the socket binds and connects to.
#[derive(Default)]
pub(crate) struct Endpoints {
    pub(crate) bound: Vec<Endpoint>,
    /// The number of endpoints that are connected to, or being tried.
    pub(crate) dialing: usize,
    /// The number of endpoints that are no longer connected to, because the peer's stream or ours has ended
    /// there.
    pub(crate) ended: usize,
    /// Permanent refusals, at most one for each endpoint.
    pub(crate) refused: Vec<Refusal>,
    /// How many of those `recv` has returned.
    reported: usize,
    /// How often endpoints that had refused were given another try.
    pub(crate) revivals: u64,
    /// The number of links of each peer. Keyed by the instance id that peers give (HS-8), because a peer may
    /// come back over another endpoint. A peer that claims another's instance id can only shorten or prolong
    /// the wait for it (ST-3).
    present: HashMap<InstanceId, usize>,
    /// Pushers whose end was reported as an event.
    ended_peers: HashSet<InstanceId>,
    /// Peers whose last link was interrupted, or ended before they had the end of our stream, and that have
    /// not come back.
    pub(crate) missing: Vec<InstanceId>,
}

impl Endpoints {
    /// Returns a refusal that `recv` has not returned yet.
    pub(crate) fn next_refusal(&mut self) -> Option<Refusal> {
        let refusal = self.refused.get(self.reported).cloned()?;
        self.reported += 1;
        Some(refusal)
    }

    /// Records a permanent refusal. Returns false if tokens were replaced since `revivals` was read: the
    /// refusal is outdated.
    pub(crate) fn refuse(&mut self, refusal: Refusal, revivals: u64) -> bool {
        if self.revivals != revivals {
            return false;
        }
        self.dialing -= 1;
        self.refused.push(refusal);
        true
    }

    /// Makes endpoints that have refused available again.
    fn revive(&mut self) {
        self.revivals += 1;
        self.dialing += self.refused.len();
        self.refused.clear();
        self.reported = 0;
    }

    /// Whether this peer is missing.
    pub(crate) fn is_missing(&self, peer: InstanceId) -> bool {
        self.missing.contains(&peer)
    }

    /// Whether a missing peer may still come back, to a bound endpoint or at one that is connected to.
    pub(crate) fn expects_return(&self) -> bool {
        let reachable = self.dialing > 0 || !self.bound.is_empty() || !self.refused.is_empty();
        reachable && !self.missing.is_empty()
    }

    /// Records that an endpoint is no longer connected to, because the stream has ended there. `lost` is the
    /// last peer there, which will not come back.
    pub(crate) fn end(&mut self, lost: Option<InstanceId>) {
        self.dialing -= 1;
        self.ended += 1;
        self.missing.retain(|peer| Some(*peer) != lost);
    }

    /// Records an open link.
    fn opened(&mut self, peer: InstanceId) {
        *self.present.entry(peer).or_default() += 1;
        self.missing.retain(|other| *other != peer);
    }

    /// Records the end of a link. `interrupted`: the peer did not announce it and may come back (RD-8), or it
    /// may have missed the end of our stream.
    fn closed(&mut self, peer: InstanceId, interrupted: bool) {
        if let Some(links) = self.present.get_mut(&peer)
            && *links > 1
        {
            // The old link of a peer may be closed after the peer has come back over a new one.
            *links -= 1;
            return;
        }
        self.present.remove(&peer);
        if interrupted && self.missing.len() < MAX_MISSING {
            self.missing.push(peer);
        }
    }
}

pub(crate) struct Inner<M: SocketMachine> {
    pub(crate) machine: M,
    pub(crate) state: M::State,
    pub(crate) endpoints: Endpoints,
    /// Why the socket has ended by itself, if it did.
    pub(crate) lost: Option<LossReason>,
    driver_wakers: HashMap<LinkId, Waker>,
    ready_links: Vec<LinkId>,
    timer: Option<Time>,
    /// Writing ends for sends that find their link idle.
    pub(crate) directs: HashMap<LinkId, Arc<dyn Direct>>,
    pub(crate) pending_writes: PendingWrites,
    /// When a send last gave an idle link something to write.
    last_alone: Time,
}

/// What such a send could not write at once. The driver writes it first.
#[derive(Default)]
pub(crate) struct PendingWrites(HashMap<LinkId, VecDeque<Bytes>>);

impl PendingWrites {
    /// Moves the rest for this link to the driver. Returns false if there is none.
    pub(crate) fn take(&mut self, link: LinkId, out: &mut VecDeque<Bytes>) -> bool {
        // Called in every poll, and nearly always empty.
        if self.0.is_empty() {
            return false;
        }
        match self.0.remove(&link) {
            Some(rest) => {
                *out = rest;
                true
            }
            None => false,
        }
    }
}

/// A sender that gives idle links work more often than this is streaming. It is faster to batch its messages
/// until it yields to the links.
const STREAMING_INTERVAL: Duration = Duration::from_micros(100);

/// The times of a socket, in addition to those of its machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) handshake: Duration,
    pub(crate) min_reconnect_delay: Duration,
    pub(crate) max_reconnect_delay: Duration,
    /// The wait after a permanent refusal, if such refusals are retried.
    pub(crate) retry_refusals: Option<Duration>,
    pub(crate) close_wait: Duration,
    pub(crate) busy_poll: Duration,
}

/// The limits on handshakes and links, in addition to those of the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionLimits {
    pub(crate) handshakes: usize,
    pub(crate) handshakes_per_address: usize,
    pub(crate) links_per_address: usize,
}

pub(crate) struct Shared<M: SocketMachine> {
    inner: Mutex<Inner<M>>,
    pub(crate) wakers: Wakers,
    /// What this side sends in handshakes. The endpoint adds the pipeline, and `security` the tokens.
    pub(crate) local: Local,
    pub(crate) security: Security,
    /// By these the socket recognizes its peers (HS-9).
    pub(crate) keys: KeyMaker,
    pub(crate) times: Times,
    pub(crate) limits: ConnectionLimits,
    /// The links by network address (HS-13).
    pub(crate) address_counts: Arc<AddressCounts>,
    pub(crate) runtime: LinkRuntime,
    /// Cancelled when the socket stops listening and connecting. Its links live until they are closed.
    pub(crate) stop: CancellationToken,
    /// Cancelled when the socket has finished and remains only for peers that have missed its end (ST-3).
    pub(crate) stays: CancellationToken,
    origin: Instant,
    pub(crate) events: Feed,
    refusals: Arc<Throttled>,
    faults: Arc<Throttled>,
    failing: Arc<Throttled>,
    doubts: Arc<Throttled>,
}

impl<M: SocketMachine> Shared<M> {
    pub(crate) fn new(
        machine: M,
        state: M::State,
        (local, keys): (Local, KeyMaker),
        times: Times,
        bounds: ConnectionLimits,
        security: Security,
        place: LinkRuntime,
    ) -> Self {
        let inner = Inner {
            machine,
            state,
            endpoints: Endpoints::default(),
            lost: None,
            driver_wakers: HashMap::new(),
            ready_links: Vec::new(),
            timer: None,
            directs: HashMap::new(),
            pending_writes: PendingWrites::default(),
            last_alone: Time::default(),
        };
        let wakers = Wakers { ready: Notify::new(), changed: Notify::new(), timer: Arc::new(Notify::new()) };
        Self {
            inner: Mutex::new(inner),
            wakers,
            local,
            security,
            keys,
            times,
            limits: bounds,
            address_counts: Arc::default(),
            runtime: place,
            stop: CancellationToken::new(),
            stays: CancellationToken::new(),
            origin: Instant::now(),
            events: Feed::default(),
            refusals: Throttled::new("more refused"),
            faults: Throttled::new("more links ended in this way"),
            failing: Throttled::new("more messages keep failing"),
            doubts: Throttled::new("more links of doubtful identity"),
        }
    }

    pub(crate) fn now(&self) -> Time {
        Time(u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    pub(crate) fn instant(&self, time: Time) -> Instant {
        // Far enough for a timer that is reset after every change, and within the range of a timer.
        const MAX_TIMER: u64 = 3_600_000_000;
        let now = self.now();
        self.origin + Duration::from_micros(time.0.min(now.0.saturating_add(MAX_TIMER)))
    }

    #[inline]
    fn lock(&self) -> MutexGuard<'_, Inner<M>> {
        // A panic under the lock is a bug in this library; the machine is still the best record of what is
        // held.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Uses the machine, then wakes the drivers of links that have work.
    #[inline]
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Inner<M>) -> R) -> R {
        self.with_link(None, f)
    }

    /// Like [`Self::with`], for a driver: its own link needs no wake-up.
    #[inline]
    pub(crate) fn with_link<R>(&self, own: Option<LinkId>, f: impl FnOnce(&mut Inner<M>) -> R) -> R {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let result = f(inner);
        M::after(inner, &self.wakers);
        let later = M::take_deferred(&mut inner.state);
        let deadline = inner.machine.poll_socket_timeout();
        if deadline.is_some() && (inner.timer.is_none() || deadline < inner.timer) {
            inner.timer = deadline;
            self.wakers.timer.notify_one();
        }
        if inner.machine.has_ready_links() {
            wake_links(guard, own);
        } else {
            drop(guard);
        }
        later.wakers.into_iter().for_each(Waker::wake);
        for warning in later.warnings {
            self.failing.warn(&self.runtime.handle, format_args!("{warning}"));
        }
        result
    }

    /// Like [`Self::with`], for calls made for every message, after which [`SocketMachine::after`] would have nothing
    /// to do.
    #[inline]
    pub(crate) fn with_message<R>(&self, f: impl FnOnce(&mut Inner<M>) -> R) -> R {
        let mut guard = self.lock();
        let result = f(&mut guard);
        if guard.machine.has_ready_links() {
            wake_links(guard, None);
        }
        result
    }

    /// Like [`Self::with_message`], for a send. A message that is alone on its link is written at once,
    /// because the sender may continue to compute on the thread that the driver needs.
    #[inline]
    pub(crate) fn with_send<R>(&self, f: impl FnOnce(&mut Inner<M>) -> R) -> R {
        let mut guard = self.lock();
        let result = f(&mut guard);
        if guard.machine.has_ready_links() {
            let now = self.now();
            let before = std::mem::replace(&mut guard.last_alone, now);
            // The child of a fork shares the connections of its parent, and must not write to them.
            if now.since(before) >= STREAMING_INTERVAL && !self.runtime.is_of_other_process() {
                guard.write_at_once(now);
            }
            wake_links(guard, None);
        }
        result
    }

    /// Waits until `done` returns a value, checking again after every rare change. Cancel safe.
    pub(crate) async fn until<R>(&self, mut done: impl FnMut(&mut Inner<M>) -> Option<R>) -> R {
        loop {
            // Created before the check, so that no change is missed in between.
            let changed = self.wakers.changed.notified();
            if let Some(result) = self.with(&mut done) {
                return result;
            }
            if self.lost_by_fork()
                && let Some(result) = self.with(&mut done)
            {
                return result;
            }
            changed.await;
        }
    }

    /// Replaces the tokens, and tries endpoints again that have refused permanently.
    pub(crate) fn set_tokens(&self, tokens: Tokens) -> Result<(), SettingError> {
        self.security.set_tokens(tokens)?;
        self.with(|inner| inner.endpoints.revive());
        self.wakers.changed();
        Ok(())
    }

    pub(crate) fn report(&self, event: Event) {
        match &event {
            // Any host that reaches the port can cause these, so the log is throttled. The event queue has
            // its own limit.
            Event::RefusedPeer { .. } | Event::TlsFailed { .. } => {
                self.refusals.warn(&self.runtime.handle, format_args!("{event}"));
            }
            Event::Refused { .. } => tracing::warn!("{event}"),
            // Any peer with a link can cause these.
            Event::Disconnected { end, .. } if end.is_fault() => {
                self.faults.warn(&self.runtime.handle, format_args!("{event}"));
            }
            Event::Connected { .. } | Event::Disconnected { .. } | Event::Ended { .. } => {
                tracing::info!("{event}");
            }
            _ => tracing::debug!("{event}"),
        }
        self.events.send(event);
    }

    /// Warns that another process may know a secret of a peer (HS-9).
    pub(crate) fn doubt(&self, text: std::fmt::Arguments<'_>) {
        self.doubts.warn(&self.runtime.handle, text);
    }

    /// Reports the end of a pusher's stream, once for each pusher however many links it has.
    pub(crate) fn ended(&self, peer: &Peer) {
        let first = self.with(|inner| {
            let ended = &mut inner.endpoints.ended_peers;
            if ended.len() < MAX_ENDED {
                ended.insert(peer.instance)
            } else {
                !ended.contains(&peer.instance)
            }
        });
        if first {
            self.report(Event::Ended { peer: PeerInfo::from(peer) });
        }
    }

    pub(crate) fn opened(&self, link: LinkId, peer: &Peer) {
        self.with(|inner| inner.endpoints.opened(peer.instance));
        self.wakers.changed();
        self.report(Event::Connected { link: link.as_u64(), peer: PeerInfo::from(peer) });
    }

    /// Runs the timer of the socket as long as the socket exists: retries that are due.
    pub(crate) fn spawn_timer(self: &Arc<Self>) {
        // The task does not hold the socket while it sleeps, so that the socket can be dropped.
        let (keeper, earlier) = (SocketGuard::new(self), self.wakers.timer.clone());
        self.runtime.handle.spawn(async move {
            loop {
                let Some(strong) = keeper.socket() else { return };
                let deadline = strong.with(|inner| {
                    inner.timer = inner.machine.poll_socket_timeout();
                    inner.timer
                });
                let sleep = deadline.map(|at| tokio::time::sleep_until(strong.instant(at)));
                drop(strong);
                let idle = tokio::time::sleep(Duration::from_secs(1));
                tokio::select! {
                    biased;
                    () = async { match sleep { Some(sleep) => sleep.await, None => std::future::pending().await } } => {
                        let Some(strong) = keeper.socket() else { return };
                        // The owner of a payload may panic when it is dropped; the timer continues.
                        if let Err(panicked) = caught(|| strong.with(|inner| {
                            let now = strong.now();
                            inner.machine.handle_socket_timeout(now);
                        })) {
                            tracing::error!("the timer of a socket {panicked}");
                        }
                    }
                    () = earlier.notified() => {}
                    // With nothing due, check now and then whether the socket still exists.
                    () = idle => {}
                }
            }
        });
    }
}

/// Wakes the drivers of links that have work, after the lock is released.
fn wake_links<M: SocketMachine>(mut guard: MutexGuard<'_, Inner<M>>, own: Option<LinkId>) {
    let Inner { machine, ready_links, driver_wakers, .. } = &mut *guard;
    machine.poll_ready_links(ready_links);
    let mut others =
        ready_links.drain(..).filter(|id| Some(*id) != own).filter_map(|id| driver_wakers.get(&id).cloned());
    let first = others.next(); // there is rarely a second one
    let rest: Vec<_> = others.collect();
    drop(guard);
    first.into_iter().chain(rest).for_each(Waker::wake);
}

impl<M: SocketMachine> Inner<M> {
    pub(crate) fn set_waker(&mut self, link: LinkId, waker: &Waker) {
        match self.driver_wakers.get_mut(&link) {
            Some(old) => old.clone_from(waker),
            None => {
                self.driver_wakers.insert(link, waker.clone());
            }
        }
    }

    /// Removes the driver of a link.
    pub(crate) fn forget(&mut self, link: LinkId) {
        self.driver_wakers.remove(&link);
        self.directs.remove(&link);
        self.pending_writes.0.remove(&link);
    }

    /// Removes a driven link that has ended. In one step, so that a call that sees no links does not miss a
    /// puller to wait for (ST-3).
    pub(crate) fn closed(
        &mut self,
        now: Time,
        link: LinkId,
        peer: InstanceId,
        reason: &str,
    ) -> Option<LinkEnd> {
        let missed = self.machine.end_unanswered(link);
        let end = self.machine.handle_link_lost(now, link, reason);
        let interrupted = end.as_ref().is_some_and(|end| missed || end.is_interruption());
        self.endpoints.closed(peer, interrupted);
        end
    }

    /// Writes what was just given to idle links. Links that cannot take all of it stay in `ready_links`.
    fn write_at_once(&mut self, now: Time) {
        let mut ready_links = std::mem::take(&mut self.ready_links);
        self.machine.poll_ready_links(&mut ready_links);
        ready_links.retain(|id| !self.write_link(now, *id));
        self.ready_links = ready_links;
    }

    fn write_link(&mut self, now: Time, link: LinkId) -> bool {
        let Some(direct) = self.directs.get(&link).filter(|_| self.machine.is_idle(link)) else {
            return false;
        };
        let mut out = VecDeque::new();
        self.machine.poll_transmit(now, link, &mut out);
        let mut written = 0;
        while !out.is_empty() {
            // The driver finds the error again.
            let Ok(count @ 1..) = outgoing::with_pieces(&out, |pieces| direct.try_write(pieces)) else {
                break;
            };
            written += count;
            outgoing::advance(&mut out, count);
        }
        self.machine.handle_written(now, link, written);
        if out.is_empty() {
            return true;
        }
        self.pending_writes.0.insert(link, out);
        false
    }
}
