//! The state that a pusher keeps beside its machine, under the same lock.

use std::{collections::HashMap, time::Duration};

use tidegate_proto::{Blocked, FinalOutcome, LinkId, MessageId, Pusher, PusherEvent, Time, shown};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use super::{refusal, send_queue::SendQueue};
use crate::{
    error::ReceiptError,
    socket::{Deferred, Inner, SocketMachine, Wakers},
};

/// Bytes for each link after which a busy sender yields, so that the links can write on the same thread.
const YIELD_BYTES: usize = 64 * 1_024;
/// Beyond this number of links the writes become smaller instead, so that unwritten data stays in the cache.
const MAX_YIELD_LINKS: usize = 8;

/// The cost of a message in addition to its size: many small messages are work, too.
const MESSAGE_COST: usize = 16;

/// How many bytes a busy sender may still send before it yields to the links.
pub(crate) struct Stretch {
    left: usize,
}

impl Default for Stretch {
    fn default() -> Self {
        Self { left: YIELD_BYTES }
    }
}

impl Stretch {
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.left == 0
    }

    #[inline]
    pub(super) fn take(&mut self, size: usize) {
        self.left = self.left.saturating_sub(size + MESSAGE_COST);
    }

    /// Starts over after the links have run, or are about to.
    pub(super) fn renew(&mut self, links: usize) {
        self.left = YIELD_BYTES * links.clamp(1, MAX_YIELD_LINKS);
    }
}

#[derive(Default)]
pub(crate) struct PushState {
    /// Receipts that wait for an outcome, by message number. At most one for each tracked message that is
    /// held.
    pub(super) receipts: HashMap<u64, oneshot::Sender<Result<(), ReceiptError>>>,
    /// Senders that wait for room.
    pub(super) send_queue: SendQueue,
    /// The last send that did not wait found no room.
    pub(super) refused: bool,
    blocked_since: Option<Instant>,
    blocked: Duration,
    /// The number of flushes that wait.
    pub(super) flushing: usize,
    pub(super) stretch: Stretch,
    /// Wakes the handles that wait for rejected messages.
    pub(super) rejected: std::sync::Arc<Notify>,
    /// The number of handles that fetch rejected messages.
    pub(super) rejections: usize,
    /// Logged when the lock is released.
    pub(super) warnings: Vec<String>,
    /// `abort` was called.
    pub(super) aborted: bool,
}

impl PushState {
    /// Whether a send may go ahead at once: the links need not run first, and no other sender waits.
    #[inline]
    pub(super) fn is_free(&self) -> bool {
        !self.stretch.is_over() && self.send_queue.is_free()
    }

    /// Counts the time for which a sender wants room and there is none.
    fn count_blocked(&mut self, machine: &mut Pusher) {
        if !self.refused && !self.send_queue.has_waiting() && self.blocked_since.is_none() {
            return;
        }
        // Room reserved for a woken sender is room.
        self.refused &= !self.send_queue.has_called();
        let blocked =
            (self.refused || self.send_queue.has_waiting()) && machine.check_room() == Err(Blocked::Full);
        self.refused &= blocked;
        if blocked {
            self.blocked_since.get_or_insert_with(Instant::now);
        } else if let Some(since) = self.blocked_since.take() {
            self.blocked += since.elapsed();
        }
    }

    pub(super) fn blocked(&self) -> Duration {
        self.blocked + self.blocked_since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl Inner<Pusher> {
    /// Whether other senders wait for room. A new sender must not take it, and does not ask the machine, which
    /// alone decides whether there is room. A closed pusher refuses every sender, so that nobody waits for it.
    pub(super) fn others_wait(&self) -> bool {
        self.machine.is_open() && !self.state.send_queue.is_free()
    }

    /// Whether a sender that may wait has to join the others. It uses up a part of the sender's share, if it has
    /// one.
    pub(super) fn must_join(&mut self) -> bool {
        self.machine.is_open() && !self.state.send_queue.admits_at_once()
    }
}

impl SocketMachine for Pusher {
    type State = PushState;
    type Outside = ();
    const GIVES_WAY: bool = false;

    fn after(inner: &mut Inner<Self>, wakers: &Wakers) {
        if inner.state.send_queue.has_waiting() && (!inner.machine.is_open() || refusal(inner).is_some()) {
            inner.state.send_queue.dismiss();
        }
        let (machine, state) = (&mut inner.machine, &mut inner.state);
        while let Some(event) = machine.poll_event() {
            match event {
                PusherEvent::Settled(number, settled) => {
                    let result = match settled {
                        FinalOutcome::Acked => Ok(()),
                        FinalOutcome::Rejected { reason, attempts } => {
                            Err(ReceiptError::Rejected { reason, attempts })
                        }
                        _ => Err(ReceiptError::Unknown),
                    };
                    if let Some(receipt) = state.receipts.remove(&number) {
                        let _ = receipt.send(result); // it may have been dropped
                    }
                }
                PusherEvent::Failing { number, failures, reason } => {
                    let id = MessageId { instance: machine.instance(), number };
                    state.warnings.push(format!(
                        "message {id} has failed {failures} times and will be retried; to reject such a message, set \
                         max_attempts; last reason: {}",
                        shown(&reason)
                    ));
                }
                _ => wakers.changed(),
            }
        }
        state.send_queue.call(machine);
        state.count_blocked(machine);
        if state.send_queue.wakes_watch() {
            wakers.ready.notify_one();
        }
        if state.flushing > 0 && machine.is_flushed() {
            wakers.changed();
        }
        if machine.has_rejected() {
            state.rejected.notify_one();
        }
    }

    fn at_end(inner: &Inner<Self>) -> bool {
        inner.machine.is_done() || inner.state.aborted
    }

    fn lose(inner: &mut Inner<Self>, now: Time) -> bool {
        let over = Self::at_end(inner);
        inner.machine.drain(now, false); // sends fail from now on; `finish` and `abort` return what is held
        inner.state.receipts.clear(); // they fail with `Unknown`
        inner.state.rejected.notify_waiters();
        !over
    }

    fn take_deferred(state: &mut PushState) -> Deferred {
        Deferred { wakers: state.send_queue.take_wakers(), warnings: std::mem::take(&mut state.warnings) }
    }

    fn has_outcome(&self, link: LinkId) -> bool {
        self.has_outcome(link)
    }

    fn is_over(&self, link: LinkId) -> bool {
        self.end_answered(link)
    }

    fn end_unanswered(&self, link: LinkId) -> bool {
        self.end_unanswered(link)
    }

    fn has_ended(&self, _: LinkId) -> bool {
        false
    }
}
