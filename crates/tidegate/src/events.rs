//! The events of a socket: what happens to its links and endpoints, as a stream.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use futures_core::Stream;

use tidegate_proto::{Code, InstanceId, LinkEnd, Peer, shown};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::ReusableBoxFuture;

use crate::{error::CannotBlock, io_thread::OwnThread, transport::Endpoint};

/// The peer of a link.
///
/// The peer chooses its name: pass it through [`shown`](crate::shown) before printing it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PeerInfo {
    /// The name that the peer gave itself.
    pub name: String,
    /// The instance id of its socket, which changes when its process restarts.
    pub instance: InstanceId,
    /// Its address.
    pub address: String,
    /// The verified names in its certificate. Empty without TLS, or if it presented no certificate.
    pub names: Vec<String>,
    /// The pipeline of the link.
    pub pipeline: String,
}

impl From<&Peer> for PeerInfo {
    fn from(peer: &Peer) -> Self {
        Self {
            name: peer.name.clone(),
            instance: peer.instance,
            address: peer.address.clone(),
            names: peer.names.clone(),
            pipeline: peer.pipeline.clone(),
        }
    }
}

impl fmt::Display for PeerInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.name.is_empty() { "?" } else { self.name.as_str() };
        write!(f, "{} at {}", shown(name), shown(&self.address))?;
        if self.names.is_empty() {
            return Ok(());
        }
        write!(f, " (certificate for {})", shown(&self.names.join(", ")))
    }
}

/// Why a link ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct End {
    /// The code of the Close; `None` if the connection broke.
    pub code: Option<Code>,
    /// The reason, as text.
    pub reason: String,
    /// Whether the peer closed first.
    pub by_peer: bool,
}

impl End {
    /// Whether the end deserves attention: a broken connection or a violation, rather than an orderly end.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        !matches!(
            self.code,
            Some(Code::Normal | Code::GoingAway | Code::Aborted | Code::Replaced | Code::Stale)
        )
    }
}

impl From<LinkEnd> for End {
    fn from(end: LinkEnd) -> Self {
        Self { code: end.code, reason: end.reason, by_peer: end.by_peer }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = shown(&self.reason);
        match self.code {
            None => write!(f, "the connection broke: {reason}"),
            Some(code) => {
                write!(f, "closed {} with {code}", if self.by_peer { "by the peer" } else { "by us" })?;
                if self.reason.is_empty() { Ok(()) } else { write!(f, ": {reason}") }
            }
        }
    }
}

/// Something that happened to a link or an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Event {
    /// An endpoint is bound; a port of 0 is replaced by the actual port.
    Bound {
        /// The endpoint.
        endpoint: Endpoint,
    },
    /// The socket connects to a subset of the endpoints given (`subset` of the builder).
    SubsetChosen {
        /// The endpoints that were chosen.
        endpoints: Vec<Endpoint>,
        /// How many endpoints were given.
        given: usize,
    },
    /// A link is open.
    Connected {
        /// The number of the link, as in statistics.
        link: u64,
        /// The peer.
        peer: PeerInfo,
    },
    /// A link has ended.
    Disconnected {
        /// The number of the link, as in statistics.
        link: u64,
        /// The peer.
        peer: PeerInfo,
        /// Why the link ended.
        end: End,
    },
    /// An attempt to connect failed. The next one follows after a wait.
    ConnectFailed {
        /// The endpoint.
        endpoint: Endpoint,
        /// Why the attempt failed.
        reason: String,
    },
    /// An endpoint refused this socket permanently; there are no more attempts (RD-7).
    Refused {
        /// The endpoint.
        endpoint: Endpoint,
        /// The code of the refusal.
        code: Code,
        /// The reason, as text.
        reason: String,
    },
    /// This socket refused a peer.
    RefusedPeer {
        /// The peer's address.
        address: String,
        /// The code of the refusal.
        code: Code,
        /// The reason, as text.
        reason: String,
    },
    /// A TLS handshake of an accepted connection failed. The reason says what is wrong with either
    /// certificate or with TLS.
    TlsFailed {
        /// The peer's address.
        address: String,
        /// The reason, as text.
        reason: String,
    },
    /// A pusher has ended its stream.
    Ended {
        /// The pusher.
        peer: PeerInfo,
    },
    /// The number of events that were lost because they were not fetched in time.
    Lagged(u64),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bound { endpoint } => write!(f, "listening on {endpoint}"),
            Self::SubsetChosen { endpoints, given } => {
                write!(f, "connecting to {} of the {given} endpoints given:", endpoints.len())?;
                endpoints.iter().try_for_each(|endpoint| write!(f, " {endpoint}"))
            }
            Self::Connected { link, peer } => write!(f, "link {link} to {peer} is open"),
            Self::Disconnected { link, peer, end } => write!(f, "link {link} to {peer} has ended: {end}"),
            Self::ConnectFailed { endpoint, reason } => {
                write!(f, "cannot connect to {endpoint}: {}; trying again", shown(reason))
            }
            Self::Refused { endpoint, code, reason } => {
                write!(f, "{endpoint} refused us with {code}: {}", shown(reason))
            }
            Self::RefusedPeer { address, code, reason } => {
                write!(f, "refused {} with {code}: {}", shown(address), shown(reason))
            }
            Self::TlsFailed { address, reason } => {
                write!(f, "refused {}: {}", shown(address), shown(reason))
            }
            Self::Ended { peer } => write!(f, "{peer} has ended its stream"),
            Self::Lagged(count) => {
                write!(f, "{count} events were lost because they were not fetched in time")
            }
        }
    }
}

