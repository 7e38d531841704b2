//! `tls://`: TCP with TLS. The settings are [`crate::Tls`]. Without the feature `tls` the scheme is known, but has no
//! transport.

#[cfg(feature = "tls")]
mod accepting;
#[cfg(feature = "tls")]
mod stream;
#[cfg(feature = "tls")]
mod transport;

use std::{io, sync::Arc};

use super::{
    Protection, Transport, TransportSettings, host,
    scheme::{Scheme, SchemeProfile},
};

/// Whether this build includes TLS.
pub(super) const IS_INCLUDED: bool = cfg!(feature = "tls");

pub(super) static SCHEME: Scheme = Scheme::of_library("tls", &TlsProfile, make);

#[cfg(feature = "tls")]
fn make(settings: &TransportSettings) -> io::Result<Arc<dyn Transport>> {
    let tls = settings.tls.clone().ok_or_else(no_tls)?;
    Ok(Arc::new(transport::TlsTransport::new(tls)))
}

#[cfg(not(feature = "tls"))]
fn make(_: &TransportSettings) -> io::Result<Arc<dyn Transport>> {
    Err(no_tls())
}

/// Unreachable: a socket is not built without what its endpoints need.
fn no_tls() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "there are no TLS settings")
}

struct TlsProfile;

impl SchemeProfile for TlsProfile {
    fn mark(&self) -> char {
        '/'
    }

    fn complete(&self, address: &str) -> Result<String, &'static str> {
        host::complete(address)
    }

    fn is_chosen_by_bind(&self, address: &str) -> bool {
        host::has_open_port(address)
    }

    fn protection(&self) -> Protection {
        Protection::Tls
    }

    fn host<'a>(&self, address: &'a str) -> Option<&'a str> {
        host::of(address)
    }

    fn needs_io(&self) -> bool {
        true
    }

    /// All sockets at an address share one certificate, and one way to replace it (TL-8).
    fn check_shared(&self, own: &TransportSettings, other: &TransportSettings) -> Result<(), String> {
        let same = match (&own.tls, &other.tls) {
            (Some(own), Some(other)) => own.is(other),
            (own, other) => own.is_none() && other.is_none(),
        };
        if same {
            return Ok(());
        }
        let message =
            "a socket of this process is bound there with other TLS settings; use clones of one Tls";
        Err(message.to_owned())
    }
}
