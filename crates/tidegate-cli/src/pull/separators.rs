//! Payloads that contain the record separator: their reader would take one record for several.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::args::SeparatorInPayload;
use crate::records::Framing;

/// What to do with such a payload. The first one is logged.
#[derive(Debug)]
pub(crate) struct Separators {
    rule: SeparatorInPayload,
    warned: AtomicBool,
}

/// The reason that the pusher receives.
pub(crate) const REASON: &str =
    "the payload contains the record separator; the puller needs --length-prefixed or --json";

impl Separators {
    pub(crate) fn new(rule: SeparatorInPayload) -> Self {
        Self { rule, warned: AtomicBool::new(false) }
    }

    /// Whether `content` may be written as a record.
    pub(crate) fn allow(&self, framing: Framing, content: &[u8]) -> bool {
        if framing.carries(content) {
            return true;
        }
        let allowed = self.rule == SeparatorInPayload::Warn;
        if !self.warned.swap(true, Ordering::Relaxed) {
            let (byte, other) = match framing {
                Framing::Null => ("a NUL byte", "--length-prefixed or --json"),
                _ => ("a newline", "--null, --length-prefixed or --json"),
            };
            let done = if allowed {
                "it is written unchanged and will be read as several records; \
                 use --separator-in-payload reject to reject it"
            } else {
                "this message and all others like it are rejected"
            };
            tracing::warn!(
                "a payload contains {byte}, which ends a record: {done}; {other} avoids the conflict"
            );
        }
        allowed
    }
}
