//! `TlsConfig` and `Pem`: TLS settings as plain data.

use std::{fmt, path::PathBuf};

/// PEM data, in a file or in memory.
///
/// ```
/// use tidegate::Pem;
///
/// let _ca = Pem::file("/etc/tidegate/ca.pem");
/// let key = Pem::bytes("-----BEGIN PRIVATE KEY-----");
/// assert_eq!(format!("{key:?}"), "Bytes(27, not shown)");
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pem {
    /// A file, which is read again on a reload.
    File(PathBuf),
    /// The PEM text itself.
    Bytes(Vec<u8>),
}

impl Pem {
    /// Refers to PEM data in a file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::File(path.into())
    }

    /// Holds PEM data in memory.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl fmt::Debug for Pem {
    /// Bytes may be a private key, so they are not printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Bytes(bytes) => write!(f, "Bytes({}, not shown)", bytes.len()),
        }
    }
}

/// The TLS settings of a socket: its certificate and the CAs that it trusts. [`Tls::load`](super::Tls::load)
/// reads the files and checks the settings.
///
/// * A socket that connects trusts the CAs given here, or those of the system.
/// * A socket that is bound needs an identity. With [`verify_clients`](Self::verify_clients), it accepts only
///   clients with a certificate signed by the given CAs.
/// * A socket that connects with an identity presents it to every server that requests it.
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
    /// Creates empty settings. They suffice to connect to servers whose certificate is signed by a CA that
    /// the system trusts.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the CA certificates to trust, one or several, instead of those of the system.
    pub fn ca(mut self, certificates: Pem) -> Self {
        self.ca = Some(certificates);
        self
    }

    /// Sets the certificate of this socket, and its private key.
    ///
    /// The certificate may be followed by those of intermediate CAs. The key is unencrypted PKCS#8, SEC1 or
    /// PKCS#1.
    pub fn identity(mut self, chain: Pem, key: Pem) -> Self {
        self.identity = Some((chain, key));
        self
    }

    /// Requires clients of a bound socket to present a certificate signed by one of the CAs of
    /// [`ca`](Self::ca) (TL-4).
    ///
    /// The CAs of the system cannot be used for this, because they sign certificates for everyone.
    pub fn verify_clients(mut self, verify: bool) -> Self {
        self.verify_clients = verify;
        self
    }

    /// Sets the name or address that the server's certificate must contain. Default: the host of the
    /// endpoint.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }
}
