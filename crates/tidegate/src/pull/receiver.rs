//! `Receiver` and `BorrowedDelivery`: borrowed deliveries, one at a time. The fastest way to receive.
//!
//! A [`Receiver`] takes several deliveries of a batch at once and hands them out one after another without
//! the lock. An ack only advances a counter, from which it is collected:
//!
//! ```text
//! Lent::ack ──► Progress (atomic) ──► collect ──► puller core
//!                                       ▲ the receiver itself: at the end of a batch, and for any other outcome
//!                                       ▲ its watch: every millisecond while it moves (OC-5)
//! ```
//! The watch sleeps if the counter did not move for one period. The next ack sees that (`idle`) and wakes it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tidegate_proto::{DeliveryBatch, Headers, InstanceId, LinkId, Message, MessageId, Verdict, wire::Item};
use tokio::sync::Notify;

use super::{
    Delivery, Pull,
    delivery::wake_at_cap,
    state::{DeliveryContext, Origin, PullMachine},
};
use crate::{
    error::RecvError,
    socket::{Inner, Shared},
};

/// The lower bits of the counter count messages, and the upper ones bytes. That is enough: a batch is part of
/// one frame, which has fewer than 2^31 bytes.
const COUNT_BITS: u32 = 31;

/// How many deliveries of its batch a receiver has acked.
#[derive(Debug, Default)]
pub(super) struct AckCounter {
    acked: AtomicU64,
    /// The watch sleeps.
    idle: AtomicBool,
    wake: Notify,
}

/// What the socket keeps about a batch that a receiver has taken.
pub(super) struct Borrow {
    counter: Arc<AckCounter>,
    link: LinkId,
    /// The id of the first delivery that has not been settled with the core.
    next: u64,
    /// The value of the counter up to which acks have been settled.
    seen: u64,
}

impl Borrow {
    /// Settles the acks since the last call. Returns false if there were none.
    fn collect(&mut self, machine: &mut PullMachine, yield_due: &mut bool) -> bool {
        let acked = self.counter.acked.load(Ordering::Acquire);
        let mask = (1 << COUNT_BITS) - 1;
        let count = (acked & mask) - (self.seen & mask);
        let bytes = (acked >> COUNT_BITS) - (self.seen >> COUNT_BITS);
        if count > 0 {
            *yield_due |= machine.settle_acked(self.link, self.next, count, bytes);
            self.next += count;
            self.seen = acked;
        }
        count > 0
    }
}

/// Receives deliveries one at a time and lends them, from [`Pull::receiver`].
///
/// The next delivery is available after the previous one is settled. For small messages this is faster than
/// [`Pull::recv`], but it serves only one task. A receiver takes a few deliveries in advance: as many as are
/// processed in a fifth of a millisecond, and at least one. They wait during a long job, whereas with `recv`
/// another task could take them. Dropping the receiver returns them.
pub struct Receiver {
    pub(super) pull: Pull,
    /// The instance that sent the messages of the batch.
    instance: InstanceId,
    batch: Option<DeliveryBatch<DeliveryContext>>,
    counter: Arc<AckCounter>,
    /// Whether the next delivery was already counted as redelivered.
    counted: bool,
    /// The local copy of the counter in `counter`.
    acked: u64,
    key: u64,
    /// Waiting tasks have just been let go first, so the next batch is for this receiver.
    in_turn: bool,
}

/// A borrowed delivery from a [`Receiver`]: exactly one attempt to have a message processed.
///
/// If it is dropped without an outcome, also by a panic, it is nacked.
pub struct BorrowedDelivery<'a> {
    receiver: &'a mut Receiver,
    item: Item,
    settled: bool,
}

impl Receiver {
    pub(super) fn new(pull: Pull) -> Self {
        let counter = Arc::new(AckCounter { idle: AtomicBool::new(true), ..AckCounter::default() });
        let shared = pull.shared();
        let (key, delay) = shared.with(|inner| {
            inner.state.receivers += 1;
            (inner.state.receivers, inner.state.ack_delay)
        });
        watch(shared, &counter, key, delay);
        Self {
            pull,
            instance: InstanceId([0; 16]),
            batch: None,
            counter,
            counted: false,
            acked: 0,
            key,
            in_turn: false,
        }
    }

