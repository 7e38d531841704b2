//! What carries a link: a bidirectional byte stream. One file for each kind.

mod address;
mod custom;
mod failure;
mod mem;
mod split;
mod tcp;
#[cfg(feature = "tls")]
mod tls;
mod unix;

use std::{io, os::fd::RawFd, sync::Arc};

use tokio::io::{AsyncRead, AsyncWrite};

pub use self::custom::{Connection, Transport, TransportFuture, TransportListener};
pub(crate) use self::{address::Address, custom::Custom, failure::TlsFailure, split::Direct};
use crate::{caught::caught_in, tls::Tls};

/// A connection of any transport.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    /// A second handle to the writing end, if the transport has one.
    fn direct(&self) -> Option<Arc<dyn Direct>> {
        None
    }

    /// The file descriptor of an accepted connection, if it has one.
    fn descriptor(&self) -> Option<RawFd> {
        None
    }

    /// Whether bytes have arrived that reading does not return, such as part of a TLS handshake.
    fn has_begun(&self) -> bool {
        false
    }

    /// The verified names in the peer's certificate; empty without one (TL-4).
    fn names(&self) -> &[String] {
        &[]
    }
}

pub(crate) type BoxStream = Box<dyn Stream>;

/// Connects once, including the TLS handshake if the endpoint requires one, for which `tls` is given.
/// Resolves the name anew each time. Returns the stream and the peer's address as text.
pub(crate) async fn connect(address: &Address, tls: Option<&Tls>) -> io::Result<(BoxStream, String)> {
    match address {
        Address::Tcp { host, port } => tcp::connect(host, *port).await,
        Address::Unix { path } => unix::connect(path).await,
        Address::Mem { name } => mem::connect(name).await,
        #[cfg(feature = "tls")]
        Address::Tls { host, port } => tls::connect(host, *port, tls.ok_or_else(|| no_tls(None))?).await,
        #[cfg(not(feature = "tls"))]
        Address::Tls { .. } => Err(no_tls(tls)),
        Address::Custom { transport, place } => transport.connect(place).await,
    }
}

/// Unreachable: a socket is not built without what its endpoints need.
fn no_tls(_: Option<&Tls>) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "there are no TLS settings")
}

/// A listener of any transport.
pub(crate) enum Listener {
    Tcp(tcp::Listener),
    Unix(unix::Listener),
    Mem(mem::Listener),
    #[cfg(feature = "tls")]
    Tls(tls::Listener),
    Custom(Box<dyn TransportListener>),
}

impl Listener {
    /// Binds, and returns the address with a port of 0 replaced.
    pub(crate) async fn bind(
        address: &Address,
        tls: Option<&Tls>,
        unix_mode: Option<u32>,
    ) -> io::Result<(Self, Address)> {
        Ok(match address {
            Address::Tcp { host, port } => {
                let (listener, host, port) = tcp::Listener::bind(host, *port).await?;
                (Self::Tcp(listener), Address::Tcp { host, port })
            }
            Address::Unix { path } => {
                (Self::Unix(unix::Listener::bind(path, unix_mode).await?), address.clone())
            }
            Address::Mem { name } => (Self::Mem(mem::Listener::bind(name)?), address.clone()),
            #[cfg(feature = "tls")]
            Address::Tls { host, port } => {
                let (listener, host, port) =
                    tls::Listener::bind(host, *port, tls.ok_or_else(|| no_tls(None))?).await?;
                (Self::Tls(listener), Address::Tls { host, port })
            }
            #[cfg(not(feature = "tls"))]
            Address::Tls { .. } => return Err(no_tls(tls)),
            Address::Custom { transport, place } => {
                let (listener, place) = transport.bind(place).await?;
                (Self::Custom(listener), Address::Custom { transport: transport.clone(), place })
            }
        })
    }

    /// Returns the next connection, and the peer's address as text. Cancel safe.
    pub(crate) async fn accept(&mut self) -> io::Result<(BoxStream, String)> {
        match self {
            Self::Tcp(listener) => listener.accept().await,
            Self::Unix(listener) => listener.accept().await,
            Self::Mem(listener) => listener.accept().await,
            #[cfg(feature = "tls")]
            Self::Tls(listener) => listener.accept().await,
            Self::Custom(listener) => Ok(caught_in(async { listener.accept().await }).await??.into_parts()),
        }
    }
}
