//! `Permit`, room for one message.

use tidegate_proto::{Message, MessageId, wire::OpenBatch};
use tokio::sync::oneshot;

use super::{
    Payload, Push, Receipt,
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
    pub fn send(mut self, payload: impl Payload) -> Result<(), SendError> {
        if self.send_copied(&payload) {
            return Ok(());
        }
        self.send_any(payload.into_message(), None).map(|_| ())
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
    pub fn send_tracked(self, payload: impl Payload) -> Result<Receipt, SendError> {
        let (sender, outcome) = oneshot::channel();
        let push = self.push.clone();
        let id = self.send_any(payload.into_message(), Some(sender))?;
        Ok(push.receipt(id, outcome))
    }

    /// Copies a small payload without headers into the batch of a link, if the link can take it now. That uses up
    /// the permit.
    fn send_copied(&mut self, payload: &impl Payload) -> bool {
        let Some(bytes) = payload.plain().filter(|bytes| OpenBatch::copies(bytes)) else { return false };
        self.used = self.push.shared().with(|inner| {
            let accepted = inner.machine.try_send_reserved_fast(bytes, self.size);
            accepted.inspect(|accepted| inner.state.stretch.take(accepted.size)).is_some()
        });
        self.used
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
