//! TLS settings as plain data.

use std::{fmt, path::PathBuf};

/// PEM, in a file or at hand.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pem {
    /// A file, which is read again at a reload.
    File(PathBuf),
    /// The bytes themselves.
    Bytes(Vec<u8>),
}

impl Pem {
    /// In this file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::File(path.into())
    }

    /// These bytes.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl fmt::Debug for Pem {
    /// Bytes may be a key, and are not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Bytes(bytes) => write!(f, "Bytes({}, not shown)", bytes.len()),
        }
    }
}

/// What a socket shows of itself over TLS, and whom it trusts. Plain data; [`Tls::load`](super::Tls::load) makes something of it.
///
/// * A socket that connects trusts the CAs that it is given, or those of the system.
/// * A socket that is bound needs an identity. With [`verify_clients`](Self::verify_clients), nobody gets in without a
///   certificate by the given CAs.
/// * A socket that connects with an identity shows it to whoever asks for it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tidegate::{Pem, Tls, TlsConfig};
///
/// // A worker that shows a certificate of its own.
/// let config = TlsConfig::new()
///     .ca(Pem::file("/etc/jobs/ca.crt"))
///     .identity(Pem::file("/etc/jobs/worker-1.crt"), Pem::file("/etc/jobs/worker-1.key"))
///     .server_name("jobs.example");
/// let error = Tls::load(config).unwrap_err(); // here these files do not exist
/// assert!(error.to_string().contains("/etc/jobs/"));
///
/// // Enough to connect to a server with a public certificate.
/// Tls::load(TlsConfig::new())?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct TlsConfig {
    pub(super) ca: Option<Pem>,
    pub(super) identity: Option<(Pem, Pem)>,
    pub(super) verify_clients: bool,
    pub(super) server_name: Option<String>,
}

impl TlsConfig {
    /// Nothing set: enough to connect to servers with a certificate by a CA that the system trusts.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts these CA certificates, one or several, instead of the system's.
    pub fn ca(mut self, certificates: Pem) -> Self {
        self.ca = Some(certificates);
        self
    }

    /// Shows this certificate, followed by those of its intermediate CAs, if any; and the key that belongs to it: PKCS#8, SEC1 or
    /// PKCS#1, not encrypted.
    pub fn identity(mut self, chain: Pem, key: Pem) -> Self {
        self.identity = Some((chain, key));
        self
    }

    /// When bound: asks whoever connects for a certificate by one of the CAs of [`ca`](Self::ca) (TL-4), and takes nobody without.
    /// The system's CAs will not do for this: they sign for everybody.
    pub fn verify_clients(mut self, verify: bool) -> Self {
        self.verify_clients = verify;
        self
    }

    /// When connecting: the name, or address, that the server's certificate must have. Default: the host of the endpoint.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }
}
