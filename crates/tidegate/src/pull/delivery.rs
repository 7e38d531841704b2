//! `Delivery`, a message in the hands of the application.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tidegate_proto::{Amount, Headers, Message, MessageId, Verdict};

use super::{
    body::{DeliveryBody, Word},
    lane::wake_at_cap,
    state::{Origin, PullMachine},
};
use crate::socket::{Inner, Shared};

/// A delivery: exactly one attempt to have a message processed.
///
/// Settle it with [`ack`](Self::ack), [`nack`](Self::nack), [`reject`](Self::reject) or
/// [`release`](Self::release), in any order and from any task. If it is dropped without an outcome, also by a
/// panic, it is nacked.
///
/// A payload of at most 64 bytes may be in the delivery itself. A larger one refers to a buffer that was read
/// from the connection and holds other deliveries, too. When such buffers use half of the puller's byte
/// budget, deliveries get memory of their own (LM-5). A `Bytes` that outlives its delivery, such as from
/// [`payload_bytes`](Self::payload_bytes), is not counted and may keep 256 KiB alive: copy a small payload
/// that you keep.
pub struct Delivery {
    body: DeliveryBody,
    /// 0 until the delivery is settled. 8 bytes wide, because deliveries are moved often: reading back a
    /// partly written word at the end of a structure stalls the processor.
    settled: u64,
}

impl Delivery {
    #[inline(always)] // runs for every message
    pub(super) fn new(body: DeliveryBody) -> Self {
        Self { body, settled: 0 }
    }

