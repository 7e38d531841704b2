//! The un-acked messages of one link. The encoded frames are kept instead of the messages, so that no second copy is
//! needed, and an outcome for a whole frame costs nothing per message.

mod frame;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;

use self::frame::{FlightEntry, FlightFrame};
use super::{
    pending::{Extra, Pending},
    working::Working,
};
use crate::{
    amount::Amount,
    delivery_id::{DeliveryId, DeliveryRange},
    message_number::MessageNumber,
    rule::Rule,
    time::Time,
    violation::{Code, Violation},
    wire::{MAX_COUNTER, Sealed},
};

/// The number of ranges of skipped ids that are remembered, to refuse outcomes for them (OC-2). Older ones are
/// forgotten.
const MAX_SKIPPED_RANGES: usize = 64;
/// The un-acked messages of one link, by delivery id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Flight {
    frames: VecDeque<FlightFrame>,
    /// The number of frames without live messages. They are dropped when they reach the front, or when there are many.
    empty: usize,
    /// The history of the few messages that have one.
    extras: BTreeMap<DeliveryId, Extra>,
    /// Deliveries that are being worked on (OC-13).
    working: Working,
    /// For frames that begin below this id, the settle time-out has passed. Their live deliveries are in `working`.
    fresh: DeliveryId,
    skipped: VecDeque<DeliveryRange>,
    amount: Amount,
}

/// The messages that an outcome or a time-out has taken out of flight.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) amount: Amount,
    /// Tracked messages that were acked, by number.
    pub(super) tracked: Vec<MessageNumber>,
    /// The messages themselves, if the caller keeps them.
    pub(super) pending: Vec<Pending>,
    /// The number of frames looked up, whether or not something was settled.
    pub(super) lookups: u64,
    /// The last payload that was written from where it was. Its drop is code of the application, which may panic: it
    /// comes last, when everything is counted.
    spent: Option<Bytes>,
}

impl Flight {
    #[inline]
    pub(super) fn amount(&self) -> Amount {
        self.amount
    }

    pub(super) fn is_empty(&self) -> bool {
        self.amount.messages == 0
    }

    /// Adds a message. `new_frame`: it is the first one of a batch.
    #[inline]
    pub(super) fn push(
        &mut self,
        id: DeliveryId,
        number: MessageNumber,
        at: u32,
        size: u64,
        extra: Extra,
        new_frame: bool,
    ) {
        if new_frame || self.frames.is_empty() {
            self.frames.push_back(FlightFrame { first_id: id, ..FlightFrame::default() });
        }
        let one = Amount::new(1, size);
        self.amount += one;
        let Some(frame) = self.frames.back_mut() else { return };
        frame.entries.push(FlightEntry { number, at, size: size as u32 });
        frame.ids += 1;
        frame.live += one;
        if extra != Extra::default() {
            frame.special = true;
            self.extras.insert(id, extra);
        }
    }

    /// Keeps the bytes of the last frame, which is complete.
    pub(super) fn seal(&mut self, sealed: &Sealed) {
        if let Some(frame) = self.frames.back_mut() {
            frame.room = sealed.room.clone();
            frame.memory = sealed.memory;
            frame.tail.clone_from(&sealed.tail);
        }
    }

    /// The frame that begins with `first_id` was given to the driver. `ends_at` is the position of its end.
    pub(super) fn handed_over(&mut self, now: Time, first_id: DeliveryId, ends_at: u64) {
        let index = self.frames.partition_point(|frame| frame.first_id < first_id);
        if let Some(frame) = self.frames.get_mut(index)
            && frame.first_id == first_id
        {
            (frame.ends_at, frame.sent_at) = (Some(ends_at), now);
        }
    }

    /// Remembers a range of skipped ids (OC-2).
    pub(super) fn skip(&mut self, range: DeliveryRange) {
        if !range.is_empty() {
            self.skipped.push_back(range);
            if self.skipped.len() > MAX_SKIPPED_RANGES {
                self.skipped.pop_front();
            }
        }
    }

    /// Checks that outcomes for these ids are possible (OC-2, OC-10). `next_id` is the first id that was not given to
    /// the driver. So only complete frames are ever settled.
    pub(super) fn check(&self, first: u64, count: u64, next_id: DeliveryId) -> Result<(), Violation> {
        let end = first.checked_add(count).filter(|end| count > 0 && *end <= MAX_COUNTER);
        let Some(end) = end.map(DeliveryId::new) else {
            let detail = format!(
                "an outcome for {count} deliveries from id {first}; count must be at least 1, the sum at most 2^53 - 1"
            );
            return Err(Violation::new(Code::Malformed, Rule::Oc10, detail));
        };
        // They are in order.
        let first = DeliveryId::new(first);
        let next = self.skipped.partition_point(|range| range.end <= first);
        let skipped = self.skipped.get(next).filter(|range| range.first < end);
        if end > next_id || skipped.is_some() {
            let detail = match skipped {
                Some(range) => {
                    format!("an outcome for delivery {}, which was skipped", first.max(range.first))
                }
                None => {
                    let last = end.get() - 1;
                    format!("an outcome for delivery {last}; the next id to be sent is {next_id}")
                }
            };
            return Err(Violation::new(Code::UnknownDelivery, Rule::Oc2, detail));
        }
        Ok(())
    }

