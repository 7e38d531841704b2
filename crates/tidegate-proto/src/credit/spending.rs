//! The pusher's side of the credit of one link.

use crate::{amount::Amount, v1};

/// The pusher's side of a link's credit: what it may still send.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Spending {
    limits: Amount,
    /// Sent and skipped. Its messages are the next delivery id.
    used: Amount,
}

impl Spending {
    /// Whether the pusher may send the next delivery (CR-2).
    #[inline]
    #[must_use]
    pub fn may_send(&self) -> bool {
        self.used.messages < self.limits.messages && self.used.bytes < self.limits.bytes
    }

    /// Uses credit for one message of `size` bytes, and returns its delivery id (DL-1).
    #[inline]
    pub fn spend(&mut self, size: u64) -> u64 {
        let id = self.used.messages;
        self.used.messages += 1;
        self.used.bytes = self.used.bytes.saturating_add(size);
        id
    }

    /// Applies a grant; a lower limit than before is ignored (CR-1).
    pub fn raise(&mut self, limits: Amount) {
        self.limits = self.limits.max(limits);
    }

    /// Gives up all unused credit, and returns the `Skip` for it (RC-1).
    pub fn skip(&mut self) -> v1::Skip {
        let left = self.left();
        self.used += left;
        v1::Skip { next_id: self.used.messages, bytes: left.bytes }
    }

    /// The id of the next delivery.
    #[must_use]
    pub fn next_id(&self) -> u64 {
        self.used.messages
    }

    /// The limit on delivery ids.
    #[must_use]
    pub fn message_limit(&self) -> u64 {
        self.limits.messages
    }

    /// What may still be sent.
    #[must_use]
    pub fn left(&self) -> Amount {
        self.limits.saturating_sub(self.used)
    }
}
