//! Settles deliveries (OC-1), on open links and on lost ones.

use super::{Puller, Received, Verdict, mark_ready};
use crate::{
    amount::Amount,
    delivery_id::{DeliveryId, DeliveryRange},
    link_id::LinkId,
    wire::Item,
};

impl<H: Clone + Default> Puller<H> {
    /// Settles a delivery (OC-1). If its link is lost, the outcome is sent only if the message is redelivered (RD-5,
    /// RD-9).
    ///
    /// Returns whether half of a window has been settled although deliveries wait for the application (OC-5). If so, an
    /// application that shares its thread with the driver should let the driver run. Otherwise the pusher waits for
    /// credit that could be granted.
    #[inline]
    pub fn settle(&mut self, received: &Received<H>, verdict: &Verdict) -> bool {
        self.settle_item(received.link(), &received.item, verdict)
    }

    /// Settles one delivery of a [`DeliveryBatch`](super::DeliveryBatch), as [`Self::settle`] does.
    #[inline]
    pub fn settle_item(&mut self, link: LinkId, item: &Item, verdict: &Verdict) -> bool {
        let (id, one) = (DeliveryId::new(item.id), Amount::new(1, item.size.into()));
        self.settle_range(link, id, one, item.is_tracked(), verdict)
    }

    /// Settles deliveries of a [`DeliveryBatch`](super::DeliveryBatch) with consecutive ids from `first`, whose senders
    /// do not wait for the outcome ([`Item::is_tracked`]). `deliveries` is their number, and the sum of their sizes.
    pub fn settle_untracked(
        &mut self,
        link: LinkId,
        first: u64,
        deliveries: Amount,
        verdict: &Verdict,
    ) -> bool {
        self.settle_range(link, DeliveryId::new(first), deliveries, false, verdict)
    }

    #[inline]
    fn settle_range(
        &mut self,
        id: LinkId,
        first: DeliveryId,
        deliveries: Amount,
        tracked: bool,
        verdict: &Verdict,
    ) -> bool {
        self.in_flight -= deliveries.messages;
        match self.settle_open(id, first, deliveries, tracked, verdict) {
            Some(due) => due,
            None => self.settle_detached(id, DeliveryRange::new(first, deliveries.messages), verdict),
        }
    }

    /// Settles deliveries of an open link, whether they are handed out or not. Returns `None` if the link is not open.
    #[inline]
    pub(super) fn settle_open(
        &mut self,
        id: LinkId,
        first: DeliveryId,
        deliveries: Amount,
        tracked: bool,
        verdict: &Verdict,
    ) -> Option<bool> {
        let link = self.links.get_mut(id).filter(|link| link.session.is_open())?;
        let count = deliveries.messages;
        match verdict {
            Verdict::Ack => self.stats.acked += count,
            Verdict::Nack { .. } => self.stats.nacked += count,
            Verdict::Reject { .. } => self.stats.rejected += count,
            Verdict::Release => self.stats.released += count,
        }
        link.grant.settle(&mut self.budget, deliveries);
        if link.grant.outstanding().messages == 0 && link.may_be_granted() {
            self.place_queue.enter(id, &mut link.ticket);
        }
        // The first outcome wakes the driver too, so that it sets its timer (OC-5).
        let begins = link.outcomes.is_empty();
        link.outcomes.push(first, deliveries, verdict);
        link.ack_now |= tracked;
        let full = link.outcomes_fill_half();
        let due = tracked || full || link.queued.messages == 0 || begins;
        if !link.in_pending {
            link.in_pending = true;
            self.pending.push(id);
        }
        if due {
            mark_ready(&mut self.ready_links, id, link);
        }
        Some(full && self.queued.messages > 0)
    }

    /// Makes all outcomes due that are held back (OC-5). For a driver that has held them back before it settled them.
    pub fn send_outcomes(&mut self) {
        for id in std::mem::take(&mut self.pending) {
            if let Some(link) = self.links.get_mut(id) {
                link.in_pending = false;
                link.ack_now |= !link.outcomes.is_empty();
                mark_ready(&mut self.ready_links, id, link);
            }
        }
    }

    /// Reports that the application still works on a delivery. The puller sends `Working`, which restarts the pusher's
    /// settle time-out (OC-13).
    pub fn working(&mut self, link: LinkId, delivery: u64) {
        let delivery = (link, DeliveryId::new(delivery));
        let (link, delivery) = self.dedup.duplicate_of(delivery).unwrap_or(delivery);
        if let Some(found) = self.links.get_mut(link).filter(|found| found.session.is_open()) {
            // The first one wakes the driver, so that it sets its timer.
            let begins = found.working.is_empty();
            found.working.insert(delivery);
            if begins {
                mark_ready(&mut self.ready_links, link, found);
            }
        }
    }

    /// Whether an outcome of this delivery could be sent now: on its link, or on the link on which the message was
    /// redelivered (RD-9).
    #[must_use]
    pub fn is_reachable(&self, link: LinkId, delivery: u64) -> bool {
        self.is_open(link) || self.dedup.duplicate_of((link, DeliveryId::new(delivery))).is_some()
    }
}