    /// Returns the next delivery, waiting for it if necessary. `None` means the same as for [`Pull::recv`].
    /// [`Pull::receiver`] has an example.
    ///
    /// # Errors
    /// The same as [`Pull::recv`].
    ///
    /// # Cancel safety
    /// The same as [`Pull::recv`].
    #[inline]
    pub async fn recv(&mut self) -> Result<Option<BorrowedDelivery<'_>>, RecvError> {
        let item = loop {
            if let Some(item) = self.next_item() {
                break item;
            }
            if !self.take_batch() {
                let Some(delivery) = self.pull.wait().await? else { return Ok(None) };
                self.borrow_batch(delivery);
                self.in_turn = true;
            }
        };
        Ok(Some(self.borrow(item)))
    }

    /// The next delivery of the batch.
    #[inline]
    pub(super) fn next_item(&mut self) -> Option<Item> {
        self.batch.as_mut().and_then(DeliveryBatch::take)
    }

    #[inline]
    pub(super) fn borrow(&mut self, item: Item) -> BorrowedDelivery<'_> {
        if item.attempt > 1 && !std::mem::take(&mut self.counted) {
            self.pull.shared().with_message(|inner| inner.machine.count_redelivered());
        }
        BorrowedDelivery { receiver: self, item, settled: false }
    }

    /// Takes a new batch, if deliveries are there.
    pub(super) fn take_batch(&mut self) -> bool {
        let (key, counter) = (self.key, self.counter.clone());
        self.batch = None;
        self.acked = 0;
        let in_turn = std::mem::take(&mut self.in_turn);
        let batch = self.pull.shared().with_message(|inner| {
            end_borrow(inner, key);
            counter.acked.store(0, Ordering::Relaxed);
            if inner.state.yield_due || (inner.state.in_line > 0 && !in_turn) {
                return None; // as for `recv`: a link should run first, or other tasks wait
            }
            let batch = inner.machine.recv_batch()?;
            begin_borrow(inner, key, &counter, &batch);
            Some(batch)
        });
        batch.is_some_and(|batch| {
            self.begin(batch);
            true
        })
    }

    /// Starts a batch with a delivery that was waited for.
    pub(super) fn borrow_batch(&mut self, delivery: Delivery) {
        self.counted = delivery.attempt() > 1;
        let (key, batch) = (self.key, delivery.into_batch());
        let counter = self.counter.clone();
        self.pull.shared().with_message(|inner| begin_borrow(inner, key, &counter, &batch));
        self.begin(batch);
    }

    fn begin(&mut self, batch: DeliveryBatch<DeliveryContext>) {
        if self.counter.idle.swap(false, Ordering::Relaxed) {
            self.counter.wake.notify_one();
        }
        self.instance = batch.instance();
        self.batch = Some(batch);
    }

    fn bytes(&self) -> Option<&Bytes> {
        self.batch.as_ref().map(DeliveryBatch::bytes)
    }

    /// The slow path, for the ack of a tracked message and for all other outcomes.
    fn settle(&self, item: &Item, verdict: &Verdict) {
        let key = self.key;
        self.pull.shared().with_message(|inner| {
            let Inner { machine, state, .. } = inner;
            let Some(borrow) = state.borrows.get_mut(&key) else { return };
            borrow.collect(machine, &mut state.yield_due);
            state.yield_due |= machine.settle_item(borrow.link, item, verdict);
            borrow.next = item.id + 1;
            wake_at_cap(inner, self.pull.shared());
        });
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let (key, batch) = (self.key, self.batch.take());
        self.pull.shared().with(|inner| {
            end_borrow(inner, key);
            if let Some(batch) = batch {
                inner.machine.return_batch(batch);
            }
        });
        // The watch checks whether the receiver still exists.
        self.counter.wake.notify_one();
    }
}

fn begin_borrow(
    inner: &mut Inner<PullMachine>,
    key: u64,
    counter: &Arc<AckCounter>,
    batch: &DeliveryBatch<DeliveryContext>,
) {
    let borrow = Borrow { counter: counter.clone(), link: batch.link(), next: batch.next_id(), seen: 0 };
    inner.state.borrows.insert(key, borrow);
}

fn end_borrow(inner: &mut Inner<PullMachine>, key: u64) {
    let Inner { machine, state, .. } = inner;
    if let Some(mut borrow) = state.borrows.remove(&key) {
        borrow.collect(machine, &mut state.yield_due);
    }
}

/// Collects acks every `delay` while the counter moves, as long as the receiver exists (OC-5).
fn watch(shared: &Arc<Shared<PullMachine>>, counter: &Arc<AckCounter>, key: u64, delay: Duration) {
    let (weak, counter) = (Arc::downgrade(shared), Arc::downgrade(counter));
    shared.runtime.handle.spawn(async move {
        loop {
            let Some(strong) = counter.upgrade() else { return };
            if strong.idle.load(Ordering::Acquire) {
                strong.wake.notified().await;
                // Only this task holds it: the receiver is gone.
                if Arc::strong_count(&strong) == 1 {
                    return;
                }
            }
            drop(strong);
            tokio::time::sleep(delay).await;
            let (Some(shared), Some(counter)) = (weak.upgrade(), counter.upgrade()) else { return };
            let collect = || {
                shared.with(|inner| {
                    let Inner { machine, state, .. } = inner;
                    let borrow = state.borrows.get_mut(&key);
                    borrow.is_some_and(|borrow| borrow.collect(machine, &mut state.yield_due))
                })
            };
            if !collect() {
                counter.idle.store(true, Ordering::Release);
                // An ack may have come in between without seeing `idle`; the next period collects it.
                tokio::time::sleep(delay).await;
                if collect() {
                    counter.idle.store(false, Ordering::Release);
                }
            }
        }
    });
}

