//! TLS for `tls://` endpoints: the settings ([`TlsConfig`]), and their loaded form ([`Tls`]).

mod config;
mod error;
mod explain;
mod names;
mod read;
mod verify;

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::{Resumption, WebPkiServerVerifier},
    crypto::CryptoProvider,
    pki_types::ServerName,
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};

pub use self::{
    config::{Pem, TlsConfig},
    error::{TlsError, TlsPart},
};
pub(crate) use self::{
    explain::{TlsSide, explain, not_tls},
    names::verified_names,
};

/// The protocol name that both sides use in the TLS handshake (TL-3).
pub(crate) const ALPN: &[u8] = b"tidegate/1";

/// TLS settings that have been read and checked, for [`PushBuilder::tls`](crate::PushBuilder::tls) and
/// [`PullBuilder::tls`](crate::PullBuilder::tls).
///
/// This is a cheap handle: clones refer to the same settings. [`Tls::reload`] on one of them affects every
/// socket that was given one. Open links keep the settings that they were made with (TL-8).
#[derive(Clone)]
pub struct Tls(Arc<Mutex<Arc<Loaded>>>);

impl Tls {
    /// Reads the files of the settings and checks them.
    ///
    /// Blocks while it reads. Each file may have up to 4 MiB. [`TlsConfig`] has an example.
    ///
    /// # Errors
    /// [`TlsError`] if a file cannot be read or does not contain what it should, the key does not match the
    /// certificate, or a setting is invalid.
    pub fn load(config: TlsConfig) -> Result<Self, TlsError> {
        Ok(Self(Arc::new(Mutex::new(Arc::new(Loaded::new(config)?)))))
    }

    /// Reads the same files again, and uses them for new connections.
    ///
    /// Open links stay. Blocks while it reads.
    ///
    /// ```
    /// # fn main() -> Result<(), tidegate::TlsError> {
    /// use tidegate::{Tls, TlsConfig};
    ///
    /// let tls = Tls::load(TlsConfig::new())?;
    /// tls.reload()?; // on SIGHUP, for example
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The same as [`Self::load`]; then nothing changes.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.replace(self.loaded().config.clone())
    }

    /// Replaces the settings, and uses them for new connections. For PEM data that is not in files.
    ///
    /// Open links stay. Blocks while it reads.
    ///
    /// ```
    /// # fn main() -> Result<(), tidegate::TlsError> {
    /// use tidegate::{Tls, TlsConfig};
    ///
    /// let tls = Tls::load(TlsConfig::new())?;
    /// tls.replace(TlsConfig::new().server_name("pusher.example"))?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The same as [`Self::load`]; then nothing changes.
    pub fn replace(&self, config: TlsConfig) -> Result<(), TlsError> {
        self.prepare(config).map(Prepared::commit)
    }

    /// Reads the same files again and checks them, but changes nothing before [`Prepared::commit`].
    ///
    /// Use it to change something else together with the files, such as tokens, or nothing at all. Blocks
    /// while it reads.
    ///
    /// # Errors
    /// The same as [`Self::load`].
    ///
    /// ```
    /// # use tidegate::{Push, Tls, Tokens, TlsConfig};
    /// # fn reload(tls: &Tls, push: &Push, tokens: Tokens) -> Result<(), Box<dyn std::error::Error>> {
    /// let certificates = tls.prepare_reload()?; // nothing has changed if this fails,
    /// push.set_tokens(tokens)?; // nor if this does;
    /// certificates.commit(); // and this cannot.
    /// # Ok(())
    /// # }
    /// ```
    pub fn prepare_reload(&self) -> Result<Prepared, TlsError> {
        self.prepare(self.loaded().config.clone())
    }

    fn prepare(&self, config: TlsConfig) -> Result<Prepared, TlsError> {
        let old = self.loaded();
        let new = Loaded::new(config)?;
        if old.server.is_some() && new.server.is_none() {
            return Err(TlsError::NoIdentity);
        }
        if old.verifies_clients() && !new.verifies_clients() {
            return Err(TlsError::ClientsUnverified);
        }
        if old.roots().is_ok() {
            new.roots()?;
        }
        Ok(Prepared { tls: self.clone(), new: Arc::new(new) })
    }

    pub(crate) fn loaded(&self) -> Arc<Loaded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether both refer to the same settings.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.loaded().config).finish()
    }
}

/// TLS settings that have been read again and are not in use yet, from [`Tls::prepare_reload`].
#[derive(Debug)]
#[must_use = "nothing changes before `commit`"]
pub struct Prepared {
    tls: Tls,
    new: Arc<Loaded>,
}

