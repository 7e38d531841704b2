//! Room for one message.

use tidegate_proto::{Message, MessageId};
use tokio::sync::oneshot;

use super::{
    Push, Receipt,
    send::{ANY, ReceiptSender, accepted_as, failed},
};
use crate::error::SendError;

/// Room for one message, from [`Push::reserve`]. If it is dropped unused, the room goes to the next sender in line.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    push: Push,
    /// Bytes that it has room for, if these were known.
    size: u64,
    used: bool,
}

impl Permit {
    pub(super) fn new(push: Push, size: u64) -> Self {
        Self { push, size, used: false }
    }

    /// Gives the bytes back that are promised to it, and keeps its place: any room in bytes that is left admits a whole message.
    pub(super) fn of_any_size(mut self) -> Self {
        let bytes = std::mem::replace(&mut self.size, ANY);
        self.push.shared().with(|inner| inner.machine.unreserve_bytes(bytes));
        self
    }

    /// Sends a message into the room, without waiting.
    ///
    /// # Errors
    /// The pusher has been closed meanwhile, or the message is outside its limits; never that there is no room.
    pub fn send(self, message: impl Into<Message>) -> Result<(), SendError> {
        self.send_any(message.into(), None).map(|_| ())
    }

    /// Sends a message into the room, without waiting, and gives a future of its outcome.
    ///
    /// # Errors
    /// As [`Self::send`].
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
