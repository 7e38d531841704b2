//! The deliveries that a pusher may send again if its link is lost: those without an outcome, and those whose outcome
//! may not have arrived. The cost is per batch and per `Ack`, not per message.

use std::collections::VecDeque;

use crate::{
    delivery_id::{DeliveryId, DeliveryRange},
    message_number::MessageNumber,
    v1,
    wire::Numbers,
};

/// The deliveries of one link, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::puller) struct LinkHistory {
    /// The message numbers of each batch.
    batches: VecDeque<PastBatch>,
    /// The number of batches without open deliveries.
    closed: usize,
    /// The number of runs of message numbers in all batches.
    runs: usize,
    /// Deliveries for which no outcome was sent, in order.
    unsettled: VecDeque<DeliveryRange>,
    /// Outcomes that may not have arrived.
    sent: VecDeque<SentAck>,
    /// The number of ranges in `sent`.
    ranges: usize,
    /// The message limit of the last `Ack`: ids below it could be used.
    sent_limit: DeliveryId,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct PastBatch {
    first_id: DeliveryId,
    numbers: Numbers,
    /// The number of its deliveries that are unsettled, or have an outcome that may not have arrived.
    open: u64,
}

impl PastBatch {
    fn end(&self) -> DeliveryId {
        self.first_id + self.numbers.len()
    }
}

/// The outcomes of one `Ack`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct SentAck {
    /// The message limit before this `Ack`. A delivery with this id or a higher one shows that this `Ack`, or a later
    /// one, has arrived.
    limit_before: DeliveryId,
    /// The position of its end among the bytes of the link.
    ends_at: u64,
    outcomes: Vec<v1::Outcome>,
}

impl LinkHistory {
    /// A batch has arrived. If there are more than `limit` runs, the oldest batches are forgotten.
    pub(in crate::puller) fn record_batch(&mut self, first_id: DeliveryId, numbers: Numbers, limit: usize) {
        let range = DeliveryRange::new(first_id, numbers.len());
        let joined = self.unsettled.back_mut().is_some_and(|last| last.join(range));
        if !joined {
            self.unsettled.push_back(range);
        }
        self.runs += numbers.runs();
        self.batches.push_back(PastBatch { first_id, open: numbers.len(), numbers });
        while self.runs > limit
            && let Some(past) = self.batches.pop_front()
        {
            self.runs -= past.numbers.runs();
            self.closed -= usize::from(past.open == 0);
        }
    }

    /// An `Ack` was sent. If there are more than `limit` ranges, the oldest are forgotten.
    pub(in crate::puller) fn record_ack(
        &mut self,
        outcomes: Vec<v1::Outcome>,
        message_limit: DeliveryId,
        ends_at: u64,
        limit: usize,
    ) {
        let limit_before = std::mem::replace(&mut self.sent_limit, message_limit);
        if outcomes.is_empty() {
            return;
        }
        for outcome in &outcomes {
            self.settled(DeliveryRange::of(outcome));
        }
        self.ranges += outcomes.len();
        self.sent.push_back(SentAck { limit_before, ends_at, outcomes });
        while self.ranges > limit {
            self.confirm_oldest();
        }
    }

    fn settled(&mut self, range: DeliveryRange) {
        let index = self.unsettled.partition_point(|unsettled| unsettled.end <= range.first);
        let Some(unsettled) = self.unsettled.get_mut(index) else { return };
        let before = DeliveryRange { end: range.first, ..*unsettled };
        let after = DeliveryRange { first: range.end, ..*unsettled };
        match (before.is_empty(), after.is_empty()) {
            (true, true) => {
                self.unsettled.remove(index);
            }
            (true, false) => *unsettled = after,
            (false, true) => *unsettled = before,
            (false, false) => {
                *unsettled = before;
                self.unsettled.insert(index + 1, after);
            }
        }
    }

    /// Deliveries below `end` have arrived, and the peer has read `bytes` bytes. Outcomes that this proves to have
    /// arrived are forgotten.
    pub(in crate::puller) fn confirm(&mut self, end: DeliveryId, bytes: u64) {
        while self.sent.front().is_some_and(|sent| sent.limit_before < end || sent.ends_at <= bytes) {
            self.confirm_oldest();
        }
    }

    fn confirm_oldest(&mut self) {
        let Some(sent) = self.sent.pop_front() else { return };
        self.ranges -= sent.outcomes.len();
        for outcome in sent.outcomes {
            let DeliveryRange { first, end } = DeliveryRange::of(&outcome);
            let mut index = self.batches.partition_point(|past| past.end() <= first);
            while let Some(past) = self.batches.get_mut(index).filter(|past| past.first_id < end) {
                past.open -= end.min(past.end()) - first.max(past.first_id);
                self.closed += usize::from(past.open == 0);
                index += 1;
            }
        }
        while let Some(past) = self.batches.front().filter(|past| past.open == 0) {
            self.runs -= past.numbers.runs();
            self.closed -= 1;
            self.batches.pop_front();
        }
        if self.closed * 2 > self.batches.len() + 16 {
            let runs = &mut self.runs;
            self.batches.retain(|past| {
                *runs -= if past.open == 0 { past.numbers.runs() } else { 0 };
                past.open > 0
            });
            self.closed = 0;
        }
    }

    /// The ids of deliveries for which no outcome was sent.
    pub(in crate::puller) fn unsettled(&self) -> impl Iterator<Item = DeliveryId> + '_ {
        self.unsettled.iter().flat_map(|range| range.ids())
    }

    /// Takes the outcomes that may not have arrived.
    pub(in crate::puller) fn take_sent(&mut self) -> impl Iterator<Item = v1::Outcome> + use<> {
        self.ranges = 0;
        std::mem::take(&mut self.sent).into_iter().flat_map(|sent| sent.outcomes)
    }

    /// The message number of a delivery, if it is remembered.
    pub(in crate::puller) fn number(&self, id: DeliveryId) -> Option<MessageNumber> {
        let past = self.batches.get(self.batches.partition_point(|past| past.end() <= id))?;
        let place = (id >= past.first_id).then(|| id - past.first_id)?;
        past.numbers.get(place).map(MessageNumber::new)
    }
}
