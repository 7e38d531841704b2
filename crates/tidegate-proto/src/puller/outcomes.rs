//! Outcomes that wait to be sent, as ranges (OC-5).

use crate::wire::{cut_reason, v1, v1::Verdict as Wire};

/// What became of a delivery (OC-1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// Processed.
    Ack,
    /// Failed: try again, no sooner than after this delay.
    Nack {
        /// Milliseconds; 0 leaves it to the pusher (OC-6).
        delay_ms: u32,
        /// For people; cut to 256 octets.
        reason: String,
    },
    /// Failed: never try again.
    Reject {
        /// For people; cut to 256 octets.
        reason: String,
    },
    /// Not started: give it to somebody else.
    Release,
}

impl Verdict {
    fn to_wire(&self, first: u64, count: u64) -> v1::Outcome {
        let (verdict, delay_ms, reason) = match self {
            Self::Ack => (Wire::Ack, 0, ""),
            Self::Nack { delay_ms, reason } => (Wire::Nack, *delay_ms, reason.as_str()),
            Self::Reject { reason } => (Wire::Reject, 0, reason.as_str()),
            Self::Release => (Wire::Release, 0, ""),
        };
        let reason = cut_reason(reason).to_owned();
        v1::Outcome { first, count, verdict: verdict.into(), delay_ms, reason }
    }
}

/// Outcomes of one link, not yet sent. Bounded by what was delivered and not settled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Outcomes {
    /// Plain acks, as `(first, count)`: by far the most.
    acks: Vec<(u64, u64)>,
    others: Vec<v1::Outcome>,
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

impl Outcomes {
    #[inline]
    pub(super) fn push(&mut self, first: u64, count: u64, bytes: u64, verdict: &Verdict) {
        self.messages += count;
        self.bytes += bytes;
        if *verdict != Verdict::Ack {
            self.others.push(verdict.to_wire(first, count));
            return;
        }
        match self.acks.last_mut() {
            Some((from, length)) if *from + *length == first => *length += count,
            Some((from, length)) if first + count == *from => (*from, *length) = (first, *length + count),
            _ => self.acks.push((first, count)),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Everything, as it is.
    pub(super) fn peek(&self) -> Vec<v1::Outcome> {
        let acks = self.acks.iter().map(|(first, count)| Verdict::Ack.to_wire(*first, *count));
        self.others.iter().cloned().chain(acks).collect()
    }

    /// Takes everything, in as few ranges as it can be.
    pub(super) fn take(&mut self) -> Vec<v1::Outcome> {
        (self.messages, self.bytes) = (0, 0);
        let mut all = std::mem::take(&mut self.others);
        self.acks.sort_unstable();
        let mut acks = self.acks.drain(..).peekable();
        while let Some((first, mut count)) = acks.next() {
            while let Some((_, more)) = acks.next_if(|(next, _)| *next == first + count) {
                count += more;
            }
            all.push(Verdict::Ack.to_wire(first, count));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acks_in_any_order_become_as_few_ranges_as_possible() {
        // OC-5
        let mut outcomes = Outcomes::default();
        for id in [4, 5, 2, 3, 9, 0, 1, 7] {
            outcomes.push(id, 1, 10, &Verdict::Ack);
        }
        outcomes.push(6, 1, 10, &Verdict::Reject { reason: "r".repeat(300) });
        assert_eq!((outcomes.messages, outcomes.bytes), (9, 90));
        let all = outcomes.take();
        let ranges: Vec<_> = all.iter().map(|o| (o.first, o.count, o.verdict)).collect();
        assert_eq!(ranges, [(6, 1, 3), (0, 6, 1), (7, 1, 1), (9, 1, 1)]);
        assert_eq!(all[0].reason.len(), 256, "OC-7");
        assert!(outcomes.is_empty() && outcomes.take().is_empty());
    }
}
