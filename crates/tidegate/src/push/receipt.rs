//! The outcome of one message.

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
    io_thread::Links,
};

/// A future of the outcome of a message: `Ok` when a puller has acked it. Dropping it changes nothing for the message.
#[derive(Debug)]
#[must_use = "the outcome is known only to who awaits it"]
pub struct Receipt {
    pub(super) id: MessageId,
    pub(super) outcome: oneshot::Receiver<Result<(), ReceiptError>>,
    pub(super) links: Links,
}

impl Receipt {
    /// The id of the message, the same at every attempt.
    #[must_use]
    pub fn id(&self) -> MessageId {
        self.id
    }

    /// Blocks the thread until the outcome is known; needs [`io_thread`](crate::PushBuilder::io_thread).
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
    /// As the future, or the thread cannot block: the outcome remains unknown.
    pub fn blocking_wait(self) -> Result<(), ReceiptError> {
        self.links.may_wait()?;
        block_on(self)
    }

    /// The same for at most `wait`; `None` if there is no outcome yet, and it can be waited for again.
    ///
    /// # Errors
    /// As [`Self::blocking_wait`].
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
