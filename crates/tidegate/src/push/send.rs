//! Sending one message: first without waiting, then in the queue of waiting senders.

use std::time::Duration;

use tidegate_proto::{Accepted, Blocked, Machine as _, Message, MessageId, Pusher, Refused, wire::OpenBatch};
use tokio::{sync::oneshot, task::yield_now};

use super::{Payload, Permit, Push, Receipt, SendFuture, refusal, waiting::Turn};
use crate::{
    error::{ReserveError, SendError, TryReserveError, TrySendError},
    socket::{Inner, LossReason},
};

pub(super) type ReceiptSender = oneshot::Sender<Result<(), crate::ReceiptError>>;

/// The size of a message that is not known yet. The byte limits admit one whole message in any case.
pub(crate) const ANY: u64 = 0;

/// The result of trying to send without waiting.
pub(super) enum Tried {
    Accepted(u64),
    /// The links should run first. Hands the message back.
    Yield(Message),
    /// There is no room, or other senders wait for it.
    Full(Message),
    Failed(SendError),
}

impl Push {
    /// Accepts a message, waiting for room if the high-water mark is reached.
    ///
    /// Waiting senders get room in the order in which they began to wait. Neither [`Self::try_send`] nor a
    /// new `send` overtakes them. There is one exception, for fairness among senders that return at once:
    /// waiting senders are served in rounds, and in each round a sender gets an equal share of the free room.
    /// A task or thread that was just served may use up its share before the next round begins.
    ///
    /// If a woken future is not polled, it delays other senders by at most 20 ms and is served first when it
    /// is polled again. About every 64 KiB for each link, a send yields once, so that the links can write
    /// while a busy sender runs on the same thread.
    ///
    /// A payload is anything that implements [`Payload`], such as `&[u8]`, `String`, `Bytes` or [`Message`]. A
    /// small one is copied once, into the buffer that is written to the connection, if a link can take it at
    /// once.
    ///
    /// A payload with its own owner (`Bytes::from_owner`) that was not copied is dropped when the message is
    /// settled, on the thread that runs the links and under the lock of the socket. That drop must be quick.
    /// It must not use a socket, not even by dropping its last handle or a [`Permit`]: it would deadlock. It
    /// may send to a channel instead.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use {std::time::Duration, tidegate::{Pull, Push}};
    /// let push = Push::builder().bind("mem://doc-send").high_water_mark(1).build().await?;
    /// push.send("resize 17.png").await?; // into the queue, which is full now
    /// let waits = tokio::time::timeout(Duration::from_millis(5), push.send("resize 18.png")).await;
    /// assert!(waits.is_err());
    ///
    /// let pull = Pull::builder().connect("mem://doc-send").build().await?; // a puller makes room
    /// push.send("resize 18.png").await?;
    /// # for _ in 0..2 { pull.recv().await?.unwrap().ack(); }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`SendError`] if the pusher is closed, the runtime that ran its links was shut down, the message
    /// exceeds the limits, or every endpoint has refused permanently. The error contains the message.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, the message is not sent. It is dropped with the future;
    /// to keep it, use [`Self::reserve`] or [`Self::send_timeout`].
    pub fn send<P: Payload>(&self, payload: P) -> SendFuture<'_, P> {
        SendFuture::new(self, payload)
    }

    /// Accepts a message, and returns a future of its outcome.
    ///
    /// Waits for room as [`Self::send`] does. Pullers send the ack of such a message without delay.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tidegate::ReceiptError;
    /// # let push = tidegate::Push::builder().bind("mem://doc-send-tracked").build().await?;
    /// # let pull = tidegate::Pull::builder().connect("mem://doc-send-tracked").build().await?;
    ///
    /// let first = push.send_tracked("resize 17.png").await?;
    /// let second = push.send_tracked("resize notes.txt").await?;
    /// # let worker = tokio::spawn(async move {
    /// #     pull.recv().await.unwrap().unwrap().ack();
    /// #     pull.recv().await.unwrap().unwrap().reject("not a picture");
    /// # });
    /// first.await?; // processed
    /// match second.await {
    ///     Err(ReceiptError::Rejected { reason, .. }) => assert_eq!(reason, "not a picture"),
    ///     outcome => panic!("{outcome:?}"),
    /// }
    /// # worker.await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The same as [`Self::send`].
    ///
    /// # Cancel safety
    /// The same as [`Self::send`].
    pub async fn send_tracked(&self, payload: impl Payload) -> Result<Receipt, SendError> {
        let (sender, outcome) = oneshot::channel();
        let id = self.send_any(payload.into_message(), Some(sender), true).await?;
        Ok(self.receipt(id, outcome))
    }

    /// Accepts a message, waiting at most `wait` for room.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// # use {std::time::Duration, tidegate::{Push, TrySendError}};
    /// # let push = Push::builder().bind("mem://send-timeout").high_water_mark(0).build().await.unwrap();
    /// match push.send_timeout("resize 17.png", Duration::from_millis(1)).await {
    ///     Ok(()) => {}
    ///     Err(TrySendError::Full(message)) => println!("no puller had room for {message:?}"),
    ///     Err(error) => println!("{error}"),
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`TrySendError::Full`] if there was no room within `wait`, and otherwise the same as [`Self::send`].
    /// The error contains the message.
    ///
    /// # Cancel safety
    /// The same as [`Self::send`].
    pub async fn send_timeout(&self, payload: impl Payload, wait: Duration) -> Result<(), TrySendError> {
        let Err(message) = self.send_at_once(payload) else { return Ok(()) };
        let message = self.check(message)?;
        let size = message.size() as u64;
        // Not `send` with a timeout: cancelling that would drop the message.
        let (permit, message) = with_permit(message, self.turn_within(wait, size).await)?;
        Ok(permit.send(message)?)
    }

    /// Accepts a message, waiting at most `wait` for room, and returns a future of its outcome.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # let push = tidegate::Push::builder().bind("mem://doc-send-tracked-timeout").build().await?;
    /// # let pull = tidegate::Pull::builder().connect("mem://doc-send-tracked-timeout").build().await?;
    /// let receipt = push.send_tracked_timeout("resize 17.png", Duration::from_secs(1)).await?;
    /// pull.recv().await?.expect("the pusher has not finished").ack();
    /// receipt.await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The same as [`Self::send_timeout`].
    ///
    /// # Cancel safety
    /// The same as [`Self::send`].
    pub async fn send_tracked_timeout(
        &self,
        payload: impl Payload,
        wait: Duration,
    ) -> Result<Receipt, TrySendError> {
        let message = self.check(payload.into_message())?;
        let size = message.size() as u64;
        let (permit, message) = with_permit(message, self.turn_within(wait, size).await)?;
        Ok(permit.send_tracked(message)?)
    }

    /// Accepts a message if there is room now and no other sender waits for it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tidegate::{Push, TrySendError};
    ///
    /// let push = Push::builder().bind("mem://doc-try-send").high_water_mark(1).build().await?;
    /// push.try_send("resize 17.png")?;
    /// match push.try_send("resize 18.png") {
    ///     Err(TrySendError::Full(message)) => assert_eq!(message.payload(), "resize 18.png"),
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`TrySendError::Full`] if there is no room now, and otherwise the same as [`Self::send`]. The error
    /// contains the message.
    pub fn try_send(&self, payload: impl Payload) -> Result<(), TrySendError> {
        if self.send_copied(&payload) {
            return Ok(());
        }
        self.try_send_any(payload.into_message(), None).map(|_| ())
    }

    /// Accepts a message if there is room now, and returns a future of its outcome.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let push = tidegate::Push::builder().bind("mem://doc-try-send-tracked").build().await?;
    /// # let pull = tidegate::Pull::builder().connect("mem://doc-try-send-tracked").build().await?;
    /// let receipt = push.try_send_tracked("resize 17.png")?;
    /// pull.recv().await?.expect("the pusher has not finished").ack();
    /// receipt.await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The same as [`Self::try_send`].
    pub fn try_send_tracked(&self, payload: impl Payload) -> Result<Receipt, TrySendError> {
        let (sender, outcome) = oneshot::channel();
        let id = self.try_send_any(payload.into_message(), Some(sender))?;
        Ok(self.receipt(id, outcome))
    }

    pub(crate) fn receipt(
        &self,
        id: MessageId,
        outcome: oneshot::Receiver<Result<(), crate::ReceiptError>>,
    ) -> Receipt {
        Receipt::new(id, outcome, self.shared().runtime.own_thread())
    }

    pub(super) fn id(&self, number: u64) -> MessageId {
        MessageId { instance: self.handle.instance, number }
    }

    pub(crate) fn check(&self, message: Message) -> Result<Message, SendError> {
        match message.check(self.shared().local.max_message) {
            Ok(()) => Ok(message),
            Err(source) => Err(SendError::Invalid { message, source }),
        }
    }

    /// Copies a small payload without headers into the batch of a link, if the link can take it now.
    #[inline]
    pub(crate) fn send_copied(&self, payload: &impl Payload) -> bool {
        // This may be code of the application, so it runs without the lock.
        let Some(bytes) = payload.plain().filter(|bytes| OpenBatch::copies(bytes)) else { return false };
        self.shared().with_send(|inner| {
            if !inner.state.is_free() {
                return false;
            }
            let Some(accepted) = inner.machine.try_send_fast(bytes) else { return false };
            inner.state.stretch.take(accepted.size);
            true
        })
    }

    /// Sends without waiting and without yielding. Otherwise returns the payload as a message.
    pub(crate) fn send_at_once(&self, payload: impl Payload) -> Result<(), Message> {
        if self.send_copied(&payload) {
            return Ok(());
        }
        let message = payload.into_message();
        self.shared().with_send(|inner| {
            if !inner.state.is_free() {
                return Err(message);
            }
            // If the message is invalid or the pusher is closed, the caller's next step finds it out.
            accept(inner, message, &mut None).map(|_| ()).map_err(|refused| refused.message)
        })
    }

    /// Sends, waiting in the queue if necessary. `yields` is false if the links run on a thread of their own.
    pub(crate) async fn send_any(
        &self,
        message: Message,
        mut receipt: Option<ReceiptSender>,
        yields: bool,
    ) -> Result<MessageId, SendError> {
        let message = self.check(message)?;
        let tried = self.try_once(message, &mut receipt, yields);
        self.send_after(tried, receipt, yields).await
    }

    /// Sends without waiting, after [`Self::check`]. Takes the receipt if the message was accepted.
    pub(super) fn try_once(
        &self,
        message: Message,
        receipt: &mut Option<ReceiptSender>,
        yields: bool,
    ) -> Tried {
        self.shared().with_send(|inner| try_send(inner, message, receipt, yields))
    }

    /// Does the rest of a send after its first try.
    pub(super) async fn send_after(
        &self,
        mut tried: Tried,
        mut receipt: Option<ReceiptSender>,
        yields: bool,
    ) -> Result<MessageId, SendError> {
        loop {
            match tried {
                Tried::Accepted(number) => return Ok(self.id(number)),
                Tried::Failed(error) => return Err(error),
                Tried::Yield(message) => {
                    // Yields before the message is accepted, so that a send cancelled here has not happened.
                    yield_now().await;
                    tried = self.try_once(message, &mut receipt, yields);
                }
                Tried::Full(message) => {
                    return match Turn::new(self, message.size() as u64).await {
                        Ok(permit) => permit.send_any(message, receipt),
                        Err(error) => Err(not_taken(message, error)),
                    };
                }
            }
        }
    }

    fn try_send_any(
        &self,
        message: Message,
        mut receipt: Option<ReceiptSender>,
    ) -> Result<MessageId, TrySendError> {
        let message = self.check(message)?;
        let sent = self.shared().with(|inner| {
            let sent = if inner.others_wait() {
                Err(Refused { message, reason: Blocked::Full })
            } else {
                accept(inner, message, &mut receipt)
            };
            sent.map_err(|Refused { message, reason }| match (reason, refusal(inner)) {
                (Blocked::Full, Some(refusal)) => {
                    SendError::Refused { message, refusal: Box::new(refusal) }.into()
                }
                (Blocked::Full, None) => {
                    inner.state.refused = true;
                    TrySendError::Full(message)
                }
                (reason, _) => failed(inner.lost, message, reason).into(),
            })
        });
        sent.map(|number| self.id(number))
    }
}

