//! Where a transport connects to, or listens.

use std::{fmt, path::PathBuf};

use super::Custom;

/// The address of an endpoint, without its pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    Tcp { host: String, port: u16 },
    Tls { host: String, port: u16 },
    Unix { path: PathBuf },
    Mem { name: String },
    Custom { transport: Custom, place: String },
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => network(f, "tcp", host, *port),
            Self::Tls { host, port } => network(f, "tls", host, *port),
            Self::Unix { path } => write!(f, "unix://{}", path.display()),
            Self::Mem { name } => write!(f, "mem://{name}"),
            Self::Custom { transport, place } => write!(f, "{}://{place}", transport.scheme()),
        }
    }
}

fn network(f: &mut fmt::Formatter<'_>, scheme: &str, host: &str, port: u16) -> fmt::Result {
    if host.contains(':') {
        write!(f, "{scheme}://[{host}]:{port}")
    } else {
        write!(f, "{scheme}://{host}:{port}")
    }
}
