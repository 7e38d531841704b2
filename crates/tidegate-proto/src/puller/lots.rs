//! Handing out several deliveries at once.

use super::{Lot, Puller, Verdict, Window, received::Queued, wake};

impl<H: Clone + Default> Puller<H> {
    /// As [`Self::recv`], for several deliveries of one batch at once: as many as the workers do in a fifth of a
    /// millisecond, or an eighth of a fixed window, and one at least. Until they are settled or put back they count as
    /// being worked on: nobody else gets them.
    pub fn recv_lot(&mut self) -> Option<Lot<H>> {
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
        let batch = link.inbox.front_mut()?;
        let lot = batch.split(limit.max(1).min(free));
        if batch.cursor.is_empty() {
            link.inbox.pop_front();
            self.turn.rotate_left(1);
        }
        let (count, bytes) = (lot.cursor.len(), lot.cursor.size());
        link.queued -= count;
        link.queued_bytes -= bytes;
        self.queued -= count;
        self.in_flight += count;
        // They are worked on one after another.
        self.auto.busy(self.in_flight - count + 1);
        if link.paused_until.is_some() && link.queued_bytes < self.settings.read_ahead {
            wake(&mut self.wakes, id, link);
        }
        Some(lot)
    }

    /// Takes back what is left of a lot: nobody has begun it.
    pub fn put_back(&mut self, mut lot: Lot<H>) {
        let id = lot.link();
        if let Some(item) = lot.take_first() {
            self.settle_item(id, &item, &Verdict::Release);
        }
        let (count, bytes) = (lot.cursor.len(), lot.cursor.size());
        let link = self.links.get_mut(id).filter(|link| link.session.is_open() && !self.leaving);
        let Some(link) = link.filter(|_| count > 0) else {
            // Nobody will take these any more: back to the pusher, if there is still a link to it.
            while let Some(item) = lot.take() {
                self.settle_item(id, &item, &Verdict::Release);
            }
            return;
        };
        link.inbox.push_front(Queued::rest(lot));
        link.queued += count;
        link.queued_bytes += bytes;
        self.queued += count;
        self.in_flight -= count;
        if !link.in_turn {
            link.in_turn = true;
            self.turn.push_back(id);
        }
    }

    /// One of a [`Lot`] that is being begun is an attempt after the first.
    pub fn count_redelivered(&mut self) {
        self.stats.redelivered += 1;
    }
}
