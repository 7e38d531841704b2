//! `Permit`, room for one message.

use tidegate_proto::{Message, MessageId};
use tokio::sync::oneshot;

use super::{
    Push, Receipt,
    send::{ANY, ReceiptSender, accepted_as, failed},
};
use crate::error::SendError;

/// Room for one message, from [`Push::reserve`].
///
/// If a permit is dropped unused, the room goes to the next waiting sender.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    push: Push,
    /// Bytes reserved; `ANY` if the size of the message was not known.
    size: u64,
    used: bool,
}

impl Permit {
    pub(super) fn new(push: Push, size: u64) -> Self {
        Self { push, size, used: false }
    }

    /// Releases the reserved bytes but keeps the message's room. The byte limits admit one whole message in
    /// any case.
    pub(super) fn of_any_size(mut self) -> Self {
        let bytes = std::mem::replace(&mut self.size, ANY);
        self.push.shared().with(|inner| inner.machine.unreserve_bytes(bytes));
        self
    }

    /// Sends a message, without waiting. [`Push::reserve`] has an example.
    ///
    /// # Errors
    /// [`SendError`] if the pusher was closed since, or the message exceeds the limits. Never because there
    /// is no room.
    pub fn send(self, message: impl Into<Message>) -> Result<(), SendError> {
        self.send_any(message.into(), None).map(|_| ())
    }

    /// Sends a message, without waiting, and returns a future of its outcome.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let push = tidegate::Push::builder().bind("mem://doc-permit-send-tracked").build().await?;
    /// # let pull = tidegate::Pull::builder().connect("mem://doc-permit-send-tracked").build().await?;
    /// let receipt = push.reserve().await?.send_tracked("resize 17.png")?;
    /// pull.recv().await?.expect("the pusher has not finished").ack();
    /// receipt.await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The same as [`Self::send`].
    pub fn send_tracked(self, message: impl Into<Message>) -> Result<Receipt, SendError> {
        let (sender, outcome) = oneshot::channel();
        let push = self.push.clone();
        let id = self.send_any(message.into(), Some(sender))?;
        Ok(push.receipt(id, outcome))
    }

    pub(super) fn send_any(
        mut self,
        message: Message,
        receipt: Option<ReceiptSender>,
    ) -> Result<MessageId, SendError> {
        self.used = true;
        let result = self.push.shared().with(|inner| {
            let accepted = inner.machine.send_reserved(message, receipt.is_some(), self.size)?;
            Ok(accepted_as(inner, accepted, receipt))
        });
        match result {
            Ok(number) => Ok(self.push.id(number)),
            Err(tidegate_proto::Refused { message, reason }) => {
                Err(failed(self.push.shared().with(|inner| inner.lost), message, reason))
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.used {
            self.push.shared().with(|inner| inner.machine.unreserve(self.size));
        }
    }
}