/// The number of events that are kept for a slow reader.
const CAPACITY: usize = 1_024;

/// Where the events of a socket come from. Created with the socket, or earlier by its builder.
#[derive(Debug)]
pub(crate) struct Feed {
    /// `None` when the socket has ended by itself. Every socket has its own, also if it is built from a clone
    /// of a builder.
    sender: Mutex<Option<broadcast::Sender<Event>>>,
    places: Places,
}

/// Where the links of the sockets run that were built with a builder or its clones: the library's own thread, if all
/// of them run there.
type Places = Arc<Mutex<Result<OwnThread, CannotBlock>>>;

impl Default for Feed {
    fn default() -> Self {
        let sender = Mutex::new(Some(broadcast::Sender::new(CAPACITY)));
        Self { sender, places: Arc::new(Mutex::new(Err(CannotBlock::NotBuilt))) }
    }
}

impl Clone for Feed {
    fn clone(&self) -> Self {
        Self { sender: Mutex::new(self.sender().clone()), places: self.places.clone() }
    }
}

impl Feed {
    fn sender(&self) -> MutexGuard<'_, Option<broadcast::Sender<Event>>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called when a socket was built: its links run there.
    pub(crate) fn run_at(&self, thread: Option<OwnThread>) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        match thread {
            Some(thread) if *places != Err(CannotBlock::NoIoThread) => *places = Ok(thread),
            _ => *places = Err(CannotBlock::NoIoThread),
        }
    }

    /// The events of a builder's sockets.
    pub(crate) fn subscribe(&self) -> Events {
        self.subscribe_as(Source::Builder(self.places.clone()))
    }

    /// The events of a socket whose links run there.
    pub(crate) fn subscribe_at(&self, thread: Option<OwnThread>) -> Events {
        self.subscribe_as(Source::Socket(thread))
    }

    fn subscribe_as(&self, source: Source) -> Events {
        // A socket that has ended by itself has no more events, so this sender is dropped at once.
        let none = || broadcast::Sender::new(1).subscribe();
        let events = self.sender().as_ref().map_or_else(none, broadcast::Sender::subscribe);
        Events { next: ReusableBoxFuture::new(next(events)), source }
    }

    pub(crate) fn send(&self, event: Event) {
        if let Some(sender) = &*self.sender() {
            let _ = sender.send(event); // fails if there is no handle
        }
    }

    /// Ends the events of this socket.
    pub(crate) fn end(&self) {
        let sender = self.sender().take();
        drop(sender); // outside the lock, because it calls wakers
    }
}

type NextEvent = (Result<Event, RecvError>, broadcast::Receiver<Event>);

async fn next(mut events: broadcast::Receiver<Event>) -> NextEvent {
    (events.recv().await, events)
}

/// The events of a socket from the call that created this handle. Also a `Stream`.
///
/// At most 1,024 events are kept; a reader that falls behind gets [`Event::Lagged`]. For events that happen
/// while the socket is built, such as [`Event::Bound`], use
/// [`PushBuilder::events`](crate::PushBuilder::events) or
/// [`PullBuilder::events`](crate::PullBuilder::events).
#[derive(Debug)]
pub struct Events {
    next: ReusableBoxFuture<'static, NextEvent>,
    source: Source,
}

/// What a handle was taken from.
#[derive(Clone, Debug)]
enum Source {
    Builder(Places),
    /// A socket, and the thread of the library that runs its links, if it does.
    Socket(Option<OwnThread>),
}

impl Events {
    /// Returns the next event, waiting for it if necessary; `None` when the socket is gone.
    ///
    /// [`Push::events`](crate::Push::events) has an example.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, no event is lost.
    pub async fn recv(&mut self) -> Option<Event> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let (result, events) = ready!(self.next.poll(cx));
        self.next.set(next(events));
        Poll::Ready(match result {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(count)) => Some(Event::Lagged(count)),
            Err(RecvError::Closed) => None,
        })
    }

    /// The thread that runs the links, if a thread may block until they report an event.
    pub(crate) fn own_thread(&self) -> Result<OwnThread, CannotBlock> {
        match &self.source {
            Source::Builder(places) => *places.lock().unwrap_or_else(PoisonError::into_inner),
            Source::Socket(thread) => thread.ok_or(CannotBlock::NoIoThread),
        }
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll_recv(cx)
    }
}
