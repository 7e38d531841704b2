//! The connection of any transport, as the drivers of links use it.

use std::{
    io::{self, IoSlice},
    os::fd::RawFd,
    sync::Arc,
};

use tokio::io::{AsyncRead, AsyncWrite};

/// What a connection can do beyond reading and writing. The defaults hold for a connection of the application.
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

/// Writes what can be written without waiting.
pub(crate) trait Direct: Send + Sync {
    /// Like [`std::io::Write::write_vectored`]; `WouldBlock` if nothing can be written now.
    fn try_write(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize>;
}
