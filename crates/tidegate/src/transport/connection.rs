//! `Connection`: what a transport returns.

use std::{
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{BoxStream, Stream};
use crate::caught::caught;

/// A connection of a [`Transport`](super::Transport): a bidirectional byte stream.
pub struct Connection {
    stream: BoxStream,
    peer: String,
}

impl Connection {
    /// Wraps a stream. `peer` is the address of the other end, for logs and events.
    ///
    /// If `peer` is an IP address and a port, such as `192.0.2.1:5000`, the limits `max_links_per_address` and
    /// `max_handshakes_per_address` of a bound socket apply to it. Otherwise only the total limits apply.
    ///
    /// Vectored writes are used if the stream supports them. `poll_flush` is called after each batch of
    /// writes, and nothing waits for it. [`Transport`](super::Transport) has an example.
    pub fn new(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        peer: impl Into<String>,
    ) -> Self {
        Self { stream: Box::new(Guarded(Some(stream))), peer: peer.into() }
    }

    /// Wraps a stream of the library, which may be able to do more than read and write, and does not panic.
    pub(super) fn of_library(stream: impl Stream + 'static, peer: String) -> Self {
        Self { stream: Box::new(stream), peer }
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

/// A stream of the application. A panic in it becomes an error of this connection, and the stream is not used
/// again.
struct Guarded<S>(Option<S>);

impl<S: Unpin> Guarded<S> {
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

impl<S> Guarded<S> {
    fn give_up(&mut self) {
        let stream = self.0.take();
        if let Err(panicked) = caught(|| drop(stream)) {
            tracing::warn!("the drop of a connection {panicked}");
        }
    }
}

impl<S> Drop for Guarded<S> {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for Guarded<S> {}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.call(|stream| stream.poll_read(cx, buf))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
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
