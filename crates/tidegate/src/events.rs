//! What happens to the links of a socket, as a stream.

use std::fmt;

use tidegate_proto::{Code, InstanceId, LinkEnd, Peer};
use tokio::sync::broadcast;

use crate::{blocking::block_on, endpoint::Endpoint, error::CannotBlock, io_thread::Links};

/// Who is at the other end of a link. The name is a stranger's text: escape it before showing it.
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
        write!(f, "{} at {}", name.escape_debug(), self.address)?;
        if self.names.is_empty() {
            return Ok(());
        }
        write!(f, " (certificate for {})", self.names.join(", ").escape_debug())
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
        let reason = self.reason.escape_debug();
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
                write!(f, "cannot connect to {endpoint}: {}; trying again", reason.escape_debug())
            }
            Self::Refused { endpoint, code, reason } => {
                write!(f, "{endpoint} refused us with {code}: {}", reason.escape_debug())
            }
            Self::RefusedPeer { address, code, reason } => {
                write!(f, "refused {address} with {code}: {}", reason.escape_debug())
            }
            Self::TlsFailed { address, reason } => {
                write!(f, "refused {address}: {}", reason.escape_debug())
            }
            Self::Ended { peer } => write!(f, "{peer} has ended its stream"),
            Self::Lagged(count) => write!(f, "{count} events were missed"),
        }
    }
}

/// The events of a socket from the call that made this on. At most 1,024 are kept; who is slower gets [`Event::Lagged`].
#[derive(Debug)]
pub struct Events {
    events: broadcast::Receiver<Event>,
    links: Links,
}

impl Events {
    pub(crate) fn new(events: broadcast::Receiver<Event>, links: Links) -> Self {
        Self { events, links }
    }

    /// The next event; `None` when the socket is gone. Cancel safe.
    pub async fn recv(&mut self) -> Option<Event> {
        match self.events.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(count)) => Some(Event::Lagged(count)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }

    /// As [`Self::recv`], blocking the thread; needs [`io_thread`](crate::PushBuilder::io_thread).
    ///
    /// # Errors
    /// The thread cannot block.
    pub fn blocking_recv(&mut self) -> Result<Option<Event>, CannotBlock> {
        self.links.may_wait()?;
        Ok(block_on(self.recv()))
    }
}
