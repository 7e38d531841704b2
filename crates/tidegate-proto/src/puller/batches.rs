//! Hands out several deliveries at once.

use std::ops::RangeInclusive;

use super::{DeliveryBatch, Puller, Verdict, Window, mark_ready, received::QueuedBatch};
use crate::link_id::LinkId;

impl<H: Clone + Default> Puller<H> {
    /// Takes several deliveries of one batch at once, in the order of [`Self::recv`]: about the number that the workers
    /// settle in 0.2 ms, at most 1/4 of the window, and at most the end of `count`. If these are fewer than its start,
    /// it takes none. Until they are settled or put back, they count as in flight.
    pub fn recv_batch(&mut self, count: RangeInclusive<u64>) -> Option<DeliveryBatch<H>> {
        let free = self.cap.saturating_sub(self.in_flight);
        if self.leaving || free == 0 {
            return None;
        }
        // No more than a part of the window, or all credit would be used up before the first outcome.
        let part = self.cap / 8;
        let limit = match self.settings.window {
            Window::Auto => (self.auto.rate() / 5_000).min(part),
            Window::Fixed { .. } => part,
        };
        let id = self.next_link()?;
        let link = self.links.get_mut(id)?;
        let front = link.inbox.front_mut()?;
        let mean = front.cursor.size() / front.cursor.len().max(1);
        let limit = limit.min(link.base.bytes / 8 / mean.max(1)).max(1);
        // A part costs more than the whole, because the messages before its end are decoded twice.
        let limit =
            if front.cursor.len() <= limit * 2 { limit * 2 } else { limit }.min(free).min(*count.end());
        if front.available(limit) < *count.start() {
            return None;
        }
        let batch = front.split(limit);
        if front.cursor.is_empty() {
            link.inbox.pop_front();
            self.turn.rotate_left(1);
        }
        let deliveries = batch.cursor.amount();
        link.queued -= deliveries;
        self.queued -= deliveries;
        // Only one of them is worked on at a time.
        self.auto.busy(self.in_flight + 1);
        self.in_flight += deliveries.messages;
        if link.paused_until.is_some() && link.queued.bytes < self.settings.read_ahead {
            mark_ready(&mut self.ready_links, id, link);
        }
        Some(batch)
    }

    /// Returns the deliveries that are left of a batch, which no worker has begun. They are queued again, or released
    /// if they cannot be handed out any more.
    pub fn return_batch(&mut self, mut batch: DeliveryBatch<H>) {
        let id = batch.link();
        let deliveries = batch.cursor.amount();
        let open = self.links.get_mut(id).filter(|link| !batch.is_empty() && link.session.is_open());
        let Some(link) = open.filter(|link| link.ended || !self.leaving) else {
            // They cannot be handed out any more: release them, if the link is still there.
            while let Some(item) = batch.take() {
                self.settle_item(id, &item, &Verdict::Release);
            }
            return;
        };
        self.in_flight -= deliveries.messages;
        if link.ended {
            // Other pullers have processed their messages (ST-7).
            link.grant.settle(&mut self.budget, deliveries);
            self.stats.dropped += deliveries.messages;
            mark_ready(&mut self.ready_links, id, link); // it may have been the last delivery
            return;
        }
        link.inbox.push_front(QueuedBatch::remaining(batch));
        link.queued += deliveries;
        self.queued += deliveries;
        if !link.in_turn {
            link.in_turn = true;
            self.turn.push_back(id);
        }
    }

    /// Whether deliveries of this link may be handed out. If not, return the rest of a [`DeliveryBatch`].
    #[must_use]
    pub fn may_hand_out(&self, link: LinkId) -> bool {
        !self.leaving && self.links.get(link).is_some_and(|link| link.session.is_open() && !link.ended)
    }

    /// Counts deliveries of a [`DeliveryBatch`] that are begun and whose attempt is above 1.
    pub fn count_redelivered(&mut self, count: u64) {
        self.stats.redelivered += count;
    }
}
