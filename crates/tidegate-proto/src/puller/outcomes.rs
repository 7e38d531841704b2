//! Outcomes that wait to be sent, as ranges (OC-5).

use std::collections::BTreeMap;

use crate::{
    amount::Amount,
    delivery_id::{DeliveryId, DeliveryRange},
    v1::{self, Verdict as Wire},
    wire::cut_reason,
};

/// The outcome that an application gives a delivery (OC-1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// Processed.
    Ack,
    /// Failed: the pusher sends the message again, after a delay.
    Nack {
        /// The delay in milliseconds. With 0, the pusher chooses it (OC-6).
        delay_ms: u32,
        /// The reason, for logs; truncated to 256 bytes.
        reason: String,
    },
    /// Failed: the pusher does not send the message again.
    Reject {
        /// The reason, for logs; truncated to 256 bytes.
        reason: String,
    },
    /// Not started: the pusher sends the message again at once, with the same attempt (OC-8).
    Release,
}

impl Verdict {
    fn to_kind(&self) -> OutcomeKind {
        let (verdict, delay_ms, reason) = match self {
            Self::Ack => (Wire::Ack, 0, ""),
            Self::Nack { delay_ms, reason } => (Wire::Nack, *delay_ms, reason.as_str()),
            Self::Reject { reason } => (Wire::Reject, 0, reason.as_str()),
            Self::Release => (Wire::Release, 0, ""),
        };
        OutcomeKind { verdict: verdict.into(), delay_ms, reason: cut_reason(reason).to_owned() }
    }
}

/// A verdict with its delay and reason. Outcomes of the same kind are merged into ranges.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct OutcomeKind {
    verdict: i32,
    delay_ms: u32,
    reason: String,
}

impl OutcomeKind {
    fn ack() -> Self {
        Verdict::Ack.to_kind()
    }

    fn outcome(&self, range: DeliveryRange) -> v1::Outcome {
        let Self { verdict, delay_ms, reason } = self;
        let (first, count) = (range.first.get(), range.count());
        v1::Outcome { first, count, verdict: *verdict, delay_ms: *delay_ms, reason: reason.clone() }
    }
}

/// Deliveries with the same kind of outcome, in the order in which they were added.
type Ranges = Vec<DeliveryRange>;

/// Outcomes of one link that were not yet sent. The un-acked deliveries bound their number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Outcomes {
    /// Acks, which are the usual outcome.
    acks: Ranges,
    others: BTreeMap<OutcomeKind, Ranges>,
    /// The deliveries of all of them.
    amount: Amount,
}

impl Outcomes {
    #[inline]
    pub(super) fn push(&mut self, first: DeliveryId, deliveries: Amount, verdict: &Verdict) {
        self.amount += deliveries;
        let range = DeliveryRange::new(first, deliveries.messages);
        if *verdict == Verdict::Ack {
            add(&mut self.acks, range);
        } else {
            self.push_other(range, verdict);
        }
    }

    /// The deliveries that have an outcome here.
    #[inline]
    pub(super) fn amount(&self) -> Amount {
        self.amount
    }

    #[cold]
    fn push_other(&mut self, range: DeliveryRange, verdict: &Verdict) {
        add(self.others.entry(verdict.to_kind()).or_default(), range);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.amount.messages == 0
    }

    /// All outcomes, without taking or merging them.
    pub(super) fn peek(&self) -> Vec<v1::Outcome> {
        let ranges = |kind: &OutcomeKind, ranges: &Ranges| -> Vec<_> {
            ranges.iter().map(|range| kind.outcome(*range)).collect()
        };
        let others = self.others.iter().flat_map(|(kind, all)| ranges(kind, all));
        others.chain(ranges(&OutcomeKind::ack(), &self.acks)).collect()
    }

    /// Takes all outcomes, in as few ranges as possible.
    pub(super) fn take(&mut self) -> Vec<v1::Outcome> {
        self.amount = Amount::ZERO;
        let mut all = Vec::new();
        for (kind, mut ranges) in std::mem::take(&mut self.others) {
            take(&mut ranges, &kind, &mut all);
        }
        take(&mut self.acks, &OutcomeKind::ack(), &mut all);
        all
    }
}

#[inline]
fn add(ranges: &mut Ranges, range: DeliveryRange) {
    let joined = ranges.last_mut().is_some_and(|last| last.join(range));
    if !joined {
        ranges.push(range);
    }
}

/// Sorts and merges ranges, and moves them to `to`.
fn take(ranges: &mut Ranges, kind: &OutcomeKind, to: &mut Vec<v1::Outcome>) {
    ranges.sort_unstable();
    let mut ranges = ranges.drain(..).peekable();
    while let Some(mut range) = ranges.next() {
        while ranges.next_if(|next| range.join(*next)).is_some() {}
        to.push(kind.outcome(range));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rule;

    #[test]
    fn oc_5_acks_in_any_order_are_merged_into_few_ranges() {
        // OC-5
        let mut outcomes = Outcomes::default();
        for id in [4, 5, 2, 3, 9, 0, 1, 7] {
            outcomes.push(DeliveryId::new(id), Amount::new(1, 10), &Verdict::Ack);
        }
        outcomes.push(DeliveryId::new(6), Amount::new(1, 10), &Verdict::Reject { reason: "r".repeat(300) });
        assert_eq!(outcomes.amount(), Amount::new(9, 90));
        let all = outcomes.take();
        let ranges: Vec<_> = all.iter().map(|o| (o.first, o.count, o.verdict)).collect();
        assert_eq!(ranges, [(6, 1, 3), (0, 6, 1), (7, 1, 1), (9, 1, 1)]);
        assert_eq!(all[0].reason.len(), 256, "{}", Rule::Oc7);
        assert!(outcomes.is_empty() && outcomes.take().is_empty());
    }

    #[test]
    fn oc_5_equal_nacks_and_releases_are_merged_too() {
        // OC-5
        let mut outcomes = Outcomes::default();
        let nack = |delay_ms, reason: &str| Verdict::Nack { delay_ms, reason: reason.to_owned() };
        // The order of eight workers that are slightly out of step.
        for id in (0..1_000).map(|n| n ^ 7) {
            outcomes.push(DeliveryId::new(id), Amount::new(1, 1), &nack(60_000, "busy"));
        }
        for (id, verdict) in [(1_000, nack(60_000, "other")), (1_001, nack(1, "busy"))] {
            outcomes.push(DeliveryId::new(id), Amount::new(1, 1), &verdict);
        }
        for id in [1_003, 1_005, 1_004, 1_002] {
            outcomes.push(DeliveryId::new(id), Amount::new(1, 1), &Verdict::Release);
        }
        assert_eq!(outcomes.peek().iter().map(|outcome| outcome.count).sum::<u64>(), 1_006);
        let all = outcomes.take();
        let mut ranges: Vec<_> =
            all.iter().map(|o| (o.first, o.count, o.verdict, o.delay_ms, o.reason.as_str())).collect();
        ranges.sort_unstable();
        assert_eq!(
            ranges,
            [
                (0, 1_000, 2, 60_000, "busy"),
                (1_000, 1, 2, 60_000, "other"),
                (1_001, 1, 2, 1, "busy"),
                (1_002, 4, 4, 0, "")
            ]
        );
        assert!(outcomes.is_empty() && outcomes.take().is_empty());
    }
}
