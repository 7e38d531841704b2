//! `Receipt`, the outcome of one message, for threads that block.

use std::{ops::Deref, time::Duration};

use super::{BlockingError, IntoBlockingError};
use crate::{
    error::{CannotBlock, ReceiptError},
    io_thread::OwnThread,
    park::{block_for, block_on},
};

/// The outcome of a message, from [`Push::blocking_send_tracked`](super::Push::blocking_send_tracked), or from the
/// [`blocking`](crate::Receipt::blocking) form of an async receipt, such as that of a permit.
///
/// Dropping a receipt does not affect the message.
#[derive(Debug)]
#[must_use = "the outcome of the message is lost unless the receipt is waited for"]
pub struct Receipt {
    receipt: crate::Receipt,
    thread: OwnThread,
}

impl crate::Receipt {
    /// Returns the form of this receipt that blocks its thread.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let push = tidegate::Push::builder().bind("mem://doc-receipt-blocking").blocking_build()?;
    /// # let pull = tidegate::Pull::builder().connect("mem://doc-receipt-blocking").blocking_build()?;
    /// let receipt = push.blocking_reserve()?.send_tracked("resize 17.png")?;
    /// pull.blocking_recv()?.expect("the pusher has not finished").ack();
    /// receipt.blocking()?.blocking_wait()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`CannotBlock::NoIoThread`] if the pusher was built without
    /// [`io_thread(true)`](crate::PushBuilder::io_thread). The error contains the receipt.
    pub fn blocking(self) -> Result<Receipt, IntoBlockingError<Self>> {
        match self.own_thread() {
            Some(thread) => Ok(Receipt { receipt: self, thread }),
            None => Err(IntoBlockingError::new(CannotBlock::NoIoThread, self)),
        }
    }
}

impl Receipt {
    pub(super) fn new(receipt: crate::Receipt, thread: OwnThread) -> Self {
        Self { receipt, thread }
    }

    /// Returns the future of the outcome.
    pub fn into_async(self) -> crate::Receipt {
        self.receipt
    }

    /// Blocks the thread until the outcome is known.
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
    /// [`ReceiptError`] as from awaiting the receipt. [`CannotBlock`] if the thread must not block; then the
    /// receipt is lost, and [`Self::blocking_wait_timeout`] would keep it.
    pub fn blocking_wait(self) -> Result<(), BlockingError<ReceiptError>> {
        self.thread.may_wait()?;
        block_on(self.receipt).map_err(BlockingError::Failed)
    }

    /// Blocks the thread until the outcome is known, for at most `wait`.
    ///
    /// Returns `None` if there is no outcome yet; call it again to wait further. A known outcome is returned again.
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
    /// The same as [`Self::blocking_wait`], but the receipt is kept.
    pub fn blocking_wait_timeout(
        &mut self,
        wait: Duration,
    ) -> Option<Result<(), BlockingError<ReceiptError>>> {
        match self.thread.may_wait() {
            Ok(()) => {
                block_for(wait, &mut self.receipt).map(|outcome| outcome.map_err(BlockingError::Failed))
            }
            Err(reason) => Some(Err(reason.into())),
        }
    }
}

impl Deref for Receipt {
    type Target = crate::Receipt;

    fn deref(&self) -> &crate::Receipt {
        &self.receipt
    }
}
