//! The deliveries that a pusher may send again if its link is lost: those without an outcome, and those whose outcome
//! may not have arrived. The cost is per batch and per `Ack`, not per message.

use std::collections::VecDeque;

use crate::{v1, wire::Numbers};

/// The deliveries of one link, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::puller) struct LinkHistory {
    /// The message numbers of each batch.
    batches: VecDeque<PastBatch>,
    /// The number of batches without open deliveries.
    closed: usize,
    /// The number of runs of message numbers in all batches.
    runs: usize,
    /// Deliveries for which no outcome was sent: ranges `(first, end)`, in order.
    unsettled: VecDeque<(u64, u64)>,
    /// Outcomes that may not have arrived.
    sent: VecDeque<SentAck>,
    /// The number of ranges in `sent`.
    ranges: usize,
    /// The message limit of the last `Ack`.
    sent_limit: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct PastBatch {
    first_id: u64,
    numbers: Numbers,
    /// The number of its deliveries that are unsettled, or have an outcome that may not have arrived.
    open: u64,
}

impl PastBatch {
    fn end(&self) -> u64 {
        self.first_id + self.numbers.len()
    }
}

/// The outcomes of one `Ack`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct SentAck {
    /// The message limit before this `Ack`. A delivery with this id or a higher one shows that this `Ack`, or a later
    /// one, has arrived.
    limit_before: u64,
    /// The position of its end among the bytes of the link.
    ends_at: u64,
    outcomes: Vec<v1::Outcome>,
}

impl LinkHistory {
    /// A batch has arrived. If there are more than `limit` runs, the oldest batches are forgotten.
    pub(in crate::puller) fn record_batch(&mut self, first_id: u64, numbers: Numbers, limit: usize) {
        let end = first_id + numbers.len();
        match self.unsettled.back_mut() {
            Some((_, last)) if *last == first_id => *last = end,
            _ => self.unsettled.push_back((first_id, end)),
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
        message_limit: u64,
        ends_at: u64,
        limit: usize,
    ) {
        let limit_before = std::mem::replace(&mut self.sent_limit, message_limit);
        if outcomes.is_empty() {
            return;
        }
        for outcome in &outcomes {
            self.settled(outcome.first, outcome.first + outcome.count);
        }
        self.ranges += outcomes.len();
        self.sent.push_back(SentAck { limit_before, ends_at, outcomes });
        while self.ranges > limit {
            self.confirm_oldest();
        }
    }

    fn settled(&mut self, first: u64, end: u64) {
        let index = self.unsettled.partition_point(|(_, to)| *to <= first);
        let Some((from, to)) = self.unsettled.get_mut(index) else { return };
        let (before, after) = ((*from, first), (end, *to));
        match (before.0 < before.1, after.0 < after.1) {
            (false, false) => {
                self.unsettled.remove(index);
            }
            (false, true) => *from = end,
            (true, false) => *to = first,
            (true, true) => {
                *to = first;
                self.unsettled.insert(index + 1, after);
            }
        }
    }

    /// Deliveries below `end` have arrived, and the peer has read `bytes` bytes. Outcomes that this proves to have
    /// arrived are forgotten.
    pub(in crate::puller) fn confirm(&mut self, end: u64, bytes: u64) {
        while self.sent.front().is_some_and(|sent| sent.limit_before < end || sent.ends_at <= bytes) {
            self.confirm_oldest();
        }
    }

    fn confirm_oldest(&mut self) {
        let Some(sent) = self.sent.pop_front() else { return };
        self.ranges -= sent.outcomes.len();
        for outcome in sent.outcomes {
            let (first, end) = (outcome.first, outcome.first + outcome.count);
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
    pub(in crate::puller) fn unsettled(&self) -> impl Iterator<Item = u64> + '_ {
        self.unsettled.iter().flat_map(|(from, to)| *from..*to)
    }

    /// Takes the outcomes that may not have arrived.
    pub(in crate::puller) fn take_sent(&mut self) -> impl Iterator<Item = v1::Outcome> + use<> {
        self.ranges = 0;
        std::mem::take(&mut self.sent).into_iter().flat_map(|sent| sent.outcomes)
    }

    /// The message number of a delivery, if it is remembered.
    pub(in crate::puller) fn number(&self, id: u64) -> Option<u64> {
        let past = self.batches.get(self.batches.partition_point(|past| past.end() <= id))?;
        past.numbers.get(id.checked_sub(past.first_id)?)
    }
}
