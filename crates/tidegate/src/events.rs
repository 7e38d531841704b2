//! What happens to the links of a socket, as a stream.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll, ready},
};

use futures_core::Stream;

use tidegate_proto::{Code, InstanceId, LinkEnd, Peer, shown};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::ReusableBoxFuture;

use crate::{blocking::block_on, endpoint::Endpoint, error::CannotBlock, io_thread::Links};

/// Who is at the other end of a link. The name is a stranger's text: see [`shown`](crate::shown) before showing it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PeerInfo {
    /// The name that it gave itself.
    pub name: String,
    /// Its socket: changes when its process restarts.
    pub instance: InstanceId,
    /// Where it is.
    pub address: String,
    /// The names in its certificate, which are verified, unlike [`Self::name`]; none without TLS, or if it showed none.
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
    /// For people.
    pub reason: String,
    /// Whether the peer closed first.
    pub by_peer: bool,
}

impl End {
    /// Whether somebody ought to look: a break or a violation, rather than an orderly end.
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
    /// An endpoint is bound; a port of 0 is resolved.
    Bound {
        /// Where.
        endpoint: Endpoint,
    },
    /// A link is open.
    Connected {
        /// Names the link in statistics.
        link: u64,
        /// Who is there.
        peer: PeerInfo,
    },
    /// A link has ended.
    Disconnected {
        /// Names the link in statistics.
        link: u64,
        /// Who was there.
        peer: PeerInfo,
        /// Why.
        end: End,
    },
    /// An attempt to connect failed; the next one comes after a wait.
    ConnectFailed {
        /// Where.
        endpoint: Endpoint,
        /// Why.
        reason: String,
    },
    /// An endpoint has refused us for good: no more attempts (RD-7).
    Refused {
        /// Where.
        endpoint: Endpoint,
        /// With which code.
        code: Code,
        /// For people.
        reason: String,
    },
    /// We have refused somebody.
    RefusedPeer {
        /// From where it came.
        address: String,
        /// With which code.
        code: Code,
        /// For people.
        reason: String,
    },
    /// A stranger did not get through the TLS handshake: what is wrong with its certificate, with ours, or with its TLS.
    TlsFailed {
        /// From where it came.
        address: String,
        /// For people.
        reason: String,
    },
    /// A pusher has ended its stream.
    Ended {
        /// Which.
        peer: PeerInfo,
    },
    /// So many events were missed, because they were not fetched in time.
    Lagged(u64),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bound { endpoint } => write!(f, "listening on {endpoint}"),
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
            Self::Lagged(count) => write!(f, "{count} events were missed"),
        }
    }
}

/// Events that a slow listener may be behind before it misses some.
const CAPACITY: usize = 1_024;

/// Where the events of a socket come from: made with it, or before by its builder.
#[derive(Debug)]
pub(crate) struct Feed {
    /// `None` when the socket has ended by itself. Each socket has its own, also those of clones of one builder.
    sender: Mutex<Option<broadcast::Sender<Event>>>,
    links: Arc<OnceLock<Links>>,
}

impl Default for Feed {
    fn default() -> Self {
        let sender = Mutex::new(Some(broadcast::Sender::new(CAPACITY)));
        Self { sender, links: Arc::default() }
    }
}

impl Clone for Feed {
    fn clone(&self) -> Self {
        Self { sender: Mutex::new(self.sender().clone()), links: self.links.clone() }
    }
}

impl Feed {
    fn sender(&self) -> MutexGuard<'_, Option<broadcast::Sender<Event>>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The socket is being built: its links run there.
    pub(crate) fn run_at(&self, links: Links) {
        let _ = self.links.set(links); // a second socket from a clone of the builder
    }

    pub(crate) fn subscribe(&self) -> Events {
        // Of a socket that has ended by itself there are none: this one's sender is gone at once.
        let none = || broadcast::Sender::new(1).subscribe();
        let events = self.sender().as_ref().map_or_else(none, broadcast::Sender::subscribe);
        Events { next: ReusableBoxFuture::new(next(events)), links: self.links.clone() }
    }

    pub(crate) fn send(&self, event: Event) {
        if let Some(sender) = &*self.sender() {
            let _ = sender.send(event); // nobody may be listening
        }
    }

    /// No more will come from this socket.
    pub(crate) fn end(&self) {
        let sender = self.sender().take();
        drop(sender); // not under the lock: it wakes who listens
    }
}

type Next = (Result<Event, RecvError>, broadcast::Receiver<Event>);

async fn next(mut events: broadcast::Receiver<Event>) -> Next {
    (events.recv().await, events)
}

/// The events of a socket from the call that made this on, and a `Stream` of them. At most 1,024 are kept; who is slower gets
/// [`Event::Lagged`].
///
/// Those that happen while a socket is built, such as [`Event::Bound`], can be had from its builder
/// ([`PushBuilder::events`](crate::PushBuilder::events), [`PullBuilder::events`](crate::PullBuilder::events)).
#[derive(Debug)]
pub struct Events {
    next: ReusableBoxFuture<'static, Next>,
    links: Arc<OnceLock<Links>>,
}

impl Events {
    /// The next event; `None` when the socket is gone. Cancel safe.
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

    /// As [`Self::recv`], blocking the thread; needs [`io_thread`](crate::PushBuilder::io_thread).
    ///
    /// # Errors
    /// The thread cannot block.
    pub fn blocking_recv(&mut self) -> Result<Option<Event>, CannotBlock> {
        // Before the socket is built, nothing says that it cannot.
        self.links.get().map_or(Ok(()), |links| links.may_wait())?;
        Ok(block_on(self.recv()))
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll_recv(cx)
    }
}