fn try_send(
    inner: &mut Inner<Pusher>,
    message: Message,
    receipt: &mut Option<ReceiptSender>,
    yields: bool,
) -> Tried {
    if inner.state.stretch.is_over() {
        inner.state.stretch.renew(inner.machine.link_count());
        if yields {
            return Tried::Yield(message);
        }
    }
    if inner.must_join() {
        return Tried::Full(message);
    }
    match accept(inner, message, receipt) {
        Ok(number) => Tried::Accepted(number),
        Err(Refused { message, reason: Blocked::Full }) => Tried::Full(message),
        Err(Refused { message, reason }) => Tried::Failed(failed(inner.lost, message, reason)),
    }
}

/// Offers a message to the machine, which decides whether there is room. Runs under the lock, so that the receipt is
/// registered before an outcome can arrive.
fn accept(
    inner: &mut Inner<Pusher>,
    message: Message,
    receipt: &mut Option<ReceiptSender>,
) -> Result<u64, Refused> {
    let accepted = inner.machine.send(message, receipt.is_some())?;
    Ok(accepted_as(inner, accepted, receipt.take()))
}

/// Registers the receipt of a message that was just accepted, and returns the message's number.
pub(super) fn accepted_as(
    inner: &mut Inner<Pusher>,
    accepted: Accepted,
    receipt: Option<ReceiptSender>,
) -> u64 {
    inner.state.stretch.take(accepted.size);
    if let Some(sender) = receipt {
        inner.state.receipts.insert(accepted.number, sender);
    }
    accepted.number
}

