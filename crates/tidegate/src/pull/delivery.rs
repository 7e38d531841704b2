//! A message in the hands of the application.

use std::time::Duration;

use bytes::Bytes;
use tidegate_proto::{Headers, Lot, Message, MessageId, Received, Verdict};

use super::state::{Home, PullMachine};
use crate::shared::{Inner, Shared};

/// A delivery: exactly one attempt to have a message processed. Give it an outcome with [`ack`](Self::ack),
/// [`nack`](Self::nack), [`reject`](Self::reject) or [`release`](Self::release), in any order and from any task.
/// Dropped without one, also by a panic, it is nacked.
///
/// The payload lies in what was read from the connection, together with others. When such batches come to keep half of the
/// puller's budget in bytes, deliveries get memory of their own (LM-5). What [`payload_bytes`](Self::payload_bytes) and the
/// like share beyond the delivery is not counted, and may keep 256 KiB each: copy a small payload that is to outlive it.
pub struct Delivery {
    received: Received<Home>,
    /// 0 until it has its outcome. Of 8 bytes, because deliveries are moved about a lot: a copy of odd bytes at the
    /// end of a structure is read back before it is written, and stalls.
    settled: u64,
}

impl Delivery {
    #[inline]
    pub(super) fn new(received: Received<Home>) -> Self {
        Self { received, settled: 0 }
    }

    /// For a receiver, which lends it and gives it its outcome.
    pub(super) fn into_lot(mut self) -> Lot<Home> {
        self.settled = 1;
        self.received.to_lot()
    }

