//! Authentication and authorization: TLS, tokens and names, as set on a builder and as a socket holds them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
};

use tidegate_proto::{SettingError, Tokens, handshake::MAX_TOKEN};

use crate::{
    caught::caught,
    error::BuildError,
    names::comparable,
    tls::Tls,
    transport::{Endpoint, Protection, TransportSettings},
};

/// A peer that asks to connect, as passed to the function of
/// [`PushBuilder::authorize`](crate::PushBuilder::authorize) or
/// [`PullBuilder::authorize`](crate::PullBuilder::authorize).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerIdentity {
    /// The verified names in its certificate: DNS names, in lower case and without a final dot, and URIs of
    /// its subject alternative names.
    ///
    /// A URI has a scheme and so contains a `:`, which no DNS name does; compare each with names of its own
    /// kind. Empty unless the endpoint is `tls://` and verifies clients.
    pub names: Vec<String>,
    /// The peer's network address, as text.
    pub address: String,
}

impl PeerIdentity {
    /// Converts a name to the form used in [`names`](Self::names), for a function that has its own list of
    /// names.
    ///
    /// A DNS name is converted to lower case and loses a final dot. A URI is not changed.
    ///
    /// # Errors
    /// No certificate can contain this name; the text says why.
    ///
    /// ```
    /// # use tidegate::PeerIdentity;
    /// assert_eq!(PeerIdentity::comparable("Worker-1.Example.").unwrap(), "worker-1.example");
    /// assert!(PeerIdentity::comparable("10.0.0.7").is_err());
    /// ```
    pub fn comparable(name: &str) -> Result<String, &'static str> {
        comparable(name)
    }
}

type Authorize = dyn Fn(&PeerIdentity, &str) -> bool + Send + Sync;

/// Decides which peer may use which pipeline (TL-5).
#[derive(Clone, Default)]
pub(crate) struct Admission {
    /// The names of each pipeline, in the form of [`comparable`].
    allowed: BTreeMap<String, BTreeSet<String>>,
    /// The first name that no certificate can contain: its pipeline, the name, and why.
    wrong: Option<(String, String, &'static str)>,
    rule: Option<Arc<Authorize>>,
}

impl Admission {
    pub(crate) fn allow(&mut self, pipeline: &str, name: &str) {
        let allowed = self.allowed.entry(pipeline.to_owned()).or_default();
        match comparable(name) {
            Ok(name) => {
                allowed.insert(name);
            }
            Err(problem) => {
                self.wrong.get_or_insert_with(|| (pipeline.to_owned(), name.to_owned(), problem));
            }
        }
    }

    pub(crate) fn authorize(&mut self, rule: impl Fn(&PeerIdentity, &str) -> bool + Send + Sync + 'static) {
        self.rule = Some(Arc::new(rule));
    }

    /// The list of the pipeline, if there is one, and the function must both admit the peer.
    fn admits(&self, peer: &PeerIdentity, pipeline: &str) -> bool {
        let listed = self
            .allowed
            .get(pipeline)
            // Verified names are already in the form of [`comparable`].
            .is_none_or(|allowed| peer.names.iter().any(|name| allowed.contains(name)));
        listed
            && self.rule.as_ref().is_none_or(|rule| {
                caught(|| rule(peer, pipeline)).unwrap_or_else(|panicked| {
                    tracing::error!("the function of authorize {panicked}; the peer is refused");
                    false
                })
            })
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = self.rule.is_some();
        f.debug_struct("Admission").field("allowed", &self.allowed).field("rule", &rule).finish()
    }
}

/// The settings of the builder.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    pub(crate) transport: TransportSettings,
    pub(crate) require_tls: bool,
    pub(crate) tokens: Option<Tokens>,
    pub(crate) admission: Admission,
}

/// The state of a socket.
pub(crate) struct Security {
    pub(crate) transport: TransportSettings,
    tokens: RwLock<Option<Tokens>>,
    admission: Admission,
}

impl Policy {
    /// Checks the settings against the endpoints.
    pub(crate) fn prepare(self, binds: &[Endpoint], connects: &[Endpoint]) -> Result<Security, BuildError> {
        let Self { mut transport, require_tls, tokens, admission } = self;
        if let Some(tokens) = &tokens {
            check_tokens(tokens)?;
        }
        let plain = |endpoint: &&Endpoint| endpoint.address.protection() == Protection::Plain;
        if let Some(endpoint) = binds.iter().chain(connects).find(plain).filter(|_| require_tls) {
            return Err(BuildError::PlainEndpoint { endpoint: endpoint.clone() });
        }
        transport.tls = settled(transport.tls, binds, connects)?;
        if let Some((pipeline, name, problem)) = admission.wrong {
            return Err(BuildError::AllowName { pipeline, name, problem });
        }
        for (pipeline, names) in &admission.allowed {
            let wrong = |problem| Err(BuildError::Allow { pipeline: pipeline.clone(), problem });
            if names.is_empty() {
                return wrong("the list of names is empty, so no peer could use it");
            }
            let mut serving = binds.iter().filter(|endpoint| endpoint.pipeline == *pipeline).peekable();
            if serving.peek().is_none() {
                return wrong("no endpoint with this pipeline is bound here");
            }
            if !serving.all(is_tls) {
                return wrong(
                    "peers have names only on tls:// endpoints, but it is also bound to another endpoint",
                );
            }
            if !verifies_clients(transport.tls.as_ref()) {
                return wrong("peers have names only if clients are verified (TlsConfig::verify_clients)");
            }
        }
        Ok(Security { transport, tokens: RwLock::new(tokens), admission })
    }
}

