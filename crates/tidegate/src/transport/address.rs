//! Where a transport connects to, or listens.

use std::{fmt, io};

use super::{BoxStream, Listener, Protection, TransportSettings, scheme::Scheme};
use crate::caught::{caught, caught_in};

/// The address of an endpoint, without its pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    scheme: Scheme,
    /// As the transport is given it: checked and completed by the profile of the scheme.
    place: String,
}

impl Address {
    /// Checks an address as it was written in an endpoint.
    pub(super) fn new(scheme: Scheme, place: &str) -> Result<Self, &'static str> {
        Ok(Self { place: scheme.profile.complete(place)?, scheme })
    }

    /// Connects once, including the TLS handshake if the transport has one. Resolves a name anew each time.
    /// Returns the stream and the peer's address as text.
    pub(crate) async fn connect(&self, settings: &TransportSettings) -> io::Result<(BoxStream, String)> {
        let transport = self.scheme.transport(settings)?;
        Ok(caught_in(async { transport.connect(&self.place).await }).await??.into_parts())
    }

    /// Listens, and returns the address that others connect to.
    pub(crate) async fn bind(&self, settings: &TransportSettings) -> io::Result<(Listener, Self)> {
        let transport = self.scheme.transport(settings)?;
        let listener = caught_in(async { transport.bind(&self.place).await }).await??;
        let place = caught(|| listener.address())?;
        Ok((Listener::new(listener), Self { scheme: self.scheme.clone(), place }))
    }

    /// The character between the address and the pipeline.
    pub(super) fn mark(&self) -> char {
        self.scheme.profile.mark()
    }

    /// Whether each socket that binds to this address gets one of its own.
    pub(crate) fn is_chosen_by_bind(&self) -> bool {
        self.scheme.profile.is_chosen_by_bind(&self.place)
    }

    pub(crate) fn protection(&self) -> Protection {
        self.scheme.profile.protection()
    }

    /// The host, if the address has one.
    pub(crate) fn host(&self) -> Option<&str> {
        self.scheme.profile.host(&self.place)
    }

    /// Whether connections need the I/O driver of tokio.
    pub(crate) fn needs_io(&self) -> bool {
        self.scheme.profile.needs_io()
    }

    /// Checks whether a listener here with the settings `own` can serve a socket with the settings `other`, too.
    ///
    /// # Errors
    /// `AddrInUse`, with the reason and what to set.
    pub(crate) fn check_shared(&self, own: &TransportSettings, other: &TransportSettings) -> io::Result<()> {
        let in_use = |message| io::Error::new(io::ErrorKind::AddrInUse, message);
        self.scheme.profile.check_shared(own, other).map_err(in_use)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.place)
    }
}
