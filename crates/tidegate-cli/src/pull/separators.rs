//! Payloads that hold the byte that ends a record: whoever reads them takes one for several.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::args::SeparatorInPayload;
use crate::records::Framing;

/// What to do with such a payload. The user is told once.
#[derive(Debug)]
pub(crate) struct Separators {
    rule: SeparatorInPayload,
    told: AtomicBool,
}

/// The reason that the pusher gets.
pub(crate) const REASON: &str =
    "the payload holds the byte that ends a record; the puller needs --length-prefixed or --json";

impl Separators {
    pub(crate) fn new(rule: SeparatorInPayload) -> Self {
        Self { rule, told: AtomicBool::new(false) }
    }

    /// Whether `content` may become a record.
    pub(crate) fn allow(&self, framing: Framing, content: &[u8]) -> bool {
        if framing.carries(content) {
            return true;
        }
        let allowed = self.rule == SeparatorInPayload::Warn;
        if !self.told.swap(true, Ordering::Relaxed) {
            let (byte, other) = match framing {
                Framing::Null => ("a NUL byte", "--length-prefixed or --json"),
                _ => ("a newline", "--null, --length-prefixed or --json"),
            };
            let done = if allowed {
                "it is written as it is, and looks like several records; --separator-in-payload reject would reject it"
            } else {
                "it is rejected, as all others like it"
            };
            tracing::warn!(
                "a payload holds {byte}, which ends a record: {done}; {other} tells records apart"
            );
        }
        allowed
    }
}
