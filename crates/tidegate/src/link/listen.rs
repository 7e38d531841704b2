//! Listens at an address, greets whoever comes, and hands each to the socket that serves its pipeline. One listener
//! serves all sockets of the process that are bound to the same address.

use std::{
    collections::HashMap,
    io,
    ops::DerefMut,
    sync::{Arc, LazyLock, Mutex, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use tidegate_proto::{Code, KeyMaker, Peer, Violation, handshake::Local, shown, wire::FrameReader};
use tokio::{runtime, time::timeout};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::AbortOnDropHandle,
};

use super::{
    dial::closed,
    driver::{Attached, Driven, drive},
    greet::send,
    handshakes::Handshakes,
    turnstile::Turnstile,
};
use crate::{
    caught::{caught, caught_in},
    crowd::origin,
    endpoint::{Address, Endpoint},
    events::{Event, PeerInfo},
    of_process::OfProcess,
    security::Security,
    shared::{Role, Shared},
    throttle::Throttled,
    tls::Tls,
    transport::{BoxStream, Listener},
};

/// What a listener does after `accept` failed, for example because there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket, as a listener sees it.
pub(super) trait Serve: Send + Sync {
    fn local(&self) -> &Local;
    fn security(&self) -> &Security;
    fn keys(&self) -> &KeyMaker;
    fn handshake_time(&self) -> Duration;
    fn close_wait(&self) -> Duration;
    fn is_stopped(&self) -> bool;
    /// Whether another socket of its pipeline may take its place: it has stopped, or has only the end of its stream to tell.
    fn gives_way(&self) -> bool;
    /// Makes it give way for good.
    fn stop(&self);
    /// Takes a stranger that has passed; or gives the stream back with the reason why not.
    fn adopt(
        self: Arc<Self>,
        peer: Peer,
        stream: BoxStream,
        reader: FrameReader,
        answer: Bytes,
    ) -> Result<(), (BoxStream, Violation)>;
    fn report(&self, event: Event);
}

/// A socket and the pipeline that it serves at this address.
struct Route<M: Role> {
    shared: Arc<Shared<M>>,
    local: Local,
}

impl<M: Role> Serve for Route<M> {
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
        let most = shared.bounds.links_per_address;
        let Some(place) = shared.crowd.enter(&peer.address, most) else {
            let detail =
                format!("{most} links of your address are open, as many as max_links_per_address allows");
            return Err((stream, Violation { code: Code::Busy, rule: "HS-13", detail }));
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
                "{} has taken over the link of the same peer at {} (HS-9): it has moved, or somebody knows its secret",
                PeerInfo::from(&peer),
                shown(&old)
            ));
        }
        // It counts from here on: who waits for links to end waits for this one.
        let attached = Attached::new(&shared, link, "the Hello could not be sent");
        shared.place.handle.clone().spawn(async move {
            // Our Hello goes first, and a peer that does not read it has no link.
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
    tls: Option<Tls>,
    unix_mode: Option<u32>,
    pub(super) handshakes: Arc<Handshakes>,
    pub(super) turnstile: Turnstile,
    pub(super) refusals: Arc<Throttled>,
    /// Cancelled when nobody is left that it serves.
    stop: CancellationToken,
    /// Which runtime runs it, and hears of what comes over its connections.
    runtime: runtime::Id,
}

/// A port, as those see it that want to bind there.
#[derive(Clone)]
struct Entry {
    port: Weak<Port>,
    /// Cancelled when its listener is gone, and the address is free.
    closed: CancellationToken,
}

/// By address, also as it was written: a name, for example.
static PORTS: LazyLock<OfProcess<HashMap<Address, Entry>>> = LazyLock::new(OfProcess::default);

/// A listener, and who waits for it to be gone. Dropped in this order, also when the runtime is shut down.
struct Listening {
    listener: Listener,
    _closed: DropGuard,
}

/// Binds a socket to an endpoint, and returns it with a port of 0 resolved. The socket is served until it stops.
pub(crate) async fn bind<M: Role>(shared: &Arc<Shared<M>>, endpoint: &Endpoint) -> io::Result<Endpoint> {
    let local = Local { pipeline: endpoint.pipeline.clone(), ..shared.local.clone() };
    let route = Arc::new(Route { shared: shared.clone(), local });
    let tls = shared.security.tls.as_ref();
    while let Some(Entry { port, closed }) = existing(&endpoint.address) {
        if let Some(port) = port.upgrade()
            && port.add(&route, tls)?
        {
            return Ok(endpoint.at(port.address.clone()));
        }
        // Whoever was bound there has stopped, and its listener is about to be dropped, unless its runtime stands still.
        if timeout(shared.times.handshake, closed.cancelled()).await.is_err() {
            let message =
                "a socket of this process that has stopped is still bound there: its runtime does not run";
            return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
        }
    }
    let (listener, address) = Listener::bind(&endpoint.address, tls, shared.security.unix_mode).await?;
    let port = Arc::new(Port {
        address: address.clone(),
        routes: Mutex::new(vec![route.clone()]),
        tls: tls.cloned(),
        unix_mode: shared.security.unix_mode,
        handshakes: Handshakes::new(shared.bounds.handshakes, shared.bounds.handshakes_per_address),
        turnstile: Turnstile::default(),
        refusals: Throttled::new("more refused"),
        stop: CancellationToken::new(),
        runtime: shared.place.handle.id(),
    });
    port.prune_after(&route);
    let closed = CancellationToken::new();
    let entry = Entry { port: Arc::downgrade(&port), closed: closed.clone() };
    let mut ports = ports();
    if let Address::Tcp { port: 1.., .. } | Address::Tls { port: 1.., .. } = endpoint.address {
        ports.insert(endpoint.address.clone(), entry.clone());
    }
    ports.insert(address.clone(), entry);
    drop(ports);
    shared.place.handle.spawn(port.run(Listening { listener, _closed: closed.drop_guard() }));
    Ok(endpoint.at(address))
}

fn ports() -> impl DerefMut<Target = HashMap<Address, Entry>> {
    PORTS.lock()
}

fn existing(address: &Address) -> Option<Entry> {
    let mut ports = ports();
    ports.retain(|_, entry| !entry.closed.is_cancelled());
    ports.get(address).cloned()
}

impl Port {
    /// One address has one certificate, and one way to change it (TL-8).
    fn check_tls(&self, other: Option<&Tls>) -> io::Result<()> {
        let same = match (&self.tls, other) {
            (Some(own), Some(other)) => own.is(other),
            (own, other) => own.is_none() && other.is_none(),
        };
        if same || !matches!(self.address, Address::Tls { .. }) {
            return Ok(());
        }
        let message = "this process is bound there with other TLS settings; clones of one Tls would be right";
        Err(io::Error::new(io::ErrorKind::AddrInUse, message))
    }

    /// Whether it can serve a socket with these settings, whatever its pipeline.
    fn check<M: Role>(&self, route: &Route<M>, tls: Option<&Tls>) -> io::Result<()> {
        self.check_tls(tls)?;
        if let Some(mode) = route.shared.security.unix_mode
            && matches!(self.address, Address::Unix { .. })
            && self.unix_mode != Some(mode)
        {
            let message = format!(
                "a socket of this process is bound there without unix_mode {mode:o}; give the same one to both"
            );
            return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
        }
        // Connections belong to the runtime that has accepted them: the links of a socket on another one would hang on it.
        if route.shared.place.handle.id() != self.runtime {
            let message = "a socket of this process is bound there, and its links run on another thread: give io_thread(true) to both or to none";
            return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
        }
        Ok(())
    }

    /// Serves one more socket. False if everybody that it served has stopped, or gives way to one that it cannot serve: then it takes
    /// nobody any more, and is about to end.
    fn add<M: Role>(self: &Arc<Self>, route: &Arc<Route<M>>, tls: Option<&Tls>) -> io::Result<bool> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that have stopped may not be forgotten yet.
        if routes.iter().all(|other| other.is_stopped()) {
            self.stop.cancel();
            return Ok(false);
        }
        if let Err(error) = self.check(route, tls) {
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
            let message = "this process serves the same pipeline there already";
            return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
        }
        routes.push(route.clone());
        drop(routes);
        self.prune_after(route);
        Ok(true)
    }

    fn prune_after<M: Role>(self: &Arc<Self>, route: &Route<M>) {
        let (port, stop) = (Arc::downgrade(self), route.shared.stop.clone());
        route.shared.place.handle.spawn(async move {
            stop.cancelled().await;
            if let Some(port) = port.upgrade() {
                port.prune();
            }
        });
    }

    /// Forgets sockets that have stopped; without any, the address is given up.
    fn prune(&self) {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let stopped: Vec<_> = routes.extract_if(.., |route| route.is_stopped()).collect();
        if routes.is_empty() {
            self.stop.cancel();
        }
        drop(routes);
        drop(stopped); // with all that they hold, and not under the lock
    }

    /// Those that have stopped last: one of the same pipeline may have taken their place.
    pub(super) fn routes(&self) -> Vec<Arc<dyn Serve>> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        routes.sort_by_key(|route| route.gives_way());
        routes
    }

    async fn run(self: Arc<Self>, mut listening: Listening) {
        let keeper = self.clone();
        let keep = AbortOnDropHandle::new(tokio::spawn(async move { keeper.turnstile.keep().await }));
        // A transport's futures and its listener may panic when they are dropped.
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
        // Those whose handshake has begun are refused in time, and hold the sockets until then.
        self.turnstile.open_for_good();
    }

    async fn accept_all(self: &Arc<Self>, listener: &mut Listener) {
        let mut failed: u64 = 0;
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                accepted = self.turnstile.pass(listener.accept()) => accepted,
            };
            match accepted {
                Ok((stream, address)) => {
                    if failed > 0 {
                        tracing::info!("accepting again at {} after {failed} failed tries", self.address);
                        failed = 0;
                    }
                    self.clone().greet(stream, address);
                }
                // It has gone before it was accepted: the next one has done nothing.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    failed += 1;
                    // It may last for days, and must not fill a disk with its log.
                    if failed.is_power_of_two() {
                        tracing::warn!("cannot accept at {}: {error}; failed tries: {failed}", self.address);
                    }
                    // Without descriptors, strangers are the first to go.
                    if is_out_of_descriptors(&error) {
                        self.handshakes.make_room();
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Whether the process, or the whole system, has as many files open as it may.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}
