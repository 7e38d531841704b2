//! The pusher's side of the credit of one link.

/// The pusher's side of a link's credit: what it may still send.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Spending {
    message_limit: u64,
    byte_limit: u64,
    next_id: u64,
    bytes: u64,
}

impl Spending {
    /// Whether the pusher may send the next delivery (CR-2).
    #[inline]
    #[must_use]
    pub fn may_send(&self) -> bool {
        self.next_id < self.message_limit && self.bytes < self.byte_limit
    }

    /// Uses credit for one message of `size` bytes, and returns its delivery id (DL-1).
    #[inline]
    pub fn spend(&mut self, size: u64) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.bytes = self.bytes.saturating_add(size);
        id
    }

    /// Applies a grant; a lower limit than before is ignored (CR-1).
    pub fn raise(&mut self, message_limit: u64, byte_limit: u64) {
        self.message_limit = self.message_limit.max(message_limit);
        self.byte_limit = self.byte_limit.max(byte_limit);
    }

    /// Gives up all unused credit, and returns `next_id` and `bytes` of the `Skip` (RC-1).
    pub fn skip(&mut self) -> (u64, u64) {
        let bytes = self.byte_limit.saturating_sub(self.bytes);
        self.next_id = self.next_id.max(self.message_limit);
        self.bytes += bytes;
        (self.next_id, bytes)
    }

    /// The id of the next delivery.
    #[must_use]
    pub fn next_id(&self) -> u64 {
        self.next_id
    }

    /// The limit on delivery ids.
    #[must_use]
    pub fn message_limit(&self) -> u64 {
        self.message_limit
    }

    /// Messages and bytes that may still be sent.
    #[must_use]
    pub fn left(&self) -> (u64, u64) {
        (
            self.message_limit - self.next_id.min(self.message_limit),
            self.byte_limit.saturating_sub(self.bytes),
        )
    }
}
