//! The times and limits of a socket, in addition to those of its machine.

use std::time::Duration;

/// The times of a socket, in addition to those of its machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) handshake: Duration,
    pub(crate) min_reconnect_delay: Duration,
    pub(crate) max_reconnect_delay: Duration,
    /// The wait after a permanent refusal, if such refusals are retried.
    pub(crate) retry_refusals: Option<Duration>,
    pub(crate) close_wait: Duration,
    pub(crate) busy_poll: Duration,
}

/// The limits on handshakes and links, in addition to those of the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionLimits {
    pub(crate) handshakes: usize,
    pub(crate) handshakes_per_address: usize,
    pub(crate) links_per_address: usize,
}
