//! What a socket sets for the transports of the library.

use crate::tls::Tls;

/// The settings of one socket. A listener has those of the socket that bound it first.
#[derive(Clone, Debug, Default)]
pub(crate) struct TransportSettings {
    /// For `tls://`.
    pub(crate) tls: Option<Tls>,
    /// The mode of the files of Unix sockets.
    pub(crate) unix_mode: Option<u32>,
}