/// `lost` is the reason why the socket ended by itself, if it did.
pub(super) fn failed(lost: Option<LossReason>, message: Message, reason: Blocked) -> SendError {
    match reason {
        Blocked::Invalid(source) => SendError::Invalid { message, source },
        _ => not_taken(message, closed(lost)),
    }
}

/// Why the pusher accepts no more messages.
pub(super) fn closed(lost: Option<LossReason>) -> ReserveError {
    match lost {
        Some(LossReason::GaveUp(after)) => ReserveError::GaveUp { after },
        Some(LossReason::RuntimeGone) | None => ReserveError::Closed,
    }
}

/// The error for a message that will never get room.
pub(super) fn not_taken(message: Message, error: ReserveError) -> SendError {
    match error {
        ReserveError::Closed => SendError::Closed(message),
        ReserveError::Refused(refusal) => SendError::Refused { message, refusal },
        ReserveError::GaveUp { after } => SendError::GaveUp { message, after },
    }
}

/// The message with its permit, or the error that contains the message.
pub(crate) fn with_permit(
    message: Message,
    reserved: Result<Permit, TryReserveError>,
) -> Result<(Permit, Message), TrySendError> {
    match reserved {
        Ok(permit) => Ok((permit, message)),
        Err(TryReserveError::Full) => Err(TrySendError::Full(message)),
        Err(TryReserveError::Failed(error)) => Err(not_taken(message, error).into()),
    }
}