    /// Returns the payload.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.body.payload()
    }

    /// Returns the payload as a `Bytes` that may outlive the delivery. It shares the memory read from the
    /// connection.
    #[must_use]
    pub fn payload_bytes(&self) -> Bytes {
        self.body.payload_bytes()
    }

    /// Returns the headers that the sender set.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let push = tidegate::Push::builder().bind("mem://doc-delivery-headers").build().await?;
    /// # let pull = tidegate::Pull::builder().connect("mem://doc-delivery-headers").build().await?;
    /// use tidegate::Message;
    ///
    /// push.send(Message::from("17.png").with_header("size", "64x64")).await?;
    /// let delivery = pull.recv().await?.expect("the pusher has not finished");
    /// assert_eq!(delivery.headers().get("size").unwrap(), "64x64");
    /// # delivery.ack();
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn headers(&self) -> Headers {
        self.body.headers()
    }

    /// Returns the payload and headers as a message, for example to forward it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let push = tidegate::Push::builder().bind("mem://doc-delivery-message").build().await?;
    /// # let pull = tidegate::Pull::builder().connect("mem://doc-delivery-message").build().await?;
    /// # let next = tidegate::Push::builder().bind("mem://doc-delivery-message-next").build().await?;
    /// push.send("resize 17.png").await?;
    /// let delivery = pull.recv().await?.expect("the pusher has not finished");
    /// next.send(delivery.message()).await?; // to the next stage
    /// delivery.ack();
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn message(&self) -> Message {
        self.body.message()
    }

    /// Returns the id of the message. It is the same for every attempt, so an application can recognize
    /// repeats.
    ///
    /// The pusher chooses its ids. If you do not trust every peer, remove duplicates by the id together with
    /// [`pipeline`](Self::pipeline) and [`peer_names`](Self::peer_names).
    #[must_use]
    pub fn id(&self) -> MessageId {
        self.body.id()
    }

    /// Returns the attempt number: 1 at first, more after nacks and lost links.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.body.attempt()
    }

    /// Returns the pipeline of the link that the delivery came over. It is empty for the default pipeline.
    #[must_use]
    pub fn pipeline(&self) -> &str {
        self.origin().map_or("", |origin| &origin.pipeline)
    }

    /// Returns the verified names in the pusher's certificate. There are none without TLS, or if the pusher
    /// has no certificate.
    #[must_use]
    pub fn peer_names(&self) -> &[String] {
        self.origin().map_or(&[], |origin| &origin.names)
    }

    /// Returns the number of the link that the delivery came over, as in statistics and events.
    #[must_use]
    pub fn link(&self) -> u64 {
        self.body.place().map_or(0, |(link, _)| link.as_u64())
    }

    /// Settles the delivery as processed.
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
    #[inline]
    pub fn ack(mut self) {
        self.settled = 1;
        let (word, size) = match &self.body {
            DeliveryBody::Small(small) => (small.word, small.size),
            // The size of a delivery is below 2^31, the limit of a frame.
            DeliveryBody::Paged(word, received) if !received.is_tracked() => (*word, received.size() as u32),
            _ => return self.settle(&Verdict::Ack),
        };
        if word.page.words.ack(word.index, size) {
            settle_ack(word);
        }
    }

    /// Settles several deliveries as processed. Faster than one [`Self::ack`] each.
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
        let mut singles = Vec::new();
        for delivery in deliveries {
            // Those of a page need no lock.
            if let DeliveryBody::Single(_) = delivery.body { singles.push(delivery) } else { delivery.ack() }
        }
        let Some(shared) = singles.first().and_then(Self::shared).cloned() else { return };
        shared.with_message(|inner| {
            for delivery in &mut singles {
                if let DeliveryBody::Single(received) = &delivery.body
                    && delivery.shared().is_some_and(|home| Arc::ptr_eq(home, &shared))
                {
                    inner.state.yield_due |= inner.machine.settle(received, &Verdict::Ack);
                    delivery.settled = 1;
                }
            }
            wake_at_cap(inner, &shared);
        });
        // Deliveries of other sockets.
        singles.into_iter().filter(|delivery| delivery.settled == 0).for_each(Self::ack);
    }

    /// Reports a failed attempt: the pusher retries the message after its backoff.
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

    /// Reports a failed attempt: the pusher retries the message after `delay`.
    ///
    /// The delay counts in whole milliseconds, and up to 25 % is added at random. The pusher limits it to at
    /// least 10 ms and at most its `max_nack_delay`. A delay of 0 selects the pusher's backoff, as for
    /// [`Self::nack`].
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

    /// Reports a failed attempt with an optional delay and a reason.
    ///
    /// The delay works as for [`Self::nack_after`]. The reason appears in logs and rejected messages, cut to
    /// 256 bytes.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tidegate::{Pull, Push};
    /// # let push = Push::builder().bind("mem://doc-nack-with").max_attempts(Some(1)).build().await?;
    /// # let pull = Pull::builder().connect("mem://doc-nack-with").build().await?;
    /// let mut rejections = push.rejections();
    /// push.send("resize 17.png").await?;
    /// pull.recv().await?.expect("the pusher has not finished").nack_with(None, "the disk is full");
    /// let rejected = rejections.recv().await.expect("the pusher is open");
    /// assert_eq!(rejected.reason, "attempt 1 of 1 failed: the disk is full");
    /// # Ok(()) }
    /// ```
    pub fn nack_with(mut self, delay: Option<Duration>, reason: &str) {
        let delay = delay.unwrap_or_default().as_millis();
        let delay_ms = u32::try_from(delay).unwrap_or(u32::MAX);
        self.settle(&Verdict::Nack { delay_ms, reason: reason.to_owned() });
    }

    /// Rejects the message: the pusher never sends it again.
    ///
    /// The reason appears in the pusher's rejected messages, cut to 256 bytes.
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

    /// Returns the delivery unprocessed, for another puller. The attempt does not count.
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

    /// Reports that the delivery is still being processed, which restarts the pusher's settle timeout.
    ///
    /// See [`settle_timeout`](crate::PushBuilder::settle_timeout). A
    /// [`max_work_time`](crate::PushBuilder::max_work_time) continues to run. Call it as often as you like:
    /// at most one report each millisecond is sent. It does not wait, and does nothing if the link is gone
    /// (OC-13).
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
        if let (Some(shared), Some((link, id))) = (self.shared(), self.body.place()) {
            shared.with(|inner| inner.machine.working(link, id));
        }
    }

    /// Whether the link of this delivery is gone, so that an outcome cannot reach the pusher now.
    ///
    /// The pusher sends the message again. If this puller reconnects within the grace, this delivery belongs
    /// to the new link and is no longer orphaned (RD-8, RD-9). Otherwise another puller gets the message. An
    /// outcome given in between is remembered.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let push = tidegate::Push::builder().bind("mem://doc-is-orphaned").build().await?;
    /// # let pull = tidegate::Pull::builder().connect("mem://doc-is-orphaned").build().await?;
    /// push.send("resize 17.png").await?;
    /// let delivery = pull.recv().await?.expect("the pusher has not finished");
    /// assert!(!delivery.is_orphaned());
    /// push.abort().await;
    /// delivery.orphaned().await;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn is_orphaned(&self) -> bool {
        self.shared().is_none_or(|shared| !shared.with(|inner| self.is_reachable(inner)))
    }

    /// Waits until [`Self::is_orphaned`] returns true.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, nothing changes.
    pub async fn orphaned(&self) {
        if let Some(shared) = self.shared() {
            shared.until(|inner| (!self.is_reachable(inner)).then_some(())).await;
        }
    }

    fn is_reachable(&self, inner: &Inner<PullMachine>) -> bool {
        self.body.place().is_some_and(|(link, id)| inner.machine.is_reachable(link, id))
    }

    /// `None` only for a link that is not driven.
    #[inline]
    fn origin(&self) -> Option<&Origin> {
        self.body.origin().map(|origin| &**origin)
    }

    #[inline]
    fn shared(&self) -> Option<&Arc<Shared<PullMachine>>> {
        self.origin().map(|origin| &origin.shared)
    }

    fn settle(&mut self, verdict: &Verdict) {
        self.settled = 1;
        let Some(shared) = self.shared() else { return };
        match &self.body {
            DeliveryBody::Single(received) => shared.with_message(|inner| {
                inner.state.yield_due |= inner.machine.settle(received, verdict);
                wake_at_cap(inner, shared);
            }),
            DeliveryBody::Paged(word, received) => {
                shared.outside.settle(shared, *word, |machine| machine.settle(received, verdict));
            }
            DeliveryBody::Small(small) => {
                let (one, place) = (Amount::new(1, small.size.into()), self.body.place());
                shared.outside.settle(shared, small.word, |machine| {
                    place.is_some_and(|(link, id)| machine.settle_untracked(link, id, one, verdict))
                });
            }
        }
    }
}

/// Settles an ack that was just stored, unless it was collected meanwhile.
#[cold]
fn settle_ack(word: Word) {
    if let Some(origin) = word.page.owner().and_then(|owner| owner.context.0) {
        origin.shared.outside.settle_ack(&origin.shared, word);
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