    /// What was sent.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.received.payload()
    }

    /// What was sent, for keeping beyond the delivery: it shares the memory that was read from the connection.
    #[must_use]
    pub fn payload_bytes(&self) -> Bytes {
        self.received.payload_bytes()
    }

    /// The headers that were sent with it.
    #[must_use]
    pub fn headers(&self) -> Headers {
        self.received.headers()
    }

    /// Payload and headers, for sending them on, for example.
    #[must_use]
    pub fn message(&self) -> Message {
        self.received.message()
    }

    /// Names the message: the same at every attempt, so that repeats can be recognised.
    #[must_use]
    pub fn id(&self) -> MessageId {
        self.received.id()
    }

    /// 1 for the first attempt; more if earlier ones were nacked, or lost with their link.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.received.attempt()
    }

    /// Names the link that it came over, as statistics and events do.
    #[must_use]
    pub fn link(&self) -> u64 {
        self.received.link().as_u64()
    }

    /// Processed.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let push = tidegate::Push::builder().bind("mem://doc-ack").build().await?;
    /// # let pull = tidegate::Pull::builder().connect("mem://doc-ack").build().await?;
    /// let receipt = push.send_tracked("resize 17.png").await?;
    /// let delivery = pull.recv().await?.expect("the pusher has not finished");
    /// assert_eq!(delivery.payload(), b"resize 17.png");
    /// delivery.ack();
    /// receipt.await?; // the sender knows
    /// # Ok(()) }
    /// ```
    pub fn ack(mut self) {
        self.settle(&Verdict::Ack);
    }

    /// All of them processed: as [`Self::ack`] for each, for less.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let push = tidegate::Push::builder().bind("mem://doc-ack-all").build().await?;
    /// # let pull = tidegate::Pull::builder().connect("mem://doc-ack-all").build().await?;
    /// use tidegate::Delivery;
    ///
    /// push.send_all(["1", "2", "3"]).await?;
    /// let mut held = Vec::new();
    /// while held.len() < 3 {
    ///     pull.recv_many(&mut held, 3).await?;
    /// }
    /// Delivery::ack_all(held);
    /// assert_eq!(pull.stats().acked, 3);
    /// # Ok(()) }
    /// ```
    pub fn ack_all(deliveries: impl IntoIterator<Item = Self>) {
        // Gathered before the lock is taken: an iterator may do anything.
        let mut deliveries: Vec<_> = deliveries.into_iter().collect();
        let Some(shared) = deliveries.first().and_then(|first| first.received.home().0.clone()) else {
            return;
        };
        shared.with_message(|inner| {
            for delivery in &mut deliveries {
                if delivery.shared().is_some_and(|home| std::ptr::eq(home, &*shared)) {
                    delivery.settled = 1;
                    inner.state.yield_due |= inner.machine.settle(&delivery.received, &Verdict::Ack);
                }
            }
            wake_at_cap(inner, &shared);
        });
        // Those of other sockets.
        deliveries.into_iter().filter(|delivery| delivery.settled == 0).for_each(Self::ack);
    }

    /// Failed: try again, when the pusher's backoff says so.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use tidegate::{Pull, Push};
    ///
    /// let wait = Duration::from_millis(1);
    /// let push = Push::builder().bind("mem://doc-nack").retry_backoff(wait, wait).build().await?;
    /// let pull = Pull::builder().connect("mem://doc-nack").build().await?;
    /// push.send("resize 17.png").await?;
    /// let first = pull.recv().await?.expect("the pusher has not finished");
    /// let id = first.id();
    /// first.nack(); // the disk was full
    ///
    /// let second = pull.recv().await?.expect("the pusher has not finished");
    /// assert_eq!((second.id(), second.attempt()), (id, 2));
    /// second.ack();
    /// # Ok(()) }
    /// ```
    pub fn nack(self) {
        self.nack_with(None, "");
    }

    /// Failed: try again after `delay`, in whole milliseconds and with up to 25 % more at random. The pusher bounds it: at least 10 ms,
    /// at most its `max_nack_delay`. With 0 its doubling time counts, as for [`Self::nack`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use {std::time::Duration, tokio::time::Instant};
    /// # let push = tidegate::Push::builder().bind("mem://doc-nack-after").build().await?;
    /// # let pull = tidegate::Pull::builder().connect("mem://doc-nack-after").build().await?;
    /// push.send("resize 17.png").await?;
    /// let start = Instant::now();
    /// let delivery = pull.recv().await?.expect("the pusher has not finished");
    /// delivery.nack_after(Duration::from_secs(60)); // the service is down for maintenance
    ///
    /// let again = pull.recv().await?.expect("the pusher has not finished");
    /// assert!(start.elapsed() >= Duration::from_secs(60));
    /// again.ack();
    /// # Ok(()) }
    /// ```
    pub fn nack_after(self, delay: Duration) {
        self.nack_with(Some(delay), "");
    }

    /// Failed, with a reason for people (cut to 256 bytes).
    pub fn nack_with(mut self, delay: Option<Duration>, reason: &str) {
        let delay = delay.unwrap_or_default().as_millis();
        let delay_ms = u32::try_from(delay).unwrap_or(u32::MAX);
        self.settle(&Verdict::Nack { delay_ms, reason: reason.to_owned() });
    }

    /// Failed for good: never try again. The reason is for people (cut to 256 bytes).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let push = tidegate::Push::builder().bind("mem://doc-reject").build().await?;
    /// # let pull = tidegate::Pull::builder().connect("mem://doc-reject").build().await?;
    /// use tidegate::ReceiptError;
    ///
    /// let receipt = push.send_tracked("resize notes.txt").await?;
    /// pull.recv().await?.expect("the pusher has not finished").reject("not a picture");
    /// let error = receipt.await.unwrap_err();
    /// assert_eq!(error, ReceiptError::Rejected { reason: "not a picture".to_owned(), attempts: 1 });
    /// # Ok(()) }
    /// ```
    pub fn reject(mut self, reason: &str) {
        self.settle(&Verdict::Reject { reason: reason.to_owned() });
    }

    /// Not started: somebody else shall have it. The attempt does not count.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let push = tidegate::Push::builder().bind("mem://doc-release").build().await?;
    /// # let pull = tidegate::Pull::builder().connect("mem://doc-release").build().await?;
    /// push.send("resize 17.png").await?;
    /// pull.recv().await?.expect("the pusher has not finished").release(); // this worker is about to stop
    ///
    /// let again = pull.recv().await?.expect("the pusher has not finished");
    /// assert_eq!(again.attempt(), 1);
    /// again.ack();
    /// # Ok(()) }
    /// ```
    pub fn release(mut self) {
        self.settle(&Verdict::Release);
    }

    /// It is still being worked on: a settle time-out of the pusher ([`crate::PushBuilder::settle_timeout`]) begins anew.
    /// Its [`max_work_time`](crate::PushBuilder::max_work_time), if it has one, goes on. Call it as often as you like: it is told
    /// at most once a millisecond. Does not wait, and does nothing if the link is gone (OC-13).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use tidegate::{Pull, Push};
    ///
    /// let minute = Duration::from_secs(60);
    /// let push = Push::builder().bind("mem://doc-working").settle_timeout(Some(minute)).build().await?;
    /// let pull = Pull::builder().connect("mem://doc-working").build().await?;
    /// push.send("encode film.mov").await?;
    /// let delivery = pull.recv().await?.expect("the pusher has not finished");
    /// for _part in 0..10 {
    ///     tokio::time::sleep(minute / 2).await; // the work
    ///     delivery.working();
    /// }
    /// delivery.ack();
    /// assert_eq!(push.finish(minute).await?.timed_out, 0);
    /// # Ok(()) }
    /// ```
    pub fn working(&self) {
        if let Some(shared) = self.shared() {
            shared.with(|inner| inner.machine.working(self.received.link(), self.received.delivery()));
        }
    }

    /// Whether its link is gone, so that an outcome would reach nobody now. The pusher sends the message again: to this puller,
    /// if that is back in time, and then this delivery is no orphan any more (RD-8, RD-9); otherwise to another one. An outcome
    /// given meanwhile is remembered.
    #[must_use]
    pub fn is_orphaned(&self) -> bool {
        self.shared().is_none_or(|shared| !shared.with(|inner| self.is_reachable(inner)))
    }

    /// Waits until [`Self::is_orphaned`] is true. Cancel safe.
    pub async fn orphaned(&self) {
        if let Some(shared) = self.shared() {
            shared.until(|inner| (!self.is_reachable(inner)).then_some(())).await;
        }
    }

    fn is_reachable(&self, inner: &Inner<PullMachine>) -> bool {
        inner.machine.is_reachable(self.received.link(), self.received.delivery())
    }

    /// Every link that is driven has a home.
    #[inline]
    fn shared(&self) -> Option<&Shared<PullMachine>> {
        self.received.home().0.as_deref()
    }

    #[inline]
    fn settle(&mut self, verdict: &Verdict) {
        self.settled = 1;
        if let Some(shared) = self.shared() {
            shared.with_message(|inner| {
                inner.state.yield_due |= inner.machine.settle(&self.received, verdict);
                wake_at_cap(inner, shared);
            });
        }
    }
}

/// At the cap of the window a `recv` may wait for an outcome rather than for a message: there may be one now.
#[inline]
pub(super) fn wake_at_cap(inner: &Inner<PullMachine>, shared: &Shared<PullMachine>) {
    if inner.state.waiting > 0 {
        wake_waiting(inner, shared);
    }
}

#[cold]
fn wake_waiting(inner: &Inner<PullMachine>, shared: &Shared<PullMachine>) {
    if inner.machine.has_next() {
        shared.signals.ready.notify_one();
    }
}

impl Delivery {
    #[cold]
    fn nack_dropped(&mut self) {
        self.settle(&Verdict::Nack { delay_ms: 0, reason: "dropped without an outcome".to_owned() });
    }
}

impl Drop for Delivery {
    #[inline]
    fn drop(&mut self) {
        if self.settled == 0 {
            self.nack_dropped();
        }
    }
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery")
            .field("id", &self.id())
            .field("attempt", &self.attempt())
            .field("payload", &format_args!("<{} bytes>", self.payload().len()))
            .finish_non_exhaustive()
    }
}
