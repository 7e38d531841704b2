//! Sends `Ack` frames: outcomes, limits, and requests to give up credit.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{
    Puller,
    link::{Leaving, Recall},
    mark_ready,
};
use crate::{amount::Amount, delivery_id::DeliveryId, link_id::LinkId, time::Time, v1, wire};

/// Bytes of outcomes in one `Ack`: safely below the limit of a control frame (FR-3).
const MAX_ACK_BYTES: usize = 48 * 1_024;

impl<H: Clone + Default> Puller<H> {
    /// Sends an `Ack` if one is due. Otherwise sets the time for held outcomes.
    pub(super) fn poll_ack(&mut self, now: Time, id: LinkId, out: &mut VecDeque<Bytes>) {
        let Some(link) = self.links.get_mut(id) else { return };
        let leave = link.leaving == Leaving::Due;
        if leave && link.recall == Recall::Due {
            // One Ack with `leaving` also recalls the credit. A recall that was already sent has a Skip of its own
            // (RC-1).
            link.recall = Recall::No;
        }
        let recall = link.recall == Recall::Due;
        if !link.outcomes_due(now) && !link.grant_due && !leave && !recall {
            if !link.outcomes.is_empty() {
                link.ack_at.get_or_insert(now + self.settings.ack_delay);
            }
            return;
        }
        let before = link.grant.limits();
        self.raise(now, id);
        self.renew(id);
        let Some(link) = self.links.get_mut(id) else { return };
        link.grant_due = false;
        let changed = !link.outcomes.is_empty() || link.grant.limits() != before;
        // Raising the limits may have made a recall due.
        let recall = recall || (link.recall == Recall::Due && !leave);
        if changed || recall || leave {
            self.send_ack(now, id, out, recall, leave);
        }
        self.grant_to_next();
    }

    /// A link whose ids or bytes are nearly used up leaves, and its connector opens another one (FR-7).
    fn renew(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(id) else { return };
        if link.grant.is_nearly_used_up() && link.leaving == Leaving::No && !link.ended {
            link.leaving = Leaving::Due;
            self.place_queue.leave(&mut link.ticket);
            mark_ready(&mut self.ready_links, id, link);
        }
    }

    pub(super) fn send_ack(
        &mut self,
        now: Time,
        id: LinkId,
        out: &mut VecDeque<Bytes>,
        recall: bool,
        leaving: bool,
    ) {
        let Some(link) = self.links.get_mut(id) else { return };
        (link.ack_at, link.ack_now) = (None, false);
        let Amount { messages: message_limit, bytes: byte_limit } = link.grant.limits();
        let mut all = link.outcomes.take();
        if recall || leaving {
            // RC-4: if the Ack is divided, its last part has the flags and the releases.
            all.sort_by_key(|outcome| outcome.verdict == i32::from(v1::Verdict::Release));
        }
        let sent = all.clone();
        let mut outcomes = all.into_iter().peekable();
        loop {
            let mut part = Vec::new();
            let mut bytes = 0;
            while let Some(outcome) = outcomes.next_if(|o| bytes + 40 + o.reason.len() <= MAX_ACK_BYTES) {
                bytes += 40 + outcome.reason.len();
                part.push(outcome);
            }
            // Only the last Ack has the flags, so that they take effect after all outcomes (OC-4).
            let last = outcomes.peek().is_none();
            let (recall, leaving) = (recall && last, leaving && last);
            let ack = v1::Ack { outcomes: part, message_limit, byte_limit, recall, leaving };
            link.session.put(now, out, wire::encode(v1::frame::Body::Ack(ack)));
            if last {
                break;
            }
        }
        let limit = DeliveryId::new(message_limit);
        link.history.record_ack(sent, limit, link.session.transmitted_bytes(), self.settings.memory);
        if recall {
            link.recall = Recall::Sent;
            self.stats.recalls += 1;
        }
        if leaving {
            link.leaving = Leaving::Sent;
        }
        if recall || leaving {
            link.skips.expect(now);
        }
    }
}
