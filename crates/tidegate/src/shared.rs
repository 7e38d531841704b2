//! What the handles of a socket and its links share: the machine behind one lock, and the means to wake who waits.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::Duration,
};

use bytes::Bytes;
use tidegate_proto::{
    InstanceId, KeyMaker, LinkEnd, LinkId, Machine, SettingError, Time, Tokens, handshake::Local,
};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    caught::caught,
    crowd::Crowd,
    endpoint::Endpoint,
    error::Refusal,
    events::{Event, Feed, PeerInfo},
    io_thread::Place,
    link::outgoing,
    lost::{Keeper, Lost},
    security::Security,
    throttle::Throttled,
    transport::Direct,
};

/// Pullers whose return is hoped for at the end of a stream (ST-3); more are not worth waiting for.
const MISSING: usize = 1_024;
/// Pushers whose end is told once although they have several links; more may be told of more often.
const ENDED: usize = 1_024;

/// A role: its machine, and what the library keeps beside it under the same lock.
pub(crate) trait Role: Machine + Send + Sized + 'static {
    type State: Send;

    /// Whether what this role sends gives way to what else the program has to do: acks do, so that the next message of a
    /// program that asks and answers is not behind them.
    const GIVES_WAY: bool;

    /// Runs after every use of the machine, still under the lock: passes on what has happened.
    fn after(inner: &mut Inner<Self>, signals: &Signals);

    /// What is to be done as soon as the lock is free.
    fn take_later(_state: &mut Self::State) -> Later {
        Later::default()
    }

    /// A link has been opened and is about to be driven.
    fn opened(_inner: &mut Inner<Self>, _link: LinkId, _shared: &Arc<Shared<Self>>) {}

    /// Whether something has been settled over the link (RD-6).
    fn is_proven(&self, link: LinkId) -> bool;

    /// Whether the peer has ended its stream over this link (ST-6).
    fn has_ended(&self, link: LinkId) -> bool;

    /// Whether the stream is over for both sides of the link: there is no point in connecting to the peer again (ST-3, ST-6).
    fn is_over(&self, link: LinkId) -> bool;

    /// Whether the peer may not know that our stream is over, although the link was closed for that (ST-3).
    fn may_miss_end(&self, _link: LinkId) -> bool {
        false
    }

    /// Whether the socket has come to its end in order, whether that was noticed or not.
    fn at_end(inner: &Inner<Self>) -> bool;

    /// Nothing runs the links any more: takes nothing new, and hands nothing out. False if the socket had come to its end before.
    fn lose(inner: &mut Inner<Self>, now: Time) -> bool;

    /// Whether an endpoint is connected to again after the stream there has ended: another may begin.
    fn stays(_state: &Self::State) -> bool {
        false
    }
}

/// What must not be done under the lock, because it may use the socket.
#[derive(Default)]
pub(crate) struct Later {
    pub(crate) wakers: Vec<Waker>,
    pub(crate) warnings: Vec<String>,
}

/// Who waits for what.
pub(crate) struct Signals {
    /// A delivery for a recv: one at a time, first come first served. Of a pusher, something to do for the task that looks after
    /// its line.
    pub(crate) ready: Notify,
    /// Something rare has changed: links, ends, refusals, a drain. All look again, in the order in which they began to
    /// wait.
    changed: Notify,
    /// The deadline of the socket may have become earlier.
    timer: Arc<Notify>,
}

impl Signals {
    pub(crate) fn changed(&self) {
        self.changed.notify_waiters();
    }
}

