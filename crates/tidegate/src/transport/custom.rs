//! Transports provided by the application.

use std::{
    fmt,
    future::Future,
    hash::{Hash, Hasher},
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{BoxStream, Stream};
use crate::caught::{caught, caught_in};

/// The future that the methods of a [`Transport`] return.
pub type TransportFuture<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// Carries links by means of the application: through a tunnel or a proxy, over SSH or a serial line, in a
/// simulator.
///
/// Register it on a builder with `transport("scheme", …)`. Endpoints `scheme://address#pipeline` then use it.
/// The transport defines the form of the address.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::{io, sync::Arc};
/// use tidegate::{Connection, Pull, Push, Transport, TransportFuture, TransportListener};
/// use tokio::net::TcpStream;
///
/// /// Reaches every address by way of one gate.
/// struct Gate { at: String }
///
/// impl Transport for Gate {
///     fn connect<'a>(&'a self, address: &'a str) -> TransportFuture<'a, Connection> {
///         Box::pin(async move {
///             let stream = TcpStream::connect(&self.at).await?;
///             stream.set_nodelay(true)?;
///             // Here a real one would ask the gate for `address`.
///             Ok(Connection::new(stream, format!("{address} by way of {}", self.at)))
///         })
///     }
///
///     fn bind<'a>(&'a self, _: &'a str) -> TransportFuture<'a, Box<dyn TransportListener>> {
///         Box::pin(async { Err(io::Error::new(io::ErrorKind::Unsupported, "a gate only connects")) })
///     }
/// }
///
/// let push = Push::builder().bind("tcp://127.0.0.1:0").build().await?;
/// let at = push.local_endpoints()[0].to_string().replace("tcp://", "");
/// let pull = Pull::builder().transport("gate", Arc::new(Gate { at })).connect("gate://far.away").build().await?;
/// push.send("hello").await?;
/// pull.recv().await?.expect("a delivery").ack();
/// # Ok(()) }
/// ```
///
/// If a transport, its listener or a connection panics, the panic is caught and counts as an error of that
/// one attempt or connection. It is logged, and the attempt is retried like any other.
///
/// Sockets that are bound to the same address share a listener if they were given clones of the same `Arc`.
/// Otherwise they are independent, even with the same address.
pub trait Transport: Send + Sync + 'static {
    /// Connects once. The library limits the attempt to its handshake timeout, drops the future then, and
    /// retries later.
    ///
    /// # Errors
    /// Any error; it is reported as [`Event::ConnectFailed`](crate::Event::ConnectFailed).
    fn connect<'a>(&'a self, address: &'a str) -> TransportFuture<'a, Connection>;

    /// Starts to listen.
    ///
    /// # Errors
    /// Any error; it is reported as [`BuildError::Bind`](crate::BuildError::Bind).
    fn bind<'a>(&'a self, address: &'a str) -> TransportFuture<'a, Box<dyn TransportListener>>;
}

/// Listens at an address of a [`Transport`]. It is dropped when the last socket that is bound there has
/// stopped.
pub trait TransportListener: Send {
    /// Returns the address that others connect to, including what `bind` chose itself, such as a port for 0.
    fn address(&self) -> String;

    /// Returns the next connection. The future is dropped only directly before the listener.
    ///
    /// # Errors
    /// Any error; it is logged, and `accept` is called again after a pause.
    fn accept(&mut self) -> TransportFuture<'_, Connection>;
}

/// A connection of a [`Transport`]: a bidirectional byte stream.
pub struct Connection {
    stream: BoxStream,
    peer: String,
}

impl Connection {
    /// Wraps a stream. `peer` is the address of the other end, for logs and events.
    ///
    /// Vectored writes are used if the stream supports them. `poll_flush` is called after each batch of
    /// writes, and nothing waits for it. [`Transport`] has an example.
    pub fn new(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        peer: impl Into<String>,
    ) -> Self {
        Self { stream: Box::new(Plain(Some(stream))), peer: peer.into() }
    }

    pub(super) fn into_parts(self) -> (BoxStream, String) {
        (self.stream, self.peer)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// A transport and its scheme. Two are equal if they refer to the same transport.
#[derive(Clone)]
pub(crate) struct Custom {
    scheme: Arc<str>,
    transport: Arc<dyn Transport>,
}

impl Custom {
    pub(crate) fn new(scheme: String, transport: Arc<dyn Transport>) -> Self {
        Self { scheme: scheme.into(), transport }
    }

    pub(crate) fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Whether the scheme is valid and not one of the library's own.
    pub(crate) fn has_own_scheme(&self) -> bool {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '-');
        let own = !matches!(&*self.scheme, "tcp" | "tls" | "unix" | "mem");
        own && !self.scheme.is_empty() && self.scheme.chars().all(fits)
    }

    pub(super) async fn connect(&self, place: &str) -> io::Result<(BoxStream, String)> {
        Ok(caught_in(async { self.transport.connect(place).await }).await??.into_parts())
    }

    /// Binds, and returns the place that others connect to.
    pub(super) async fn bind(&self, place: &str) -> io::Result<(Box<dyn TransportListener>, String)> {
        let listener = caught_in(async { self.transport.bind(place).await }).await??;
        let place = caught(|| listener.address())?;
        Ok((listener, place))
    }

    fn identity(&self) -> (&str, *const ()) {
        (&self.scheme, Arc::as_ptr(&self.transport).cast())
    }
}

impl PartialEq for Custom {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Custom {}

impl Hash for Custom {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.scheme)
    }
}

/// A stream of the application, which has no second writing end. A panic in it becomes an error of this
/// connection, and the stream is not used again.
struct Plain<S>(Option<S>);

impl<S: Unpin> Plain<S> {
    fn call<T>(&mut self, call: impl FnOnce(Pin<&mut S>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let Some(stream) = &mut self.0 else {
            return Poll::Ready(Err(io::Error::other("the transport has panicked before")));
        };
        caught(|| call(Pin::new(stream))).unwrap_or_else(|panicked| {
            self.give_up();
            Poll::Ready(Err(panicked.into()))
        })
    }
}

impl<S> Plain<S> {
    fn give_up(&mut self) {
        let stream = self.0.take();
        if let Err(panicked) = caught(|| drop(stream)) {
            tracing::warn!("the drop of a connection {panicked}");
        }
    }
}

impl<S> Drop for Plain<S> {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for Plain<S> {}

impl<S: AsyncRead + Unpin> AsyncRead for Plain<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.call(|stream| stream.poll_read(cx, buf))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Plain<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.call(|stream| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.call(|stream| stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.0.as_ref().is_some_and(|stream| caught(|| stream.is_write_vectored()).unwrap_or(false))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.call(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.call(|stream| stream.poll_shutdown(cx))
    }
}