fn is_tls(endpoint: &Endpoint) -> bool {
    endpoint.address.protection() == Protection::Tls
}

/// The TLS settings for these endpoints: those given, or the defaults for connecting.
#[cfg(feature = "tls")]
fn settled(tls: Option<Tls>, binds: &[Endpoint], connects: &[Endpoint]) -> Result<Option<Tls>, BuildError> {
    let mut all = binds.iter().chain(connects).filter(|endpoint| is_tls(endpoint));
    let Some(first) = all.next() else { return Ok(tls) };
    let wrong = |endpoint: &Endpoint, source| BuildError::Tls {
        endpoint: endpoint.clone(),
        source: Box::new(source),
    };
    let tls = match tls {
        Some(tls) => tls,
        None => Tls::load(crate::tls::TlsConfig::new()).map_err(|error| wrong(first, error))?,
    };
    let loaded = tls.loaded();
    if let Some(endpoint) = binds.iter().find(|endpoint| is_tls(endpoint)) {
        loaded.server().map_err(|error| wrong(endpoint, error))?;
    }
    for endpoint in connects.iter().filter(|endpoint| is_tls(endpoint)) {
        let host = endpoint.address.host().unwrap_or_default();
        loaded.client().map_err(|error| wrong(endpoint, error))?;
        loaded.server_name(host).map_err(|error| wrong(endpoint, error))?;
    }
    Ok(Some(tls))
}

#[cfg(not(feature = "tls"))]
fn settled(_: Option<Tls>, binds: &[Endpoint], connects: &[Endpoint]) -> Result<Option<Tls>, BuildError> {
    match binds.iter().chain(connects).find(|endpoint| is_tls(endpoint)) {
        Some(endpoint) => Err(BuildError::NoTls { endpoint: endpoint.clone() }),
        None => Ok(None),
    }
}

#[cfg(feature = "tls")]
fn verifies_clients(tls: Option<&Tls>) -> bool {
    tls.is_some_and(|tls| tls.loaded().verifies_clients())
}

#[cfg(not(feature = "tls"))]
fn verifies_clients(_: Option<&Tls>) -> bool {
    false
}

/// Checks LM-1 and HS-10.
fn check_tokens(tokens: &Tokens) -> Result<(), SettingError> {
    let ok = SettingError::unless;
    ok(!tokens.is_empty(), "token", &format_args!("empty"), "1 to 4,096 bytes")?;
    let longest = tokens.longest();
    ok(longest <= MAX_TOKEN, "token", &format_args!("{longest} bytes long"), "1 to 4,096 bytes")
}

impl Security {
    /// The current tokens, which may be replaced at any time.
    pub(crate) fn tokens(&self) -> Option<Tokens> {
        self.tokens.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_tokens(&self, tokens: Tokens) -> Result<(), SettingError> {
        check_tokens(&tokens)?;
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = Some(tokens);
        Ok(())
    }

    pub(crate) fn admits(&self, peer: &PeerIdentity, pipeline: &str) -> bool {
        self.admission.admits(peer, pipeline)
    }

    /// Warns about a bound endpoint that every host on the network may use.
    pub(crate) fn warn_if_open(&self, bound: &Endpoint) {
        let is_loopback =
            |host: &str| host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
        if bound.address.protection() != Protection::Plain || bound.address.host().is_some_and(is_loopback) {
            return;
        }
        if self.tokens().is_none() {
            tracing::warn!(
                "{bound} is open to every host that can reach it, and is not encrypted: \
                 set a token to authenticate peers, or use tls:// to encrypt as well"
            );
        } else {
            tracing::info!("{bound} is not encrypted: an eavesdropper can read the token");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(names: &[&str]) -> PeerIdentity {
        PeerIdentity { names: names.iter().map(ToString::to_string).collect(), address: "test".into() }
    }

    #[test]
    fn the_list_and_the_function_must_both_admit_a_peer() {
        // TL-5
        let mut admission = Admission::default();
        assert!(admission.admits(&peer(&[]), "p"), "without either, every peer");
        admission.allow("p", "Worker.Example.");
        admission.allow("p", "spiffe://x/Worker");
        assert!(admission.admits(&peer(&["other", "worker.example"]), "p"));
        assert!(admission.admits(&peer(&["spiffe://x/Worker"]), "p"));
        for names in [&[][..], &["worker"], &["spiffe://x/worker"], &["worker.example.org"], &["*.example"]] {
            assert!(!admission.admits(&peer(names), "p"), "{names:?}");
        }
        assert!(admission.admits(&peer(&[]), "q"), "another pipeline has no list");
        admission.authorize(|peer, pipeline| pipeline == "p" && peer.address == "elsewhere");
        assert!(!admission.admits(&peer(&["worker.example"]), "p") && !admission.admits(&peer(&[]), "q"));
        let shown = format!("{admission:?}");
        assert!(shown.contains("worker.example") && shown.contains("rule: true"), "{shown}");
    }

    #[test]
    fn an_empty_or_too_long_token_is_refused_and_not_shown() {
        // LM-1
        for token in [String::new(), "hush".repeat(2_000)] {
            let policy = Policy { tokens: Some(token.into()), ..Policy::default() };
            let error = policy.prepare(&[], &[]).err().unwrap().to_string();
            assert!(error.starts_with("token is ") && !error.contains("hush"), "{error}");
        }
    }
}