/// What is known of the endpoints that the socket binds and connects to.
#[derive(Default)]
pub(crate) struct Places {
    pub(crate) bound: Vec<Endpoint>,
    /// Endpoints that are connected to, or tried.
    pub(crate) dialing: usize,
    /// Endpoints that are not connected to any more, because a stream has ended: the pusher's there, or ours.
    pub(crate) ended: usize,
    /// Endpoints that refused for good, one entry at most for each.
    pub(crate) refused: Vec<Refusal>,
    /// How many of those `recv` has told.
    told: usize,
    /// How often those that refused were given another try.
    pub(crate) revivals: u64,
    /// Peers with which there are links, and how many. By what they say of themselves (HS-8), for one that comes back over another
    /// endpoint is back: a peer that claims the same instance can end or prolong the wait for it (ST-3), and nothing else.
    present: HashMap<InstanceId, usize>,
    /// Pushers whose end was told as an event.
    ended_peers: HashSet<InstanceId>,
    /// Peers whose last link was interrupted, or ended before they had the end of our stream, and that have not come back.
    pub(crate) missing: Vec<InstanceId>,
}

impl Places {
    /// A refusal that was not told yet.
    pub(crate) fn tell(&mut self) -> Option<Refusal> {
        let refusal = self.refused.get(self.told).cloned()?;
        self.told += 1;
        Some(refusal)
    }

    /// An endpoint has refused for good. False if there was another try since `revivals` was read: then this was none of it.
    pub(crate) fn refuse(&mut self, refusal: Refusal, revivals: u64) -> bool {
        if self.revivals != revivals {
            return false;
        }
        self.dialing -= 1;
        self.refused.push(refusal);
        true
    }

    /// Endpoints that refused are connected to again.
    fn revive(&mut self) {
        self.revivals += 1;
        self.dialing += self.refused.len();
        self.refused.clear();
        self.told = 0;
    }

    /// Whether this peer is one of the missing.
    pub(crate) fn misses(&self, peer: InstanceId) -> bool {
        self.missing.contains(&peer)
    }

    /// Whether a peer is missing that may still come back: it may come to an endpoint, or be found at one.
    pub(crate) fn expects_return(&self) -> bool {
        let reachable = self.dialing > 0 || !self.bound.is_empty() || !self.refused.is_empty();
        reachable && !self.missing.is_empty()
    }

    /// An endpoint is not connected to any more: the stream has ended there. `lost`: the peer that was there before, which will not
    /// be found there again.
    pub(crate) fn end(&mut self, lost: Option<InstanceId>) {
        self.dialing -= 1;
        self.ended += 1;
        self.missing.retain(|peer| Some(*peer) != lost);
    }

    /// A link is open.
    fn opened(&mut self, peer: InstanceId) {
        *self.present.entry(peer).or_default() += 1;
        self.missing.retain(|other| *other != peer);
    }

    /// A link has ended; `interrupted`: nobody has said that it goes, and the peer may come back (RD-8), or it may have missed the
    /// end of our stream.
    fn closed(&mut self, peer: InstanceId, interrupted: bool) {
        if let Some(links) = self.present.get_mut(&peer)
            && *links > 1
        {
            // Its old link may be given up after it has come back over a new one.
            *links -= 1;
            return;
        }
        self.present.remove(&peer);
        if interrupted && self.missing.len() < MISSING {
            self.missing.push(peer);
        }
    }
}

pub(crate) struct Inner<M: Role> {
    pub(crate) machine: M,
    pub(crate) state: M::State,
    pub(crate) places: Places,
    /// Why the socket has ended, if it did so by itself.
    pub(crate) lost: Option<Lost>,
    wakers: HashMap<LinkId, Waker>,
    wakes: Vec<LinkId>,
    timer: Option<Time>,
    /// Writing ends for sends that find their link idle.
    pub(crate) directs: HashMap<LinkId, Arc<dyn Direct>>,
    pub(crate) leftovers: Leftovers,
    /// When a send has last given an idle link something.
    last_alone: Time,
}

/// What such a send could not write at once, for the driver: nothing else is written before it.
#[derive(Default)]
pub(crate) struct Leftovers(HashMap<LinkId, VecDeque<Bytes>>);

