//! `Receipt`, the outcome of one message.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tidegate_proto::MessageId;
use tokio::sync::oneshot;

use crate::{
    blocking::{block_for, block_on},
    error::ReceiptError,
    io_thread::LinkThread,
};

/// A future of the outcome of a message: `Ok` if a puller has acked it.
///
/// Dropping a receipt does not affect the message.
#[derive(Debug)]
#[must_use = "the outcome of the message is lost unless the receipt is awaited"]
pub struct Receipt {
    pub(super) id: MessageId,
    pub(super) outcome: oneshot::Receiver<Result<(), ReceiptError>>,
    pub(super) links: LinkThread,
}

impl Receipt {
    /// Returns the id of the message, which is the same for every attempt.
    #[must_use]
    pub fn id(&self) -> MessageId {
        self.id
    }

    /// Blocks the thread until the outcome is known.
    ///
    /// Requires [`io_thread`](crate::PushBuilder::io_thread).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tidegate::{Pull, Push};
    ///
    /// let push = Push::builder().bind("mem://doc-blocking-wait").blocking_build()?;
    /// let pull = Pull::builder().connect("mem://doc-blocking-wait").blocking_build()?;
    /// let receipt = push.blocking_send_tracked("resize 17.png")?;
    /// let delivery = pull.blocking_recv()?.expect("the pusher has not finished");
    /// assert_eq!(delivery.id(), receipt.id());
    /// delivery.ack();
    /// receipt.blocking_wait()?; // processed
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ReceiptError`] as from awaiting the receipt; also if the thread must not block, in which case the
    /// outcome remains unknown.
    pub fn blocking_wait(self) -> Result<(), ReceiptError> {
        self.links.may_wait()?;
        block_on(self)
    }

    /// Blocks the thread until the outcome is known, for at most `wait`.
    ///
    /// Returns `None` if there is no outcome yet; call it again to wait further.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// let push = tidegate::Push::builder().bind("mem://doc-blocking-wait-timeout").blocking_build()?;
    /// let mut receipt = push.blocking_send_tracked("resize 17.png")?;
    /// assert!(receipt.blocking_wait_timeout(Duration::from_millis(5)).is_none()); // no puller yet
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The same as [`Self::blocking_wait`].
    pub fn blocking_wait_timeout(&mut self, wait: Duration) -> Option<Result<(), ReceiptError>> {
        match self.links.may_wait() {
            Ok(()) => block_for(wait, self),
            Err(error) => Some(Err(error.into())),
        }
    }
}

impl Future for Receipt {
    type Output = Result<(), ReceiptError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(Pin::new(&mut self.outcome).poll(cx)).unwrap_or(Err(ReceiptError::Unknown)))
    }
}