impl Prepared {
    /// Uses these settings for new connections; open links stay.
    ///
    /// If several were prepared at the same time, the one committed last is in use.
    pub fn commit(self) {
        *self.tls.0.lock().unwrap_or_else(PoisonError::into_inner) = self.new;
    }
}

/// What connections are made with until the next reload.
pub(crate) struct Loaded {
    config: TlsConfig,
    identity: Option<Arc<CertifiedKey>>,
    /// The CAs of the file; `None` selects those of the system, which are loaded when first needed.
    ca: Option<Arc<RootCertStore>>,
    client: OnceLock<Result<Arc<ClientConfig>, TlsError>>,
    server: Option<Arc<ServerConfig>>,
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Loaded").field(&self.config).finish()
    }
}

impl Loaded {
    fn new(config: TlsConfig) -> Result<Self, TlsError> {
        let provider = provider();
        if let Some(name) = &config.server_name {
            ServerName::try_from(name.as_str()).map_err(|_| TlsError::ServerName(name.clone()))?;
        }
        let identity = match &config.identity {
            Some((chain, key)) => Some(Arc::new(read::identity(chain, key, &provider)?)),
            None => None,
        };
        let ca = config.ca.as_ref().map(read::roots).transpose()?.map(Arc::new);
        if config.verify_clients && ca.is_none() {
            return Err(TlsError::NoCa);
        }
        if config.verify_clients && identity.is_none() {
            return Err(TlsError::NoIdentity);
        }
        let server = match &identity {
            Some(identity) => {
                let clients = ca.as_ref().filter(|_| config.verify_clients);
                Some(Arc::new(server(&provider, identity.clone(), clients.cloned())?))
            }
            None => None,
        };
        Ok(Self { config, identity, ca, client: OnceLock::new(), server })
    }

    pub(crate) fn verifies_clients(&self) -> bool {
        self.config.verify_clients
    }

    /// The configuration of a listener.
    ///
    /// # Errors
    /// There is no certificate.
    pub(crate) fn server(&self) -> Result<Arc<ServerConfig>, TlsError> {
        self.server.clone().ok_or(TlsError::NoIdentity)
    }

    /// The configuration of a connector.
    ///
    /// # Errors
    /// No CA was given, and the system has none.
    pub(crate) fn client(&self) -> Result<Arc<ClientConfig>, TlsError> {
        self.client
            .get_or_init(|| {
                let roots = match &self.ca {
                    Some(roots) => roots.clone(),
                    None => Arc::new(read::system_roots()?),
                };
                client(&provider(), self.identity.clone(), roots).map(Arc::new)
            })
            .clone()
    }

    fn roots(&self) -> Result<(), TlsError> {
        match self.client.get() {
            Some(client) => client.as_ref().map(|_| ()).map_err(Clone::clone),
            None if self.ca.is_some() => Ok(()),
            None => self.client().map(|_| ()),
        }
    }

    /// The name that the certificate of `host` must contain.
    ///
    /// # Errors
    /// The name is neither a DNS name nor an address.
    pub(crate) fn server_name(&self, host: &str) -> Result<ServerName<'static>, TlsError> {
        let name = self.config.server_name.as_deref().unwrap_or(host);
        // A final dot does not change a name, and certificates contain names without it.
        let undotted = name.strip_suffix('.').unwrap_or(name);
        ServerName::try_from(undotted.to_owned()).map_err(|_| TlsError::ServerName(name.to_owned()))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// TLS 1.3 only (TL-1). Sessions are not resumed, so a reload applies to the next connection (TL-8).
fn server(
    provider: &Arc<CryptoProvider>,
    identity: Arc<CertifiedKey>,
    clients: Option<Arc<RootCertStore>>,
) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::tls)?;
    let builder = match clients {
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build();
            builder.with_client_cert_verifier(verify::clients(verifier.map_err(TlsError::tls)?))
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The counterpart of [`server`] for the side that connects, which accepts only servers that pass the
/// verifier (TL-2).
fn client(
    provider: &Arc<CryptoProvider>,
    identity: Option<Arc<CertifiedKey>>,
    roots: Arc<RootCertStore>,
) -> Result<ClientConfig, TlsError> {
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::tls)?
        // The verifier of rustls, wrapped so that it records the refused certificate for the error.
        .dangerous()
        .with_custom_certificate_verifier(verify::servers(verifier.build().map_err(TlsError::tls)?));
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}
