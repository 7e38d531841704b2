//! What can be wrong with TLS settings.

use std::{fmt, io, path::PathBuf, sync::Arc};

/// Which part of the settings an error is about, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsPart {
    /// "CA certificate", "certificate" or "private key".
    pub what: &'static str,
    /// Its file; `None` if it was given as bytes.
    pub file: Option<PathBuf>,
}

impl fmt::Display for TlsPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "the file of the TLS {}, {},", self.what, file.display()),
            None => write!(f, "the TLS {}", self.what),
        }
    }
}

/// TLS settings that cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{part} cannot be read: {source}")]
    Read {
        /// Which.
        part: TlsPart,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// A file is larger than 4 MiB.
    #[error("{part} has more than {limit} bytes")]
    TooLarge {
        /// Which.
        part: TlsPart,
        /// The limit.
        limit: u64,
    },
    /// There is no PEM of the right kind.
    #[error("{part} holds no {wanted}")]
    NoPem {
        /// Where.
        part: TlsPart,
        /// What would be right, and what is there instead if that is known.
        wanted: &'static str,
    },
    /// There is PEM, but it cannot be read.
    #[error("{part} is damaged: {problem}")]
    Damaged {
        /// Which.
        part: TlsPart,
        /// What is wrong.
        problem: String,
    },
    /// The key is of a kind that cannot be used.
    #[error(
        "{part} cannot be used: {problem}; an ECDSA (P-256, P-384), Ed25519 or RSA key (2048 bits or more) would be right"
    )]
    Key {
        /// Which.
        part: TlsPart,
        /// What is wrong.
        problem: String,
    },
    /// The key is not that of the certificate.
    #[error("{key} does not match the certificate{}: it belongs to another one", of_file(certificate))]
    KeyMismatch {
        /// The key.
        key: TlsPart,
        /// The certificate.
        certificate: TlsPart,
    },
    /// A socket is bound to a `tls://` endpoint, or verifies clients, without a certificate of its own.
    #[error("a tls:// endpoint to listen on needs a certificate and its key (TlsConfig::identity)")]
    NoIdentity,
    /// Clients are to be verified, and no CA was given.
    #[error("to verify clients, the CA that signs their certificates must be given (TlsConfig::ca)")]
    NoCa,
    /// A reload must not switch the verification of clients off.
    #[error("clients are verified until now: new settings cannot switch that off")]
    ClientsUnverified,
    /// Neither a DNS name nor an address.
    #[error("{0:?} is neither a DNS name nor an IP address: no certificate can be made for it")]
    ServerName(String),
    /// No CA was given, and the system has none.
    #[error("the system has no CA certificates that can be used{0}; a CA file of your own would be right")]
    SystemRoots(String),
    /// Something else.
    #[error("TLS: {0}")]
    Other(String),
}

impl TlsError {
    pub(super) fn tls(error: impl fmt::Display) -> Self {
        Self::Other(error.to_string())
    }
}

fn of_file(part: &TlsPart) -> String {
    part.file.as_ref().map(|file| format!(" in {}", file.display())).unwrap_or_default()
}
