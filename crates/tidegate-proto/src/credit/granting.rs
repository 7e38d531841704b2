//! The puller's side of the credit of one link.

use crate::{
    rule::Rule,
    violation::{Code, Violation},
    wire::MAX_COUNTER,
};

/// A link that has fewer ids or bytes left is renewed (FR-7).
pub(super) const RESERVE: u64 = 1 << 40;

/// The puller's side of a link's credit: what it has granted, and how much of it was used, settled and skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Granting {
    message_limit: u64,
    byte_limit: u64,
    /// The next delivery id: received + skipped.
    next_id: u64,
    /// Bytes received and skipped.
    bytes: u64,
    /// Ids that are settled or skipped.
    done: u64,
    /// Ids that are skipped.
    skipped: u64,
    /// Bytes that are settled or skipped.
    done_bytes: u64,
}

impl Granting {
    /// Checks a batch against the limits and counts it (CR-3, DL-1). `size` is the size of all its messages, and
    /// `last_size` that of the last one.
    ///
    /// # Errors
    /// The batch does not begin with the next id, or exceeds a limit. It is then not counted.
    pub fn accept(&mut self, first_id: u64, count: u64, size: u64, last_size: u64) -> Result<(), Violation> {
        if first_id != self.next_id {
            let detail = format!("first_id is {first_id}; the next delivery id is {}", self.next_id);
            return Err(Violation::new(Code::Malformed, Rule::Dl1, detail));
        }
        let end = first_id.saturating_add(count);
        if end > self.message_limit {
            let limit = self.message_limit;
            let detail = format!("delivery {} was sent; message_limit is {limit}", end - 1);
            return Err(Violation::new(Code::Credit, Rule::Cr3, detail));
        }
        // Limits do not change within a batch. So if the last message is within the byte limit, all messages are.
        let before_last = self.bytes.saturating_add(size - last_size);
        if before_last >= self.byte_limit {
            let limit = self.byte_limit;
            let detail =
                format!("delivery {} was sent after {before_last} bytes; byte_limit is {limit}", end - 1);
            return Err(Violation::new(Code::Credit, Rule::Cr3, detail));
        }
        self.next_id = end;
        self.bytes = self.bytes.saturating_add(size);
        Ok(())
    }

    /// Counts `count` deliveries of `bytes` bytes together as settled.
    #[inline]
    pub fn settle(&mut self, count: u64, bytes: u64) {
        self.done += count;
        self.done_bytes = self.done_bytes.saturating_add(bytes);
    }

    /// Applies a `Skip` (RC-3).
    ///
    /// # Errors
    /// `next_id` is below the next delivery id, or the `Skip` gives up more than the unused credit.
    pub fn skip(&mut self, next_id: u64, bytes: u64) -> Result<(), Violation> {
        let (unused, unused_bytes) = self.unused();
        if next_id < self.next_id || next_id - self.next_id > unused || bytes > unused_bytes {
            let detail = format!(
                "Skip gives up the ids below {next_id} and {bytes} bytes; \
                 unused are {unused} ids from {} and {unused_bytes} bytes",
                self.next_id
            );
            return Err(Violation::new(Code::Credit, Rule::Rc3, detail));
        }
        self.settle(next_id - self.next_id, bytes);
        self.skipped += next_id - self.next_id;
        self.next_id = next_id;
        self.bytes += bytes;
        Ok(())
    }

    /// The highest limits that a window of `messages` and `bytes` allows (CR-5, FR-7).
    #[must_use]
    pub fn wanted(&self, messages: u64, bytes: u64) -> (u64, u64) {
        let limit = |done: u64, window| done.saturating_add(window).min(MAX_COUNTER);
        (limit(self.done, messages), limit(self.done_bytes, bytes))
    }

    /// The limits that allow one message more than has arrived: the minimum grant (CR-6).
    #[must_use]
    pub fn minimum_grant(&self) -> (u64, u64) {
        ((self.next_id + 1).min(MAX_COUNTER), (self.bytes + 1).min(MAX_COUNTER))
    }

    /// Raises the limits, up to the largest counter (FR-7), and returns whether one has changed. A limit is never
    /// lowered (CR-1).
    pub fn raise(&mut self, message_limit: u64, byte_limit: u64) -> bool {
        let before = self.limits();
        self.message_limit = self.message_limit.max(message_limit.min(MAX_COUNTER));
        self.byte_limit = self.byte_limit.max(byte_limit.min(MAX_COUNTER));
        self.limits() != before
    }

    /// The limits in messages and bytes, as `Ack` contains them.
    #[must_use]
    pub fn limits(&self) -> (u64, u64) {
        (self.message_limit, self.byte_limit)
    }

    /// Messages and bytes that the peer may still send.
    #[must_use]
    pub fn unused(&self) -> (u64, u64) {
        (self.message_limit - self.next_id, self.byte_limit.saturating_sub(self.bytes))
    }

    /// Whether the peer may send a message: there is unused credit in messages and in bytes (CR-2).
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let (messages, bytes) = self.unused();
        messages > 0 && bytes > 0
    }

    /// The bytes by which the last message exceeded the byte limit (CR-2).
    #[must_use]
    pub fn overshoot(&self) -> u64 {
        self.bytes.saturating_sub(self.byte_limit)
    }

    /// Messages and bytes that were granted and are neither settled nor skipped: unused credit and un-acked deliveries
    /// (CR-9).
    #[inline]
    #[must_use]
    pub fn outstanding(&self) -> (u64, u64) {
        (self.message_limit - self.done, self.byte_limit.max(self.bytes).saturating_sub(self.done_bytes))
    }

    /// Whether so few ids or bytes are left that the link must be renewed (FR-7).
    #[must_use]
    pub fn is_nearly_used_up(&self) -> bool {
        self.next_id.max(self.bytes) > MAX_COUNTER - RESERVE
    }

    /// Deliveries that have an outcome.
    #[must_use]
    pub fn settled_deliveries(&self) -> u64 {
        self.done - self.skipped
    }

    /// Deliveries that have no outcome.
    #[must_use]
    pub fn unsettled(&self) -> u64 {
        self.next_id - self.done
    }
}
