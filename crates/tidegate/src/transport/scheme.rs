//! A scheme: the part of an endpoint before `://`, and what it selects.

use std::{
    borrow::Cow,
    fmt,
    hash::{Hash, Hasher},
    io,
    sync::Arc,
};

use super::{Transport, TransportSettings};

/// What protects the bytes of a connection on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protection {
    /// Nothing: they cross a network as they are.
    Plain,
    /// TLS, with the settings of the socket.
    Tls,
    /// They stay on this machine, or the application protects them.
    Other,
}

/// How addresses of a scheme are written, and what holds for its connections: what the library must know beyond
/// [`Transport`]. The defaults hold for a transport of the application.
pub(super) trait SchemeProfile: Sync {
    /// The character between the address and the pipeline.
    fn mark(&self) -> char {
        '#'
    }

    /// Checks an address of an endpoint, and writes it in the one form that the transport is given: with the
    /// default port, for example. Addresses are the same if these forms are equal.
    ///
    /// # Errors
    /// What is wrong, and what to write instead.
    fn complete(&self, address: &str) -> Result<String, &'static str> {
        Ok(address.to_owned())
    }

    /// Whether `bind` may choose a part of this address, such as a port for 0. Then each socket that binds to
    /// it gets an address of its own.
    fn is_chosen_by_bind(&self, _address: &str) -> bool {
        true
    }

    fn protection(&self) -> Protection {
        Protection::Other
    }

    /// The host in a complete address, if it has one.
    fn host<'a>(&self, _address: &'a str) -> Option<&'a str> {
        None
    }

    /// Whether the connections need the I/O driver of tokio. One of the application reports for itself what it
    /// lacks.
    fn needs_io(&self) -> bool {
        false
    }

    /// Checks whether a listener with the settings `own` can serve a socket with the settings `other`, too.
    ///
    /// # Errors
    /// Why not, and what to set.
    fn check_shared(&self, _own: &TransportSettings, _other: &TransportSettings) -> Result<(), String> {
        Ok(())
    }
}

/// A scheme, with its transport. Two are equal if they have the same name and refer to the same transport.
#[derive(Clone)]
pub(crate) struct Scheme {
    name: Cow<'static, str>,
    pub(super) profile: &'static dyn SchemeProfile,
    source: Source,
}

/// Where the transport is from.
#[derive(Clone)]
enum Source {
    /// One of the library, made for a socket with these settings.
    Library(MakeTransport),
    Application(Arc<dyn Transport>),
}

/// Makes a transport for a socket with these settings. Fails if a setting that it requires is missing.
type MakeTransport = fn(&TransportSettings) -> io::Result<Arc<dyn Transport>>;

struct OfApplication;

impl SchemeProfile for OfApplication {}

impl Scheme {
    /// A scheme of the library. Each is a static beside its transport.
    pub(super) const fn of_library(
        name: &'static str,
        profile: &'static dyn SchemeProfile,
        make: MakeTransport,
    ) -> Self {
        Self { name: Cow::Borrowed(name), profile, source: Source::Library(make) }
    }

    pub(super) fn of_application(name: String, transport: Arc<dyn Transport>) -> Self {
        Self { name: name.into(), profile: &OfApplication, source: Source::Application(transport) }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The transport, for a socket with these settings.
    pub(super) fn transport(&self, settings: &TransportSettings) -> io::Result<Arc<dyn Transport>> {
        match &self.source {
            Source::Library(make) => make(settings),
            Source::Application(transport) => Ok(transport.clone()),
        }
    }

    fn identity(&self) -> (&str, Option<*const ()>) {
        let transport = match &self.source {
            Source::Library(_) => None,
            Source::Application(transport) => Some(Arc::as_ptr(transport).cast()),
        };
        (&self.name, transport)
    }
}

impl PartialEq for Scheme {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Scheme {}

impl Hash for Scheme {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl fmt::Debug for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
