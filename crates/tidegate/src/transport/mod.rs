//! What carries a link: anything that reads and writes bytes in order. One file a kind.

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
pub(crate) use self::{custom::Custom, failure::TlsFailure, split::Direct};
use crate::{caught::caught_in, endpoint::Address, tls::Tls};

/// A connection, whatever carries it.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    /// The writing end, for use beside this, if there is such a thing.
    fn direct(&self) -> Option<Arc<dyn Direct>> {
        None
    }

    /// Its file descriptor, of a connection that was just accepted and has one.
    fn descriptor(&self) -> Option<RawFd> {
        None
    }

    /// Whether something has come that reading does not give, such as a part of a TLS handshake.
    fn has_begun(&self) -> bool {
        false
    }

    /// What the peer is called by the certificate that it has proved to hold; nothing without one (TL-4).
    fn names(&self) -> &[String] {
        &[]
    }
}

pub(crate) type BoxStream = Box<dyn Stream>;

/// Connects once; with a TLS handshake where the endpoint wants one, for which `tls` is there. The name is resolved anew each time. Returns the stream and the peer's address for people.
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

/// Cannot be: a socket is not made without what its endpoints need.
fn no_tls(_: Option<&Tls>) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "there are no TLS settings")
}

/// Something that listens.
pub(crate) enum Listener {
    Tcp(tcp::Listener),
    Unix(unix::Listener),
    Mem(mem::Listener),
    #[cfg(feature = "tls")]
    Tls(tls::Listener),
    Custom(Box<dyn TransportListener>),
}

impl Listener {
    /// Binds, and returns the address with a port of 0 resolved.
    pub(crate) async fn bind(
        address: &Address,
        tls: Option<&Tls>,
        unix_mode: Option<u32>,
    ) -> io::Result<(Self, Address)> {
        Ok(match address {
            Address::Tcp { host, port } => {
                let (listener, address) = tcp::Listener::bind(host, *port).await?;
                (Self::Tcp(listener), address)
            }
            Address::Unix { path } => {
                (Self::Unix(unix::Listener::bind(path, unix_mode).await?), address.clone())
            }
            Address::Mem { name } => (Self::Mem(mem::Listener::bind(name)?), address.clone()),
            #[cfg(feature = "tls")]
            Address::Tls { host, port } => {
                let (listener, address) =
                    tls::Listener::bind(host, *port, tls.ok_or_else(|| no_tls(None))?).await?;
                (Self::Tls(listener), address)
            }
            #[cfg(not(feature = "tls"))]
            Address::Tls { .. } => return Err(no_tls(tls)),
            Address::Custom { transport, place } => {
                let (listener, address) = transport.bind(place).await?;
                (Self::Custom(listener), address)
            }
        })
    }

    /// The next connection, and the peer's address for people. Cancel safe.
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
