//! How a link ends.

use std::fmt;

use crate::{
    shown::shown,
    violation::{Code, Violation},
};

/// Why a link ended, and which side ended it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LinkEnd {
    /// The code of the `Close`; `None` if the stream ended without one (RD-1).
    pub code: Option<Code>,
    /// The reason, for logs. If `by_peer` is true, it is text from the peer: escape it before you show it.
    pub reason: String,
    /// Whether the peer's `Close` came first.
    pub by_peer: bool,
    /// The time, in milliseconds, after which the sender of the `Close` advises to connect again; 0: no advice.
    pub retry_after_ms: u32,
}

impl LinkEnd {
    pub(crate) fn own(code: Code, reason: impl Into<String>) -> Self {
        Self { code: Some(code), reason: reason.into(), by_peer: false, retry_after_ms: 0 }
    }

    /// Whether the link was interrupted, so that the peer may reconnect within the grace (RD-8): the stream ended
    /// without a `Close`, or the first `Close` said SILENT, TOO_SLOW or REPLACED.
    #[must_use]
    pub fn is_interruption(&self) -> bool {
        matches!(self.code, None | Some(Code::Silent | Code::TooSlow | Code::Replaced))
    }

    pub(crate) fn broken(reason: impl Into<String>) -> Self {
        Self { code: None, reason: reason.into(), by_peer: false, retry_after_ms: 0 }
    }
}

impl From<Violation> for LinkEnd {
    fn from(violation: Violation) -> Self {
        Self::own(violation.code, violation.to_string())
    }
}

impl fmt::Display for LinkEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.by_peer) {
            (None, _) => write!(f, "broken: {}", shown(&self.reason)),
            (Some(code), true) => write!(f, "closed by the peer with {code}: {}", shown(&self.reason)),
            (Some(code), false) => write!(f, "closed with {code}: {}", shown(&self.reason)),
        }
    }
}
