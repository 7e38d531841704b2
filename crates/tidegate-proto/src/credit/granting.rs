//! The puller's side of the credit of one link.

use super::Budget;
use crate::{
    amount::Amount,
    rule::Rule,
    v1,
    violation::{Code, Violation},
    wire::MAX_COUNTER,
};

/// A link that has fewer ids or bytes left is renewed (FR-7).
pub(super) const RESERVE: u64 = 1 << 40;
/// The largest limit that a frame can contain (FR-7).
const MAX_LIMIT: Amount = Amount { messages: MAX_COUNTER, bytes: MAX_COUNTER };

/// The puller's side of a link's credit: what it has granted, and how much of it was used, settled and skipped.
///
/// Each method that changes it also changes the [`Budget`] of its socket, which counts [`Self::outstanding`] of all
/// links. Pass the same budget each time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Granting {
    limits: Amount,
    /// Received and skipped. Its messages are the next delivery id.
    used: Amount,
    /// Settled or skipped.
    done: Amount,
    /// Ids that are skipped.
    skipped: u64,
}

impl Granting {
    /// Checks a batch against the limits and counts it (CR-3, DL-1). `batch` are its messages, and `last_size` is the
    /// size of the last one. The last message may exceed the byte limit; the excess is committed too (CR-2).
    ///
    /// # Errors
    /// The batch does not begin with the next id, or exceeds a limit. It is then not counted.
    pub fn accept(
        &mut self,
        budget: &mut Budget,
        first_id: u64,
        batch: Amount,
        last_size: u64,
    ) -> Result<(), Violation> {
        if first_id != self.next_id() {
            let detail = format!("first_id is {first_id}; the next delivery id is {}", self.next_id());
            return Err(Violation::new(Code::Malformed, Rule::Dl1, detail));
        }
        let used = self.used.saturating_add(batch);
        let end = used.messages;
        if end > self.limits.messages {
            let limit = self.limits.messages;
            let detail = format!("delivery {} was sent; message_limit is {limit}", end - 1);
            return Err(Violation::new(Code::Credit, Rule::Cr3, detail));
        }
        // Limits do not change within a batch. So if the last message is within the byte limit, all messages are.
        let before_last = self.used.bytes.saturating_add(batch.bytes - last_size);
        if before_last >= self.limits.bytes {
            let limit = self.limits.bytes;
            let detail =
                format!("delivery {} was sent after {before_last} bytes; byte_limit is {limit}", end - 1);
            return Err(Violation::new(Code::Credit, Rule::Cr3, detail));
        }
        self.used = used;
        budget.commit(Amount::new(0, self.overshoot())); // there was none before
        Ok(())
    }

    /// Counts deliveries as settled.
    #[inline]
    pub fn settle(&mut self, budget: &mut Budget, deliveries: Amount) {
        self.done.messages += deliveries.messages;
        self.done.bytes = self.done.bytes.saturating_add(deliveries.bytes);
        budget.free(deliveries);
    }

    /// Applies a `Skip` (RC-3).
    ///
    /// # Errors
    /// `next_id` is below the next delivery id, or the `Skip` gives up more than the unused credit. Nothing is then
    /// changed.
    pub fn skip(&mut self, budget: &mut Budget, skip: v1::Skip) -> Result<(), Violation> {
        let (v1::Skip { next_id, bytes }, unused) = (skip, self.unused());
        if next_id < self.next_id() || next_id - self.next_id() > unused.messages || bytes > unused.bytes {
            let detail = format!(
                "Skip gives up the ids below {next_id} and {bytes} bytes; \
                 unused are {} ids from {} and {} bytes",
                unused.messages,
                self.next_id(),
                unused.bytes
            );
            return Err(Violation::new(Code::Credit, Rule::Rc3, detail));
        }
        self.give_up(budget, Amount::new(next_id - self.next_id(), bytes));
        Ok(())
    }

    /// Applies an `End`, which gives up all unused credit (ST-7).
    pub fn skip_all(&mut self, budget: &mut Budget) {
        self.give_up(budget, self.unused());
    }

    fn give_up(&mut self, budget: &mut Budget, credit: Amount) {
        self.settle(budget, credit);
        self.skipped += credit.messages;
        self.used += credit;
    }

    /// Raises the limits, up to the largest counter (FR-7), and returns whether one has changed. A limit is never
    /// lowered (CR-1). The caller keeps within the budget, with [`Budget::left_for`].
    pub fn raise(&mut self, budget: &mut Budget, limits: Amount) -> bool {
        let (limits_before, before) = (self.limits, self.outstanding());
        self.limits = self.limits.max(limits.min(MAX_LIMIT));
        budget.commit(self.outstanding() - before);
        self.limits != limits_before
    }

    /// The link is gone: frees what is outstanding on it.
    pub fn end(self, budget: &mut Budget) {
        budget.free(self.outstanding());
    }

    /// The highest limits that a window allows (CR-5, FR-7).
    #[must_use]
    pub fn wanted(&self, window: Amount) -> Amount {
        self.done.saturating_add(window).min(MAX_LIMIT)
    }

    /// The limits that allow one message more than has arrived: the minimum grant (CR-6).
    #[must_use]
    pub fn minimum_grant(&self) -> Amount {
        (self.used + Amount::new(1, 1)).min(MAX_LIMIT)
    }

    /// The limits, as `Ack` contains them.
    #[must_use]
    pub fn limits(&self) -> Amount {
        self.limits
    }

    /// The id of the next delivery.
    #[must_use]
    pub fn next_id(&self) -> u64 {
        self.used.messages
    }

    /// What the peer may still send.
    #[must_use]
    pub fn unused(&self) -> Amount {
        self.limits.saturating_sub(self.used)
    }

    /// Whether the peer may send a message: there is unused credit in messages and in bytes (CR-2).
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.unused().admits_message()
    }

    /// The bytes by which the last message exceeded the byte limit (CR-2).
    #[must_use]
    pub fn overshoot(&self) -> u64 {
        self.used.bytes.saturating_sub(self.limits.bytes)
    }

    /// What was granted and is neither settled nor skipped: unused credit and un-acked deliveries (CR-9).
    #[inline]
    #[must_use]
    pub fn outstanding(&self) -> Amount {
        Amount {
            messages: self.limits.messages - self.done.messages,
            bytes: self.limits.bytes.max(self.used.bytes).saturating_sub(self.done.bytes),
        }
    }

    /// Whether so few ids or bytes are left that the link must be renewed (FR-7).
    #[must_use]
    pub fn is_nearly_used_up(&self) -> bool {
        self.used.messages.max(self.used.bytes) > MAX_COUNTER - RESERVE
    }

    /// Deliveries that have an outcome.
    #[must_use]
    pub fn settled_deliveries(&self) -> u64 {
        self.done.messages - self.skipped
    }

    /// Deliveries that have no outcome.
    #[must_use]
    pub fn unsettled(&self) -> u64 {
        self.used.messages - self.done.messages
    }
}
