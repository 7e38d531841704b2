//! The errors of TLS settings.

use std::{fmt, io, path::PathBuf, sync::Arc};

/// The part of the settings that an error is about, and its file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsPart {
    /// "CA certificate", "certificate" or "private key".
    pub what: &'static str,
    /// The file; `None` if the data was given in memory.
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
        /// The part.
        part: TlsPart,
        /// The error of the system.
        source: Arc<io::Error>,
    },
    /// A file is larger than 4 MiB.
    #[error("{part} has more than {limit} bytes, the maximum")]
    TooLarge {
        /// The part.
        part: TlsPart,
        /// The limit, in bytes.
        limit: u64,
    },
    /// There is no PEM data of the required kind.
    #[error("{part} holds no {wanted}")]
    NoPem {
        /// The part.
        part: TlsPart,
        /// What is required, and what was found instead if that is known.
        wanted: &'static str,
    },
    /// The PEM data is damaged.
    #[error("{part} is damaged: {problem}")]
    Damaged {
        /// The part.
        part: TlsPart,
        /// What is damaged.
        problem: String,
    },
    /// The key is of a kind that is not supported.
    #[error(
        "{part} cannot be used: {problem}; supported keys are ECDSA (P-256, P-384), Ed25519, and RSA with 2048 bits \
         or more"
    )]
    Key {
        /// The part.
        part: TlsPart,
        /// Why it is not supported.
        problem: String,
    },
    /// The key does not belong to the certificate.
    #[error("{key} does not match the certificate{}", of_file(certificate))]
    KeyMismatch {
        /// The key.
        key: TlsPart,
        /// The certificate.
        certificate: TlsPart,
    },
    /// A socket is bound to a `tls://` endpoint or verifies clients, but has no certificate.
    #[error("a tls:// endpoint that is bound needs a certificate and its key (TlsConfig::identity)")]
    NoIdentity,
    /// Clients are to be verified, but no CA was given.
    #[error("to verify clients, the CA that signs their certificates must be given (TlsConfig::ca)")]
    NoCa,
    /// A reload must not disable the verification of clients.
    #[error("client verification is on, and a reload cannot turn it off; build a new socket")]
    ClientsUnverified,
    /// The server name is neither a DNS name nor an IP address.
    #[error("{0:?} is neither a DNS name nor an IP address, so no certificate can be valid for it")]
    ServerName(String),
    /// No CA was given, and the system has none.
    #[error("the system has no usable CA certificates{0}; give a CA file (TlsConfig::ca)")]
    SystemRoots(String),
    /// Another error of TLS.
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