    /// Settles a range of ids that [`Self::check`] allows. Settled ids are passed over (OC-3). With `keep`, the
    /// messages are put into `taken`, for another attempt or a report.
    pub(super) fn settle(&mut self, range: DeliveryRange, keep: bool, taken: &mut Taken) {
        let DeliveryRange { first, end } = range;
        let begin = self.frames.partition_point(|f| f.first_id + f.ids <= first);
        let mut index = begin;
        while let Some(frame) = self.frames.get_mut(index).filter(|frame| frame.first_id < end) {
            taken.lookups += 1;
            if !frame.is_live() {
                index += frame.run.max(1);
                continue;
            }
            index += 1;
            let from = frame.index(first.max(frame.first_id) - frame.first_id);
            let to = frame.index((end - frame.first_id).min(frame.ids));
            let before = frame.live;
            if !keep && !frame.special && !frame.worked_on && from == 0 && to == frame.entries.len() {
                frame.live = Amount::ZERO;
            } else {
                frame.settle_each(from..to, keep, &mut self.extras, &mut self.working, taken);
            }
            let settled = before - frame.live;
            taken.amount += settled;
            self.amount -= settled;
            if !frame.is_live() {
                // Only its place in the order is left.
                let spent = frame.tail.take();
                (frame.room, frame.entries) = (Bytes::new(), Vec::new());
                (frame.ids, frame.id_offsets, frame.memory) = (0, Vec::new(), 0);
                self.empty += 1;
                if spent.is_some() {
                    taken.spent = spent;
                }
            } else {
                frame.forget_settled();
                frame.copy_survivors();
            }
        }
        self.join_runs(begin, index);
        self.drop_empty();
    }

    /// Joins the runs of frames without live messages from `begin` to `end`, so that later outcomes step over them at
    /// once. All these frames were in the range of an outcome, so that only the first and the last one can have live
    /// messages.
    fn join_runs(&mut self, begin: usize, end: usize) {
        let is_live = |index: usize| self.frames.get(index).is_some_and(FlightFrame::is_live);
        let end = end - usize::from(end > begin && is_live(end - 1));
        let mut index = begin + usize::from(is_live(begin));
        while let Some(frame) = self.frames.get_mut(index).filter(|_| index < end) {
            let next = index + frame.run.max(1);
            frame.run = next.max(end) - index;
            index = next;
        }
    }

    /// `Working` has named this delivery (OC-13). A settled one is passed over. With `most`, the sign of work counts at
    /// the latest for that time after the delivery was sent.
    pub(super) fn worked_on(&mut self, now: Time, id: DeliveryId, most: Option<Duration>) {
        let index = self.frames.partition_point(|f| f.first_id + f.ids <= id);
        let Some(frame) = self.frames.get_mut(index).filter(|frame| frame.first_id <= id) else { return };
        if frame.live_index(id - frame.first_id).is_none() {
            return;
        }
        frame.worked_on = true;
        let at = most.map_or(now, |most| now.min(frame.sent_at + most));
        self.working.sign(id, at);
    }

    /// The time at which to look for deliveries without an outcome or a sign of work for `timeout` (OC-12). It may be
    /// early, but is never late. It is needed at every poll of a driver, so that it is found without a search.
    pub(super) fn next_overdue(&self, timeout: Duration) -> Option<Time> {
        let fresh = self.frames.get(self.first_fresh()).filter(|frame| frame.ends_at.is_some());
        let since = [fresh.map(|frame| frame.sent_at), self.working.oldest()];
        since.into_iter().flatten().min().map(|since| since + timeout)
    }

    /// Settles overdue deliveries, and puts their messages into `taken` (OC-12).
    pub(super) fn take_overdue(&mut self, now: Time, timeout: Duration, taken: &mut Taken) {
        let mut ids = self.working.overdue(now, timeout);
        let sent = self.frames.range(self.first_fresh()..).take_while(|frame| frame.ends_at.is_some());
        for frame in sent.take_while(|frame| frame.sent_at + timeout <= now) {
            self.fresh = frame.first_id + 1;
            ids.extend(frame.live_ids().filter(|id| !frame.worked_on || !self.working.has(*id)));
        }
        ids.sort_unstable();
        for id in ids {
            self.settle(DeliveryRange::new(id, 1), true, taken);
        }
    }

    /// The index of the first frame for which the settle time-out has not passed.
    fn first_fresh(&self) -> usize {
        self.frames.partition_point(|frame| frame.first_id < self.fresh)
    }

    fn drop_empty(&mut self) {
        while self.frames.front().is_some_and(|frame| !frame.is_live()) {
            self.frames.pop_front();
            self.empty = self.empty.saturating_sub(1);
        }
        if self.empty * 2 > self.frames.len() + 16 {
            self.frames.retain(FlightFrame::is_live);
            self.empty = 0;
        }
    }

    /// Takes all messages, in the order of delivery ids, each with whether the puller may have received it: its whole
    /// frame is among the `written` bytes (RD-3).
    pub(super) fn take_all(&mut self, written: u64) -> Vec<(Pending, bool)> {
        let mut all = Vec::with_capacity(self.amount.messages as usize);
        let Self { frames, mut extras, mut working, .. } = std::mem::take(self);
        for mut frame in frames {
            let seen = frame.ends_at.is_some_and(|end| end <= written);
            let mut taken = Taken::default();
            frame.settle_each(0..frame.entries.len(), true, &mut extras, &mut working, &mut taken);
            all.extend(taken.pending.into_iter().map(|pending| (pending, seen)));
        }
        all
    }
}