impl Leftovers {
    /// Gives the driver what is left. False if nothing is.
    pub(crate) fn take(&mut self, link: LinkId, out: &mut VecDeque<Bytes>) -> bool {
        // Asked once a round, and nearly always empty.
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

/// A sender that gives an idle link something more often than this is streaming: its links are better off with what
/// it has gathered when it lets them run.
const STREAMING: Duration = Duration::from_micros(100);

/// The times of a socket's own, beside those of its machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) handshake: Duration,
    pub(crate) reconnect_first: Duration,
    pub(crate) reconnect_longest: Duration,
    /// The wait after a refusal for good, if it is not taken as that.
    pub(crate) retry_refusals: Option<Duration>,
    pub(crate) close_wait: Duration,
    pub(crate) busy_poll: Duration,
}

/// How many strangers and links a socket takes, beside the bounds of its machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) handshakes: usize,
    pub(crate) handshakes_per_address: usize,
    pub(crate) links_per_address: usize,
}

pub(crate) struct Shared<M: Role> {
    inner: Mutex<Inner<M>>,
    pub(crate) signals: Signals,
    /// What this side says in handshakes; the pipeline is that of the endpoint, and the tokens those of `security`.
    pub(crate) local: Local,
    pub(crate) security: Security,
    /// By which it knows its peers again (HS-9).
    pub(crate) keys: KeyMaker,
    pub(crate) times: Times,
    pub(crate) bounds: Bounds,
    /// Its links, by where they come from (HS-13).
    pub(crate) crowd: Arc<Crowd>,
    pub(crate) place: Place,
    /// Cancelled when the socket listens and connects no more; its links live on until they are closed.
    pub(crate) stop: CancellationToken,
    /// Cancelled when it has finished, and is there only for those that have missed the end (ST-3).
    pub(crate) stays: CancellationToken,
    origin: Instant,
    pub(crate) events: Feed,
    refusals: Arc<Throttled>,
    faults: Arc<Throttled>,
    failing: Arc<Throttled>,
    doubts: Arc<Throttled>,
}

impl<M: Role> Shared<M> {
    pub(crate) fn new(
        machine: M,
        state: M::State,
        (local, keys): (Local, KeyMaker),
        times: Times,
        bounds: Bounds,
        security: Security,
        place: Place,
    ) -> Self {
        let inner = Inner {
            machine,
            state,
            places: Places::default(),
            lost: None,
            wakers: HashMap::new(),
            wakes: Vec::new(),
            timer: None,
            directs: HashMap::new(),
            leftovers: Leftovers::default(),
            last_alone: Time::default(),
        };
        let signals =
            Signals { ready: Notify::new(), changed: Notify::new(), timer: Arc::new(Notify::new()) };
        Self {
            inner: Mutex::new(inner),
            signals,
            local,
            security,
            keys,
            times,
            bounds,
            crowd: Arc::default(),
            place,
            stop: CancellationToken::new(),
            stays: CancellationToken::new(),
            origin: Instant::now(),
            events: Feed::default(),
            refusals: Throttled::new("more refused"),
            faults: Throttled::new("more links have ended like this"),
            failing: Throttled::new("more messages fail again and again"),
            doubts: Throttled::new("more links of which it is not certain whose they are"),
        }
    }

    pub(crate) fn now(&self) -> Time {
        Time(u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    pub(crate) fn instant(&self, time: Time) -> Instant {
        // Far enough for a timer that is reset whenever something happens, and within what a timer can hold.
        const FAR: u64 = 3_600_000_000;
        let now = self.now();
        self.origin + Duration::from_micros(time.0.min(now.0.saturating_add(FAR)))
    }

    #[inline]
    fn lock(&self) -> MutexGuard<'_, Inner<M>> {
        // A panic under the lock is a bug of ours; the machine is still the best account of what is held.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Uses the machine, then wakes the drivers that have something to do.
    #[inline]
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Inner<M>) -> R) -> R {
        self.with_link(None, f)
    }

