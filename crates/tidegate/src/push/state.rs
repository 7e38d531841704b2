//! What a pusher's handles keep beside the machine, under the same lock.

use std::{collections::HashMap, time::Duration};

use tidegate_proto::{LinkId, Pusher, PusherEvent, Settled, Time};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use crate::{
    error::ReceiptError,
    shared::{Inner, Role, Signals},
};

/// Octets for each link after which a busy sender lets the links run: with one thread they can write while it computes.
const YIELD_EVERY: usize = 64 * 1_024;
/// Beyond so many links their writes become smaller instead: what waits to be written should stay in the cache.
const YIELD_LINKS: usize = 8;

/// Octets after which a busy sender lets the links run.
#[inline]
pub(super) fn yield_every(links: usize) -> usize {
    YIELD_EVERY * links.clamp(1, YIELD_LINKS)
}

#[derive(Default)]
pub(crate) struct PushState {
    /// Who waits for outcomes, by message number: as many as there are tracked messages held.
    pub(super) receipts: HashMap<u64, oneshot::Sender<Result<(), ReceiptError>>>,
    /// How many sends wait for room.
    pub(super) waiting: usize,
    blocked_since: Option<Instant>,
    blocked: Duration,
    /// How many flushes wait.
    pub(super) flushing: usize,
    pub(super) since_yield: usize,
    pub(super) rejected: std::sync::Arc<Notify>,
    /// Somebody has called `abort`.
    pub(super) aborted: bool,
}

impl PushState {
    pub(super) fn start_waiting(&mut self) {
        self.waiting += 1;
        self.blocked_since.get_or_insert_with(Instant::now);
    }

    pub(super) fn stop_waiting(&mut self) {
        self.waiting -= 1;
        if self.waiting == 0
            && let Some(since) = self.blocked_since.take()
        {
            self.blocked += since.elapsed();
        }
    }

    pub(super) fn blocked(&self) -> Duration {
        self.blocked + self.blocked_since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl Role for Pusher {
    type State = PushState;
    const GIVES_WAY: bool = false;

    fn after(machine: &mut Self, state: &mut PushState, signals: &Signals) {
        while let Some(event) = machine.poll_event() {
            match event {
                PusherEvent::Settled(number, settled) => {
                    let result = match settled {
                        Settled::Acked => Ok(()),
                        Settled::Rejected { reason, attempts } => {
                            Err(ReceiptError::Rejected { reason, attempts })
                        }
                        _ => Err(ReceiptError::Unknown),
                    };
                    if let Some(receipt) = state.receipts.remove(&number) {
                        let _ = receipt.send(result); // it may have been dropped
                    }
                }
                _ => signals.changed(),
            }
        }
        if state.waiting > 0 && machine.room().is_ok() {
            signals.ready.notify_one();
        }
        if state.flushing > 0 && machine.is_flushed() {
            signals.changed();
        }
        if machine.has_rejected() {
            state.rejected.notify_one();
        }
    }

    fn lose(inner: &mut Inner<Self>, now: Time) -> bool {
        let over = inner.machine.is_done() || inner.state.aborted;
        inner.machine.drain(now, false); // sends fail from now on; what is held is left to `finish` and `abort`
        inner.state.receipts.clear(); // unknown
        inner.state.rejected.notify_waiters();
        !over
    }

    fn is_proven(&self, link: LinkId) -> bool {
        self.is_proven(link)
    }

    fn has_ended(&self, _: LinkId) -> bool {
        false
    }
}
