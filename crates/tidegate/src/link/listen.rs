//! Listens at an address, runs the handshakes, and passes each link to the socket that serves its pipeline.
//! One listener serves all sockets of the process that are bound to the same address.

use std::{
    collections::HashMap,
    io,
    ops::DerefMut,
    sync::{Arc, LazyLock, Mutex, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use tidegate_proto::{Code, KeyMaker, Peer, Rule, Violation, handshake::Local, shown, wire::FrameReader};
use tokio::{runtime, time::timeout};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::AbortOnDropHandle,
};

use super::{
    dial::closed,
    driver::{Attached, Driven, drive},
    greet::send,
};
use crate::{
    admission::{HandshakeScheduler, Handshakes, Security, origin},
    caught::{caught, caught_in},
    events::{Event, PeerInfo},
    of_process::OfProcess,
    socket::{Shared, SocketMachine},
    throttle::Throttled,
    transport::{Address, BoxStream, Endpoint, Listener, TransportSettings},
};

/// The pause after `accept` failed, for example because there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket, as a listener sees it.
pub(super) trait Serve: Send + Sync {
    fn local(&self) -> &Local;
    fn security(&self) -> &Security;
    fn keys(&self) -> &KeyMaker;
    fn handshake_time(&self) -> Duration;
    fn close_wait(&self) -> Duration;
    fn is_stopped(&self) -> bool;
    /// Whether another socket of the same pipeline may replace it: it has stopped, or only has the end of its
    /// stream to send.
    fn gives_way(&self) -> bool;
    /// Stops it, so that another socket can replace it.
    fn stop(&self);
    /// Opens a link for a peer that completed the handshake, or returns the stream with the reason against
    /// it.
    fn adopt(
        self: Arc<Self>,
        peer: Peer,
        stream: BoxStream,
        reader: FrameReader,
        answer: Bytes,
    ) -> Result<(), (BoxStream, Violation)>;
    fn report(&self, event: Event);
}

/// A socket, and the pipeline that it serves at this address.
struct Route<M: SocketMachine> {
    shared: Arc<Shared<M>>,
    local: Local,
}

impl<M: SocketMachine> Serve for Route<M> {
    fn local(&self) -> &Local {
        &self.local
    }

    fn security(&self) -> &Security {
        &self.shared.security
    }

    fn keys(&self) -> &KeyMaker {
        &self.shared.keys
    }

    fn handshake_time(&self) -> Duration {
        self.shared.times.handshake
    }

    fn close_wait(&self) -> Duration {
        self.shared.times.close_wait
    }

    fn is_stopped(&self) -> bool {
        self.shared.stop.is_cancelled()
    }

    fn gives_way(&self) -> bool {
        self.is_stopped() || self.shared.stays.is_cancelled()
    }

    fn stop(&self) {
        self.shared.stop.cancel();
    }

    fn adopt(
        self: Arc<Self>,
        peer: Peer,
        mut stream: BoxStream,
        reader: FrameReader,
        answer: Bytes,
    ) -> Result<(), (BoxStream, Violation)> {
        let shared = self.shared.clone();
        let max = shared.limits.links_per_address;
        let Some(place) = shared.address_counts.enter(&peer.address, max) else {
            let detail =
                format!("{max} links from your address are open, the maximum of max_links_per_address");
            return Err((stream, Violation { code: Code::Busy, rule: Rule::Hs13, detail }));
        };
        let (old, link) = shared.with(|inner| {
            let old = inner.machine.replaces(&peer).map(|old| old.address.clone());
            (old, inner.machine.open(shared.now(), peer.clone()))
        });
        let link = match link {
            Ok(link) => link,
            Err(violation) => return Err((stream, violation)),
        };
        if let Some(old) = old.filter(|old| origin(old) != origin(&peer.address)) {
            shared.doubt(format_args!(
                "{} has replaced the link of the same peer from {} ({}): the peer has moved, or another process \
                 knows its secret",
                PeerInfo::from(&peer),
                shown(&old),
                Rule::Hs9
            ));
        }
        // The link counts from here on, so calls that wait for links to end wait for it.
        let attached = Attached::new(&shared, link, "the Hello could not be sent");
        shared.runtime.handle.clone().spawn(async move {
            // The Hello must be written first: a peer that does not read it gets no link.
            let sent = timeout(shared.times.handshake, send(&mut stream, &answer)).await;
            if !matches!(sent, Ok(Ok(()))) {
                return;
            }
            attached.done();
            shared.opened(link, &peer);
            let Driven { end, .. } = drive(shared.clone(), link, stream, reader, peer.clone()).await;
            drop(place);
            closed(&shared, link.as_u64(), &peer, end);
        });
        Ok(())
    }

    fn report(&self, event: Event) {
        self.shared.report(event);
    }
}

/// A listening address of this process.
pub(super) struct Port {
    pub(super) address: Address,
    routes: Mutex<Vec<Arc<dyn Serve>>>,
    settings: TransportSettings,
    pub(super) handshakes: Arc<Handshakes>,
    pub(super) scheduler: HandshakeScheduler,
    pub(super) refusals: Arc<Throttled>,
    /// Cancelled when no socket is left that it serves.
    stop: CancellationToken,
    /// The runtime that runs the listener and polls the connections it accepted.
    runtime: runtime::Id,
}

/// The entry of a port in the table, for sockets that bind to the same address.
#[derive(Clone)]
struct PortEntry {
    port: Weak<Port>,
    /// Cancelled when the listener is dropped and the address is free.
    closed: CancellationToken,
}

/// Keyed by actual address and by the address as given, such as a host name.
static PORTS: LazyLock<OfProcess<HashMap<Address, PortEntry>>> = LazyLock::new(OfProcess::default);

/// A listener, and the guard that reports its end. Dropped in this order, also when the runtime is shut down.
struct Listening {
    listener: Listener,
    _closed: DropGuard,
}

/// Binds a socket to an endpoint, and returns the endpoint with a port of 0 replaced. Serves the socket until
/// it stops.
pub(crate) async fn bind<M: SocketMachine>(
    shared: &Arc<Shared<M>>,
    endpoint: &Endpoint,
) -> io::Result<Endpoint> {
    let local = Local { pipeline: endpoint.pipeline.clone(), ..shared.local.clone() };
    let route = Arc::new(Route { shared: shared.clone(), local });
    let settings = &shared.security.transport;
    while let Some(PortEntry { port, closed }) = existing(&endpoint.address) {
        if let Some(port) = port.upgrade()
            && port.add(&route)?
        {
            return Ok(endpoint.at(port.address.clone()));
        }
        // The sockets that were bound there have stopped, and their listener is about to be dropped, if its
        // runtime is polled.
        if timeout(shared.times.handshake, closed.cancelled()).await.is_err() {
            let message = "address in use: a stopped socket in this process still holds it because its runtime \
                           is not being polled";
            return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
        }
    }
    let (listener, address) = endpoint.address.bind(settings).await?;
    let port = Arc::new(Port {
        address: address.clone(),
        routes: Mutex::new(vec![route.clone()]),
        settings: settings.clone(),
        handshakes: Handshakes::new(shared.limits.handshakes, shared.limits.handshakes_per_address),
        scheduler: HandshakeScheduler::default(),
        refusals: Throttled::new("more refused"),
        stop: CancellationToken::new(),
        runtime: shared.runtime.handle.id(),
    });
    port.prune_after(&route);
    let closed = CancellationToken::new();
    let entry = PortEntry { port: Arc::downgrade(&port), closed: closed.clone() };
    let mut ports = ports();
    if !endpoint.address.is_chosen_by_bind() {
        ports.insert(endpoint.address.clone(), entry.clone());
    }
    ports.insert(address.clone(), entry);
    drop(ports);
    shared.runtime.handle.spawn(port.run(Listening { listener, _closed: closed.drop_guard() }));
    Ok(endpoint.at(address))
}

fn ports() -> impl DerefMut<Target = HashMap<Address, PortEntry>> {
    PORTS.lock()
}

fn existing(address: &Address) -> Option<PortEntry> {
    let mut ports = ports();
    ports.retain(|_, entry| !entry.closed.is_cancelled());
    ports.get(address).cloned()
}

impl Port {
    /// Checks whether this listener can serve a socket with these settings, whatever its pipeline.
    fn check<M: SocketMachine>(&self, route: &Route<M>) -> io::Result<()> {
        self.address.check_shared(&self.settings, &route.shared.security.transport)?;
        // A connection belongs to the runtime that accepted it; on another runtime its link could stall.
        if route.shared.runtime.handle.id() != self.runtime {
            let message = "a socket of this process is bound there, and its links run on another thread; set \
                           io_thread(true) on both or on neither";
            return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
        }
        Ok(())
    }

    /// Serves one more socket. Returns false if all its sockets have stopped, or give way to one that it
    /// cannot serve; the listener then accepts nothing more and ends.
    fn add<M: SocketMachine>(self: &Arc<Self>, route: &Arc<Route<M>>) -> io::Result<bool> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        // Stopped sockets may not have been removed yet.
        if routes.iter().all(|other| other.is_stopped()) {
            self.stop.cancel();
            return Ok(false);
        }
        if let Err(error) = self.check(route) {
            if !routes.iter().all(|other| other.gives_way()) {
                return Err(error);
            }
            routes.iter().for_each(|other| other.stop());
            self.stop.cancel();
            return Ok(false);
        }
        let same = |other: &Arc<dyn Serve>| {
            let (own, other_one) = (&route.local, other.local());
            !other.gives_way() && other_one.pipeline == own.pipeline && other_one.role == own.role
        };
        if routes.iter().any(same) {
            let message = "a socket of this process already serves the same pipeline there";
            return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
        }
        routes.push(route.clone());
        drop(routes);
        self.prune_after(route);
        Ok(true)
    }

    fn prune_after<M: SocketMachine>(self: &Arc<Self>, route: &Route<M>) {
        let (port, stop) = (Arc::downgrade(self), route.shared.stop.clone());
        route.shared.runtime.handle.spawn(async move {
            stop.cancelled().await;
            if let Some(port) = port.upgrade() {
                port.prune();
            }
        });
    }

    /// Removes sockets that have stopped. If none is left, releases the address.
    fn prune(&self) {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let stopped: Vec<_> = routes.extract_if(.., |route| route.is_stopped()).collect();
        if routes.is_empty() {
            self.stop.cancel();
        }
        drop(routes);
        drop(stopped); // outside the lock, because it drops all that the sockets hold
    }

    /// The sockets, those that have stopped last: another socket of the same pipeline may have replaced them.
    pub(super) fn routes(&self) -> Vec<Arc<dyn Serve>> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        routes.sort_by_key(|route| route.gives_way());
        routes
    }

    async fn run(self: Arc<Self>, mut listening: Listening) {
        let keeper = self.clone();
        let keep = AbortOnDropHandle::new(tokio::spawn(async move { keeper.scheduler.refill_turns().await }));
        // The futures and the listener of a transport may panic when they are dropped.
        while let Err(panicked) = caught_in(self.accept_all(&mut listening.listener)).await {
            tracing::error!("the listener at {} {panicked}", self.address);
            if self.stop.is_cancelled() {
                break;
            }
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
        if let Err(panicked) = caught(|| drop(listening)) {
            tracing::error!("the end of the listener at {} {panicked}", self.address);
        }
        drop(keep);
        // Connections in a handshake are refused in time; they hold the sockets until then.
        self.scheduler.disable();
    }

    async fn accept_all(self: &Arc<Self>, listener: &mut Listener) {
        let mut failed: u64 = 0;
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                accepted = self.scheduler.run(listener.accept()) => accepted,
            };
            match accepted {
                Ok((stream, address)) => {
                    if failed > 0 {
                        tracing::info!("accepting again at {} after {failed} failed attempts", self.address);
                        failed = 0;
                    }
                    self.clone().greet(stream, address);
                }
                // The peer disconnected before it was accepted, which does not affect the next connection.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    failed += 1;
                    // The condition may last for days, and must not fill a disk with log lines.
                    if failed.is_power_of_two() {
                        tracing::warn!(
                            "cannot accept at {}: {error}; failed attempts: {failed}",
                            self.address
                        );
                    }
                    // Unauthenticated connections are the first to free their descriptors.
                    if is_out_of_descriptors(&error) {
                        self.handshakes.make_room();
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Whether the process or the whole system has reached its limit of open files.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}
