//! Hands out several deliveries at once.

use super::{DeliveryBatch, Puller, Verdict, Window, mark_ready, received::QueuedBatch};

impl<H: Clone + Default> Puller<H> {
    /// Takes several deliveries of one batch at once, in the order of [`Self::recv`]: at least one, and at most the
    /// number that the workers settle in 0.2 ms, or 1/8 of a fixed window. Until they are settled or put back, they
    /// count as in flight.
    pub fn recv_batch(&mut self) -> Option<DeliveryBatch<H>> {
        let free = self.cap.saturating_sub(self.in_flight);
        if self.leaving || free == 0 {
            return None;
        }
        let limit = match self.settings.window {
            Window::Auto => self.auto.rate() / 5_000,
            Window::Fixed { messages, .. } => messages / 8,
        };
        let id = self.next_link()?;
        let link = self.links.get_mut(id)?;
        let front = link.inbox.front_mut()?;
        let batch = front.split(limit.max(1).min(free));
        if front.cursor.is_empty() {
            link.inbox.pop_front();
            self.turn.rotate_left(1);
        }
        let (count, bytes) = (batch.cursor.len(), batch.cursor.size());
        link.queued -= count;
        link.queued_bytes -= bytes;
        self.queued -= count;
        self.queued_bytes -= bytes;
        self.in_flight += count;
        // Only one of them is worked on at a time.
        self.auto.busy(self.in_flight - count + 1);
        if link.paused_until.is_some() && link.queued_bytes < self.settings.read_ahead {
            mark_ready(&mut self.ready_links, id, link);
        }
        Some(batch)
    }

    /// Returns the deliveries that are left of a lot, which no worker has begun. They are queued again, or released if
    /// they cannot be handed out any more.
    pub fn return_batch(&mut self, mut batch: DeliveryBatch<H>) {
        let id = batch.link();
        if let Some(item) = batch.take_first() {
            self.settle_item(id, &item, &Verdict::Release);
        }
        let (count, bytes) = (batch.cursor.len(), batch.cursor.size());
        let link = self.links.get_mut(id).filter(|link| link.session.is_open() && !self.leaving);
        let Some(link) = link.filter(|_| count > 0) else {
            // They cannot be handed out any more: release them, if the link is still there.
            while let Some(item) = batch.take() {
                self.settle_item(id, &item, &Verdict::Release);
            }
            return;
        };
        link.inbox.push_front(QueuedBatch::remaining(batch));
        link.queued += count;
        link.queued_bytes += bytes;
        self.queued += count;
        self.queued_bytes += bytes;
        self.in_flight -= count;
        if !link.in_turn {
            link.in_turn = true;
            self.turn.push_back(id);
        }
    }

    /// Counts a delivery of a [`DeliveryBatch`] whose attempt is above 1.
    pub fn count_redelivered(&mut self) {
        self.stats.redelivered += 1;
    }
}