    /// As [`Self::with`], for a driver: its own link needs no wake-up.
    #[inline]
    pub(crate) fn with_link<R>(&self, own: Option<LinkId>, f: impl FnOnce(&mut Inner<M>) -> R) -> R {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let result = f(inner);
        M::after(inner, &self.signals);
        let later = M::take_later(&mut inner.state);
        let deadline = inner.machine.socket_deadline();
        if deadline.is_some() && (inner.timer.is_none() || deadline < inner.timer) {
            inner.timer = deadline;
            self.signals.timer.notify_one();
        }
        if inner.machine.has_wakes() {
            wake_links(guard, own);
        } else {
            drop(guard);
        }
        later.wakers.into_iter().for_each(Waker::wake);
        for warning in later.warnings {
            self.failing.warn(&self.place.handle, format_args!("{warning}"));
        }
        result
    }

    /// As [`Self::with`], for what is done with every single message: nothing comes of `f` that [`Role::after`] would
    /// have to pass on.
    #[inline]
    pub(crate) fn with_message<R>(&self, f: impl FnOnce(&mut Inner<M>) -> R) -> R {
        let mut guard = self.lock();
        let result = f(&mut guard);
        if guard.machine.has_wakes() {
            wake_links(guard, None);
        }
        result
    }

    /// As [`Self::with_message`], for a send: a message that is alone on its link is written at once, for the sender may
    /// go on to compute for long on the thread that the driver needs.
    #[inline]
    pub(crate) fn with_send<R>(&self, f: impl FnOnce(&mut Inner<M>) -> R) -> R {
        let mut guard = self.lock();
        let result = f(&mut guard);
        if guard.machine.has_wakes() {
            let now = self.now();
            let before = std::mem::replace(&mut guard.last_alone, now);
            // A child of a fork has the connections of its parent, and must not write to them.
            if now.since(before) >= STREAMING && !self.place.is_of_other_process() {
                guard.write_at_once(now);
            }
            wake_links(guard, None);
        }
        result
    }

