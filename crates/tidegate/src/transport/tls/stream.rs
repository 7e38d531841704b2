//! A connection whose TLS handshake is complete.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::TlsStream;

use crate::{
    tls::{TlsSide, explain, verified_names},
    transport::{Stream, TlsFailure},
};

/// Bytes read from a socket at a time. By itself, rustls reads 4 KiB for each system call.
pub(super) const READ_BUFFER: usize = 32 * 1_024;
/// The most encrypted bytes that wait for the socket.
pub(super) const WRITE_BUFFER: usize = 128 * 1_024;

pub(super) type Plain = BufReader<TcpStream>;

pub(super) struct Secured {
    side: TlsSide,
    inner: TlsStream<Plain>,
    names: Vec<String>,
    /// An error that arrived behind bytes, which are returned first.
    error: Option<io::Error>,
}

impl Secured {
    pub(super) fn new(side: TlsSide, inner: TlsStream<Plain>) -> Self {
        let peer = inner.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let names = peer.map(verified_names).unwrap_or_default();
        Self { side, inner, names, error: None }
    }
}

impl Stream for Secured {
    fn names(&self) -> &[String] {
        &self.names
    }
}

/// Explains an error of rustls. The end of the stream counts as the end, with or without a TLS close_notify
/// (TL-9, RD-1).
pub(super) fn explained(side: TlsSide, error: io::Error) -> io::Error {
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return TlsFailure::into_io(explain(side, tls));
    }
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return io::Error::new(error.kind(), "the peer closed the connection during the TLS handshake");
    }
    error
}

impl AsyncRead for Secured {
    /// Returns as many records as are there, because the caller takes a lock for each read.
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(error) = this.error.take() {
            return Poll::Ready(Err(error));
        }
        let start = buf.filled().len();
        while buf.remaining() > 0 {
            let before = buf.filled().len();
            match Pin::new(&mut this.inner).poll_read(cx, buf) {
                Poll::Ready(Ok(())) if buf.filled().len() > before => {}
                Poll::Ready(Ok(())) => break,
                Poll::Pending if before > start => break,
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                Poll::Ready(Err(error)) => {
                    let error = explained(this.side, error);
                    if before == start {
                        return Poll::Ready(Err(error));
                    }
                    this.error = Some(error);
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Secured {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
