//! TLS for `tls://` endpoints: what a user sets ([`TlsConfig`]), and what is made of it ([`Tls`]).

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
    explain::{Side, explain, not_tls},
    names::verified_names,
};

/// The protocol that both sides name in the TLS handshake (TL-3).
pub(crate) const ALPN: &[u8] = b"tidegate/1";

/// TLS settings that have been read and checked, for [`PushBuilder::tls`](crate::PushBuilder::tls) and
/// [`PullBuilder::tls`](crate::PullBuilder::tls).
///
/// A cheap clone: clones are the same settings, so that [`Tls::reload`] through one of them is a reload for every socket
/// that was given one. Links that are open keep what they were made with (TL-8).
#[derive(Clone)]
pub struct Tls(Arc<Mutex<Arc<Loaded>>>);

impl Tls {
    /// Reads the files that the settings name, and checks them. Blocks while it reads. Each file may have 4 MiB.
    ///
    /// # Errors
    /// A file cannot be read or does not hold what it should, the key is not that of the certificate, or a setting is wrong.
    pub fn load(config: TlsConfig) -> Result<Self, TlsError> {
        Ok(Self(Arc::new(Mutex::new(Arc::new(Loaded::new(config)?)))))
    }

    /// Reads the same files again: new connections are made with what they hold now, and links that are open stay. Blocks while
    /// it reads.
    ///
    /// # Errors
    /// As [`Self::load`]; then everything stays as it was.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.replace(self.loaded().config.clone())
    }

    /// As [`Self::reload`], with other settings: for PEM that is not in files.
    ///
    /// # Errors
    /// As [`Self::load`]; then everything stays as it was.
    pub fn replace(&self, config: TlsConfig) -> Result<(), TlsError> {
        self.prepare(config).map(Prepared::commit)
    }

    /// Reads the same files again and checks them, as [`Self::reload`] does, but changes nothing before [`Prepared::commit`]: for a
    /// program that changes something else with it, such as tokens, and wants all of it or nothing. Blocks while it reads.
    ///
    /// # Errors
    /// As [`Self::load`].
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

    /// Whether both are clones of one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.loaded().config).finish()
    }
}

/// TLS settings that have been read and checked again, and are not in force yet: see [`Tls::prepare_reload`].
#[derive(Debug)]
#[must_use = "nothing changes before `commit`"]
pub struct Prepared {
    tls: Tls,
    new: Arc<Loaded>,
}

impl Prepared {
    /// Makes new connections with them from now on; links that are open stay. Of two that were prepared at the same time, the one
    /// that is committed last is in force.
    pub fn commit(self) {
        *self.tls.0.lock().unwrap_or_else(PoisonError::into_inner) = self.new;
    }
}

/// What connections are made with, until the next reload.
pub(crate) struct Loaded {
    config: TlsConfig,
    identity: Option<Arc<CertifiedKey>>,
    /// The CAs: those of the file, or, from when they are first needed, the system's.
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

    /// What a listener works with.
    ///
    /// # Errors
    /// There is no certificate.
    pub(crate) fn server(&self) -> Result<Arc<ServerConfig>, TlsError> {
        self.server.clone().ok_or(TlsError::NoIdentity)
    }

    /// What a connector works with.
    ///
    /// # Errors
    /// No CA was named, and the system has none.
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

    /// The name that the certificate of `host` must have.
    ///
    /// # Errors
    /// It is neither a DNS name nor an address.
    pub(crate) fn server_name(&self, host: &str) -> Result<ServerName<'static>, TlsError> {
        let name = self.config.server_name.as_deref().unwrap_or(host);
        // A name with a dot at its end is the same name; certificates have none there.
        let undotted = name.strip_suffix('.').unwrap_or(name);
        ServerName::try_from(undotted.to_owned()).map_err(|_| TlsError::ServerName(name.to_owned()))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// TLS 1.3 only (TL-1); nothing of a session outlives its connection, so that a reload is in force at once (TL-8).
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

/// As [`server`], for the side that connects, which trusts nobody whom the verifier does not (TL-2).
fn client(
    provider: &Arc<CryptoProvider>,
    identity: Option<Arc<CertifiedKey>>,
    roots: Arc<RootCertStore>,
) -> Result<ClientConfig, TlsError> {
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::tls)?
        // The verifier of rustls, which also keeps what it has refused, for the error.
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
