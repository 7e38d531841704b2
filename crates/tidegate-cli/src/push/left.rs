//! The messages that a pusher has left.

use bytes::Bytes;
use tidegate::{Leftover, Undelivered};

/// Payloads that were not acked, with their message numbers if they were accepted.
#[derive(Clone, Default)]
pub(crate) struct Left {
    /// Certainly not processed.
    pub(crate) not_sent: Vec<(Option<u64>, Bytes)>,
    /// Delivered, and perhaps processed.
    pub(crate) not_acked: Vec<(Option<u64>, Bytes)>,
    /// Rejected, and not in `--dead-letter`.
    pub(crate) rejected: Vec<(u64, Bytes)>,
}

impl Left {
    /// Adds the messages that a pusher has left.
    pub(crate) fn take(&mut self, leftover: Leftover) {
        let numbered = |u: Undelivered| (Some(u.id.number), u.message.into_payload());
        self.not_sent.extend(leftover.unsent.into_iter().map(numbered));
        self.not_acked.extend(leftover.unacked.into_iter().map(numbered));
    }

    /// All of it, in the order in which it was read, each accepted message once. Messages that were never
    /// accepted have no number and come last.
    pub(crate) fn in_order(self) -> Vec<(Option<u64>, Bytes)> {
        let mut all = self.not_acked;
        all.extend(self.not_sent);
        all.extend(self.rejected.into_iter().map(|(number, payload)| (Some(number), payload)));
        all.sort_by_key(|(number, _)| number.unwrap_or(u64::MAX));
        all.dedup_by(|one, other| one.0.is_some() && one.0 == other.0);
        all
    }
}
