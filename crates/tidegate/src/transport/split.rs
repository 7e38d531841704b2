//! A connection whose writing end is shared by its driver and by a send that finds the link idle.

use std::{
    io::{self, IoSlice},
    os::fd::{AsRawFd, RawFd},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream, tcp, unix},
};

use super::{Direct, Stream};

/// The halves of a stream. The lock is held for one system call and rarely contended: besides the driver,
/// only a send on an idle link uses it, when the driver has nothing to write.
pub(super) struct Split<R, W> {
    read: R,
    write: Arc<Mutex<W>>,
    descriptor: RawFd,
}

/// A writing half of tokio.
pub(super) trait Half: AsyncWrite + Send + Unpin + 'static {
    fn try_write(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize>;
}

impl Half for tcp::OwnedWriteHalf {
    fn try_write(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_write_vectored(pieces)
    }
}

impl Half for unix::OwnedWriteHalf {
    fn try_write(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_write_vectored(pieces)
    }
}

impl<W: Half> Direct for Mutex<W> {
    fn try_write(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.lock().unwrap_or_else(PoisonError::into_inner).try_write(pieces)
    }
}

pub(super) fn tcp(stream: TcpStream) -> impl Stream {
    let descriptor = stream.as_raw_fd();
    let (read, write) = stream.into_split();
    Split { read, write: Arc::new(Mutex::new(write)), descriptor }
}

pub(super) fn unix(stream: UnixStream) -> impl Stream {
    let descriptor = stream.as_raw_fd();
    let (read, write) = stream.into_split();
    Split { read, write: Arc::new(Mutex::new(write)), descriptor }
}

impl<R: AsyncRead + Send + Unpin, W: Half> Stream for Split<R, W> {
    fn direct(&self) -> Option<Arc<dyn Direct>> {
        Some(self.write.clone())
    }

    fn descriptor(&self) -> Option<RawFd> {
        Some(self.descriptor)
    }
}

impl<R, W> Split<R, W> {
    fn write(&self) -> MutexGuard<'_, W> {
        self.write.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: AsyncRead + Unpin, W> AsyncRead for Split<R, W> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.read).poll_read(cx, buf)
    }
}

impl<R: Unpin, W: AsyncWrite + Unpin> AsyncWrite for Split<R, W> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.write()).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.write()).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.write()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.write()).poll_shutdown(cx)
    }
}
