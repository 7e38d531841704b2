//! The state that a socket's handles and links share: the machine behind one lock, and what follows a use of it.
//!
//! ```text
//! handles, drivers ──► with… ──► lock: Inner (machine, Endpoints, PendingWrites) ──► Wakers
//!                                        ▲
//!                                      timer
//! ```

mod direct_write;
mod endpoints;
mod lost;
mod machine;
pub(crate) mod outgoing;
mod timer;
mod times;
mod wakers;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::Duration,
};

use tidegate_proto::{
    InstanceId, KeyMaker, LinkEnd, LinkId, Peer, SettingError, Time, Tokens, handshake::Local,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::{direct_write::PendingWrites, endpoints::Endpoints, wakers::wake_links};
pub(crate) use self::{
    lost::LossReason,
    machine::{Deferred, SocketMachine},
    times::{ConnectionLimits, Times},
    wakers::Wakers,
};
use crate::{
    admission::{AddressCounts, Security},
    events::{Event, Feed, PeerInfo},
    io_thread::LinkRuntime,
    throttle::Throttled,
    transport::Direct,
};

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

/// A sender that gives idle links work more often than this is streaming. It is faster to batch its messages
/// until it yields to the links.
const STREAMING_INTERVAL: Duration = Duration::from_micros(100);

pub(crate) struct Shared<M: SocketMachine> {
    inner: Mutex<Inner<M>>,
    pub(crate) outside: M::Outside,
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
        (state, outside): (M::State, M::Outside),
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
        let wakers = Wakers::new();
        Self {
            inner: Mutex::new(inner),
            outside,
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
            Event::SubsetChosen { .. }
            | Event::Connected { .. }
            | Event::Disconnected { .. }
            | Event::Ended { .. } => {
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
        if self.with(|inner| inner.endpoints.peers.handle_end(peer.instance)) {
            self.report(Event::Ended { peer: PeerInfo::from(peer) });
        }
    }

    pub(crate) fn opened(&self, link: LinkId, peer: &Peer) {
        self.with(|inner| inner.endpoints.peers.handle_opened(peer.instance));
        self.wakers.changed();
        self.report(Event::Connected { link: link.as_u64(), peer: PeerInfo::from(peer) });
    }
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
        self.pending_writes.forget(link);
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
        self.endpoints.peers.handle_closed(peer, interrupted);
        end
    }
}
