//! An error below the protocol that deserves a report, unlike a connection that was merely reset.

use std::{fmt, io};

/// The description of a TLS error of a peer.
#[derive(Debug)]
pub(crate) struct TlsFailure(String);

impl TlsFailure {
    /// Returns the text, if `error` is a TLS failure.
    pub(crate) fn of(error: &io::Error) -> Option<&str> {
        error.get_ref()?.downcast_ref().map(|Self(text)| text.as_str())
    }

    #[cfg(feature = "tls")]
    pub(super) fn into_io(text: impl Into<String>) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, Self(text.into()))
    }
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TLS: {}", self.0)
    }
}

impl std::error::Error for TlsFailure {}
