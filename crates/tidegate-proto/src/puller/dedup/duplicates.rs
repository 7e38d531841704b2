//! The deliveries of a lost link, and their redelivery (RD-5, RD-9).

use std::collections::BTreeSet;

use super::{
    history::LinkHistory,
    table::{Duplicate, Lookup},
};
use crate::{
    amount::Amount,
    delivery_id::{DeliveryId, DeliveryRange},
    link_id::LinkId,
    message_number::MessageNumber,
    puller::{Puller, Verdict},
    v1::{self, Verdict as Wire},
    wire::Batch,
};

impl<H: Clone + Default> Puller<H> {
    /// No outcome can be sent on this link any more, so that the pusher will send its messages again. Deliveries that
    /// were not handed out are dropped (RD-5). The others are recorded in the dedup table (RD-9).
    pub(in crate::puller) fn retire_link(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(id) else { return };
        let mut queued: Vec<_> = link.queued_ids().collect();
        let dropped = link.drop_inbox();
        self.queued -= dropped;
        self.stats.dropped += dropped.messages;
        if std::mem::replace(&mut link.retired, true) {
            return;
        }
        self.unused -= link.grant.unused().messages;
        if std::mem::take(&mut link.overdue) {
            self.overdue -= link.grant.unused().messages;
        }
        self.place_queue.leave(&mut link.ticket);
        self.memory.leave(id, &mut link.need);
        self.waiting_for_budget.remove(id);
        let attached: BTreeSet<DeliveryId> = self.dedup.detach_link(id).into_iter().collect();
        self.stats.dropped += attached.len() as u64;
        // A pusher that has closed the link because it stops may return with its messages (RD-11).
        if self.leaving || link.ended {
            return;
        }
        let Some(pusher) = link.session.peer.key else { return };
        let mut history = std::mem::take(&mut link.history);
        let name = |history: &LinkHistory, id| history.number(id).map(|number| (pusher, number));
        // Outcomes that wait to be sent are recorded like those that may not have arrived.
        let waiting = link.outcomes.peek();
        let outcomes: Vec<_> = history.take_sent().chain(waiting.iter().cloned()).collect();
        let mut settled = BTreeSet::new();
        for outcome in outcomes {
            let verdict = verdict(&outcome);
            for id in DeliveryRange::of(&outcome).ids() {
                settled.insert(id);
                if let (Some(message), Some(verdict)) = (name(&history, id), &verdict) {
                    self.dedup.record_done(message, verdict.clone());
                }
            }
        }
        // Deliveries that were put back may be out of order. There may be many ranges.
        queued.sort_unstable();
        let waits = |id: DeliveryId| {
            let before = queued.partition_point(|range| range.first <= id);
            before.checked_sub(1).and_then(|at| queued.get(at)).is_some_and(|range| range.contains(id))
        };
        for delivery in history.unsettled() {
            if !settled.contains(&delivery)
                && !attached.contains(&delivery)
                && !waits(delivery)
                && let Some(message) = name(&history, delivery)
            {
                self.dedup.record_in_progress((id, delivery), message);
            }
        }
    }

    /// Settles deliveries of a lost link: their outcomes go to the duplicates that have arrived since, or are recorded
    /// in the dedup table.
    pub(in crate::puller) fn settle_detached(
        &mut self,
        link: LinkId,
        deliveries: DeliveryRange,
        verdict: &Verdict,
    ) -> bool {
        let mut due = false;
        self.stats.dropped += deliveries.count();
        for id in deliveries.ids() {
            if let Some(Duplicate { link, id, size, tracked }) = self.dedup.settle((link, id), verdict) {
                match self.settle_open(link, id, Amount::new(1, size), tracked, verdict) {
                    Some(now) => due |= now,
                    None => self.stats.dropped += 1, // the link of the duplicate is closing too
                }
            }
        }
        // The places are free now, and no driver of the lost link will grant them to others.
        self.grant_to_next();
        due
    }

    /// Queues a batch without its duplicates. Messages that are done get their recorded outcome at once. Messages that
    /// are being worked on wait for the outcome of that work.
    pub(in crate::puller) fn suppress_duplicates(&mut self, id: LinkId, batch: Batch) {
        let Some(link) = self.links.get(id) else { return };
        let Some(pusher) = link.session.peer.key else { return };
        let mut rest = batch.cursor;
        // The messages since the last duplicate.
        let (mut run, mut amount) = (rest, Amount::ZERO);
        loop {
            let before = rest;
            let item = rest.next(&batch.bytes);
            let repeat = match &item {
                Some(item) if item.attempt > 1 => {
                    let message = (pusher, MessageNumber::new(item.number));
                    let (delivery, size) = (DeliveryId::new(item.id), item.size.into());
                    let here = Duplicate { link: id, id: delivery, size, tracked: item.is_tracked() };
                    self.dedup.look_up(message, here)
                }
                Some(_) => Lookup::Unknown,
                None => Lookup::Attached, // the end of the last run
            };
            if item.is_some() && matches!(repeat, Lookup::Unknown) {
                amount += before.amount() - rest.amount();
                continue;
            }
            if amount.messages > 0
                && let Some(link) = self.links.get_mut(id)
            {
                run.shorten(amount);
                self.queued += amount;
                link.push(id, batch.bytes.clone(), run, &self.retained);
            }
            (run, amount) = (rest, Amount::ZERO);
            let Some(item) = item else { return };
            self.stats.duplicates_suppressed += 1;
            if let Lookup::Done(verdict) = repeat {
                self.answered += 1;
                let (delivery, one) = (DeliveryId::new(item.id), Amount::new(1, item.size.into()));
                self.settle_open(id, delivery, one, item.is_tracked(), &verdict);
            }
        }
    }
}

/// The verdict of an outcome, if it is final: an ack or a reject.
fn verdict(outcome: &v1::Outcome) -> Option<Verdict> {
    match Wire::try_from(outcome.verdict) {
        Ok(Wire::Ack) => Some(Verdict::Ack),
        Ok(Wire::Reject) => Some(Verdict::Reject { reason: outcome.reason.clone() }),
        _ => None,
    }
}
