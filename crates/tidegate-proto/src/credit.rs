//! The credit of one link on both sides: absolute limits, and how much of them is used.
//!
//! Unused credit is never counted. It is always the difference of a limit and what was used, so that it cannot drift
//! (CR-1).
//!
//! ```
//! use tidegate_proto::credit::{Granting, Spending};
//! # fn main() -> Result<(), tidegate_proto::Violation> {
//! // The worked example of SPEC.md: a window of 4 messages and 1,000 bytes, messages of 300 bytes.
//! let (mut puller, mut pusher) = (Granting::default(), Spending::default());
//! assert!(!pusher.may_send());
//! puller.raise(4, 1_000);
//! pusher.raise(4, 1_000);
//! for id in 0..4 {
//!     assert!(pusher.may_send()); // id 3 too: 900 bytes are fewer than 1,000
//!     assert_eq!(pusher.spend(300), id);
//! }
//! assert!(!pusher.may_send());
//! puller.accept(0, 4, 1_200, 300)?;
//! puller.settle(2, 600);
//! assert_eq!(puller.wanted(4, 1_000), (6, 1_600));
//! puller.raise(6, 1_600);
//! pusher.raise(6, 1_600);
//! assert_eq!(pusher.spend(300), 4);
//! puller.accept(4, 1, 300, 300)?;
//! // A recall: the pusher gives up one id and 100 bytes.
//! assert_eq!(pusher.skip(), (6, 100));
//! puller.skip(6, 100)?;
//! puller.settle(3, 900);
//! assert_eq!(puller.wanted(4, 1_000), (10, 2_600));
//! # Ok(())
//! # }
//! ```

use crate::{
    rule::Rule,
    violation::{Code, Violation},
    wire::MAX_COUNTER,
};

/// A link that has fewer ids or bytes left is renewed (FR-7).
const RESERVE: u64 = 1 << 40;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cr_1_limits_never_decrease_and_repeats_are_harmless() {
        // CR-1
        let mut spending = Spending::default();
        spending.raise(5, 100);
        spending.raise(3, 200);
        spending.raise(5, 100);
        spending.raise(4, 50);
        assert_eq!(spending.left(), (5, 200));
    }

    #[test]
    fn cr_2_any_positive_byte_credit_admits_one_whole_message() {
        // CR-2
        let mut spending = Spending::default();
        spending.raise(10, 1);
        assert!(spending.may_send());
        spending.spend(1_000_000);
        assert!(!spending.may_send());
        spending.raise(10, 1_000_000);
        assert!(!spending.may_send(), "the bytes sent are equal to the limit");
        spending.raise(10, 1_000_001);
        assert!(spending.may_send());
    }

    #[test]
    fn cr_3_a_batch_beyond_a_limit_is_refused_and_not_counted() {
        // CR-3
        let mut granting = Granting::default();
        granting.raise(2, 10);
        let clean = granting.clone();
        assert_eq!(granting.accept(0, 3, 3, 1).unwrap_err().code, Code::Credit);
        assert_eq!(granting.accept(0, 2, 11, 1).unwrap_err().code, Code::Credit, "10 before the last one");
        assert_eq!(granting.accept(1, 1, 1, 1).unwrap_err().rule, Rule::Dl1);
        assert_eq!(granting, clean);
        assert_eq!(granting.accept(0, 2, 1_009, 1_000), Ok(()));
        granting.raise(9, 9_999);
        assert_eq!(granting.accept(1, 1, 1, 1).unwrap_err().rule, Rule::Dl1, "a used id");
    }

    #[test]
    fn rc_3_a_skip_cannot_give_up_more_than_was_granted() {
        // RC-3
        let mut granting = Granting::default();
        granting.raise(4, 100);
        granting.accept(0, 1, 30, 30).unwrap();
        for (id, bytes) in [(0, 0), (5, 0), (4, 71)] {
            assert_eq!(granting.skip(id, bytes).unwrap_err().code, Code::Credit);
        }
        granting.skip(4, 70).unwrap();
        assert_eq!((granting.unused(), granting.outstanding(), granting.unsettled()), ((0, 0), (1, 30), 1));
    }

    #[test]
    fn cr_8_the_largest_grant_costs_nothing_and_can_be_given_up() {
        // CR-8, FR-7
        let mut spending = Spending::default();
        spending.raise(MAX_COUNTER, MAX_COUNTER);
        assert_eq!(spending.spend(5), 0);
        assert_eq!(spending.skip(), (MAX_COUNTER, MAX_COUNTER - 5));
        assert!(!spending.may_send());
    }

    #[test]
    fn fr_7_no_window_grants_more_than_a_counter_can_be() {
        // FR-7
        let mut granting = Granting::default();
        assert_eq!(granting.wanted(u64::MAX, 1 << 60), (MAX_COUNTER, MAX_COUNTER));
        assert!(granting.raise(u64::MAX, 1 << 60));
        assert_eq!(granting.limits(), (MAX_COUNTER, MAX_COUNTER));
        granting.accept(0, 1, 10, 10).unwrap();
        granting.settle(1, 10);
        assert!(!granting.is_nearly_used_up());
        granting.skip(MAX_COUNTER - RESERVE, 0).unwrap();
        assert!(!granting.is_nearly_used_up());
        granting.skip(MAX_COUNTER, MAX_COUNTER - 10).unwrap();
        assert!(granting.is_nearly_used_up());
        assert_eq!((granting.minimum_grant(), granting.wanted(4, 4)), (granting.limits(), granting.limits()));
    }
}