    /// Waits until `done` gives something, looking again whenever something rare changes. Cancel safe.
    pub(crate) async fn until<R>(&self, mut done: impl FnMut(&mut Inner<M>) -> Option<R>) -> R {
        loop {
            // Made before the look, so that no change goes by in between.
            let changed = self.signals.changed.notified();
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

    /// Takes new tokens, and tries endpoints again that have refused for good.
    pub(crate) fn set_tokens(&self, tokens: Tokens) -> Result<(), SettingError> {
        self.security.set_tokens(tokens)?;
        self.with(|inner| inner.places.revive());
        self.signals.changed();
        Ok(())
    }

    pub(crate) fn report(&self, event: Event) {
        match &event {
            // Whoever can reach the port can cause these: the log is bounded, the events are by their own bound.
            Event::RefusedPeer { .. } | Event::TlsFailed { .. } => {
                self.refusals.warn(&self.place.handle, format_args!("{event}"));
            }
            Event::Refused { .. } => tracing::warn!("{event}"),
            // So can whoever is let in.
            Event::Disconnected { end, .. } if end.is_fault() => {
                self.faults.warn(&self.place.handle, format_args!("{event}"));
            }
            Event::Connected { .. } | Event::Disconnected { .. } | Event::Ended { .. } => {
                tracing::info!("{event}");
            }
            _ => tracing::debug!("{event}"),
        }
        self.events.send(event);
    }

    /// Somebody may show what only another peer should know (HS-9).
    pub(crate) fn doubt(&self, text: std::fmt::Arguments<'_>) {
        self.doubts.warn(&self.place.handle, text);
    }

    /// A pusher has ended its stream: told once, over however many links it says so.
    pub(crate) fn ended(&self, peer: &tidegate_proto::Peer) {
        let first = self.with(|inner| {
            let ended = &mut inner.places.ended_peers;
            if ended.len() < ENDED { ended.insert(peer.instance) } else { !ended.contains(&peer.instance) }
        });
        if first {
            self.report(Event::Ended { peer: PeerInfo::from(peer) });
        }
    }

    pub(crate) fn opened(&self, link: LinkId, peer: &tidegate_proto::Peer) {
        self.with(|inner| inner.places.opened(peer.instance));
        self.signals.changed();
        self.report(Event::Connected { link: link.as_u64(), peer: PeerInfo::from(peer) });
    }

    /// Runs the timer of the socket for as long as it exists: retries that are due.
    pub(crate) fn spawn_timer(self: &Arc<Self>) {
        // It does not hold the socket while it sleeps, so that the socket can end.
        let (keeper, earlier) = (Keeper::new(self), self.signals.timer.clone());
        self.place.handle.spawn(async move {
            loop {
                let Some(strong) = keeper.socket() else { return };
                let deadline = strong.with(|inner| {
                    inner.timer = inner.machine.socket_deadline();
                    inner.timer
                });
                let sleep = deadline.map(|at| tokio::time::sleep_until(strong.instant(at)));
                drop(strong);
                let idle = tokio::time::sleep(Duration::from_secs(1));
                tokio::select! {
                    biased;
                    () = async { match sleep { Some(sleep) => sleep.await, None => std::future::pending().await } } => {
                        let Some(strong) = keeper.socket() else { return };
                        // A payload's owner may panic when it is dropped; the timer goes on.
                        if let Err(panicked) = caught(|| strong.with(|inner| {
                            let now = strong.now();
                            inner.machine.advance_socket(now);
                        })) {
                            tracing::error!("the timer of a socket {panicked}");
                        }
                    }
                    () = earlier.notified() => {}
                    // Nothing to do: look now and then whether the socket is still there.
                    () = idle => {}
                }
            }
        });
    }
}

/// Wakes the drivers of the links that have something to do, when the lock is free again.
fn wake_links<M: Role>(mut guard: MutexGuard<'_, Inner<M>>, own: Option<LinkId>) {
    let Inner { machine, wakes, wakers, .. } = &mut *guard;
    machine.take_wakes(wakes);
    let mut others = wakes.drain(..).filter(|id| Some(*id) != own).filter_map(|id| wakers.get(&id).cloned());
    let first = others.next(); // there is seldom another
    let rest: Vec<_> = others.collect();
    drop(guard);
    first.into_iter().chain(rest).for_each(Waker::wake);
}

impl<M: Role> Inner<M> {
    pub(crate) fn set_waker(&mut self, link: LinkId, waker: &Waker) {
        match self.wakers.get_mut(&link) {
            Some(old) => old.clone_from(waker),
            None => {
                self.wakers.insert(link, waker.clone());
            }
        }
    }

    /// The link is not driven any more.
    pub(crate) fn forget(&mut self, link: LinkId) {
        self.wakers.remove(&link);
        self.directs.remove(&link);
        self.leftovers.0.remove(&link);
    }

    /// A driven link has ended: removes it. In one step, so that nobody who sees that there are no links waits for too few
    /// pullers (ST-3).
    pub(crate) fn closed(
        &mut self,
        now: Time,
        link: LinkId,
        peer: InstanceId,
        reason: &str,
    ) -> Option<LinkEnd> {
        let missed = self.machine.may_miss_end(link);
        let end = self.machine.lost(now, link, reason);
        let interrupted = end.as_ref().is_some_and(|end| missed || end.is_interruption());
        self.places.closed(peer, interrupted);
        end
    }

    /// Writes what the links have that were just given something. Those that cannot take all of it stay among the wakes.
    fn write_at_once(&mut self, now: Time) {
        let mut wakes = std::mem::take(&mut self.wakes);
        self.machine.take_wakes(&mut wakes);
        wakes.retain(|id| !self.write_link(now, *id));
        self.wakes = wakes;
    }

    fn write_link(&mut self, now: Time, link: LinkId) -> bool {
        let Some(direct) = self.directs.get(&link).filter(|_| self.machine.is_idle(link)) else {
            return false;
        };
        let mut out = VecDeque::new();
        self.machine.transmit(now, link, &mut out);
        let mut written = 0;
        while !out.is_empty() {
            // An error is found again by the driver.
            let Ok(count @ 1..) = outgoing::with_pieces(&out, |pieces| direct.try_write(pieces)) else {
                break;
            };
            written += count;
            outgoing::advance(&mut out, count);
        }
        self.machine.written(now, link, written);
        if out.is_empty() {
            return true;
        }
        self.leftovers.0.insert(link, out);
        false
    }
}
