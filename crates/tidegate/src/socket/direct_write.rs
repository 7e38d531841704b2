//! Writes messages that are alone on an idle link without waiting for its driver.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use tidegate_proto::{LinkId, Time};

use super::{Inner, SocketMachine, outgoing};

/// What a send could not write at once. The driver writes it first.
#[derive(Default)]
pub(crate) struct PendingWrites(HashMap<LinkId, VecDeque<Bytes>>);

impl PendingWrites {
    /// Drops the rest for a link that has ended.
    pub(super) fn forget(&mut self, link: LinkId) {
        self.0.remove(&link);
    }

    /// Moves the rest for this link to the driver. Returns false if there is none.
    pub(crate) fn take(&mut self, link: LinkId, out: &mut VecDeque<Bytes>) -> bool {
        // Called in every poll, and nearly always empty.
        if self.0.is_empty() {
            return false;
        }
        match self.0.remove(&link) {
            Some(rest) => {
                *out = rest;
                true
            }
            None => false,
        }
    }
}

impl<M: SocketMachine> Inner<M> {
    /// Writes what was just given to idle links. Links that cannot take all of it stay in `ready_links`.
    pub(super) fn write_at_once(&mut self, now: Time) {
        let mut ready_links = std::mem::take(&mut self.ready_links);
        self.machine.poll_ready_links(&mut ready_links);
        ready_links.retain(|id| !self.write_link(now, *id));
        self.ready_links = ready_links;
    }

    fn write_link(&mut self, now: Time, link: LinkId) -> bool {
        let Some(direct) = self.directs.get(&link).filter(|_| self.machine.is_idle(link)) else {
            return false;
        };
        let mut out = VecDeque::new();
        self.machine.poll_transmit(now, link, &mut out);
        let mut written = 0;
        while !out.is_empty() {
            // The driver finds the error again.
            let Ok(count @ 1..) = outgoing::with_pieces(&out, |pieces| direct.try_write(pieces)) else {
                break;
            };
            written += count;
            outgoing::advance(&mut out, count);
        }
        self.machine.handle_written(now, link, written);
        if out.is_empty() {
            return true;
        }
        self.pending_writes.0.insert(link, out);
        false
    }
}