impl BorrowedDelivery<'_> {
    /// Returns the payload.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.receiver.bytes().map_or(&[], |bytes| self.item.payload(bytes))
    }

    /// Returns the payload as a `Bytes` that may outlive the delivery. It shares the memory read from the
    /// connection.
    #[must_use]
    pub fn payload_bytes(&self) -> Bytes {
        self.receiver.bytes().map_or_else(Bytes::new, |bytes| self.item.payload_bytes(bytes))
    }

    /// Returns the headers that the sender set.
    #[must_use]
    pub fn headers(&self) -> Headers {
        self.receiver.bytes().map_or_else(Headers::default, |bytes| self.item.headers(bytes))
    }

    /// Returns the payload and headers as a message, for example to forward it.
    #[must_use]
    pub fn message(&self) -> Message {
        self.receiver.bytes().map_or_else(Message::default, |bytes| self.item.message(bytes))
    }

    /// Returns the id of the message. It is the same for every attempt, so an application can recognize
    /// repeats.
    #[must_use]
    pub fn id(&self) -> MessageId {
        MessageId { instance: self.receiver.instance, number: self.item.number }
    }

    /// Returns the attempt number: 1 at first, more after nacks and lost links.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.item.attempt
    }

    /// Reports that the delivery is still being processed; see
    /// [`Delivery::working`](crate::Delivery::working).
    pub fn working(&self) {
        let (key, id) = (self.receiver.key, self.item.id);
        self.receiver.pull.shared().with(|inner| {
            if let Some(borrow) = inner.state.borrows.get(&key) {
                inner.machine.working(borrow.link, id);
            }
        });
    }

    /// Returns the pipeline of the link that the delivery came over, as [`crate::Delivery::pipeline`] does.
    #[must_use]
    pub fn pipeline(&self) -> &str {
        self.origin().map_or("", |origin| &origin.pipeline)
    }

    /// Returns the verified names of the pusher, as [`crate::Delivery::peer_names`] does.
    #[must_use]
    pub fn peer_names(&self) -> &[String] {
        self.origin().map_or(&[], |origin| &origin.names)
    }

    fn origin(&self) -> Option<&Origin> {
        self.receiver.batch.as_ref()?.context().0.as_deref()
    }

    /// Returns the number of the link that the delivery came over, as in statistics and events.
    #[must_use]
    pub fn link(&self) -> u64 {
        self.receiver.batch.as_ref().map_or(0, |batch| batch.link().as_u64())
    }

    /// Settles the delivery as processed.
    #[inline]
    pub fn ack(mut self) {
        self.settled = true;
        let receiver = &mut *self.receiver;
        if self.item.is_tracked() {
            return receiver.settle(&self.item, &Verdict::Ack);
        }
        receiver.acked += 1 + (u64::from(self.item.size) << COUNT_BITS);
        receiver.counter.acked.store(receiver.acked, Ordering::Release);
        if receiver.counter.idle.load(Ordering::Relaxed) {
            receiver.counter.idle.store(false, Ordering::Relaxed);
            receiver.counter.wake.notify_one();
        }
    }

    /// Reports a failed attempt: the pusher retries the message after its backoff.
    pub fn nack(self) {
        self.nack_with(None, "");
    }

    /// Reports a failed attempt with an optional delay and a reason.
    ///
    /// See [`Delivery::nack_with`](crate::Delivery::nack_with).
    pub fn nack_with(mut self, delay: Option<Duration>, reason: &str) {
        let delay_ms = u32::try_from(delay.unwrap_or_default().as_millis()).unwrap_or(u32::MAX);
        self.settle(&Verdict::Nack { delay_ms, reason: reason.to_owned() });
    }

    /// Rejects the message: the pusher never sends it again. The reason is cut to 256 bytes.
    pub fn reject(mut self, reason: &str) {
        self.settle(&Verdict::Reject { reason: reason.to_owned() });
    }

    /// Returns the delivery unprocessed, for another puller. The attempt does not count.
    pub fn release(mut self) {
        self.settle(&Verdict::Release);
    }

    fn settle(&mut self, verdict: &Verdict) {
        self.settled = true;
        self.receiver.settle(&self.item, verdict);
    }
}

impl Drop for BorrowedDelivery<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.settle(&Verdict::Nack { delay_ms: 0, reason: "dropped without an outcome".to_owned() });
        }
    }
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for BorrowedDelivery<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lent")
            .field("id", &self.id())
            .field("attempt", &self.attempt())
            .field("payload", &format_args!("<{} bytes>", self.payload().len()))
            .finish_non_exhaustive()
    }
}
