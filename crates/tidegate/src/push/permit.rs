//! Room for one message.

use tidegate_proto::{Blocked, Message, MessageId, Refused};
use tokio::sync::oneshot;

use super::{Push, Receipt, ReceiptSender, accepted_as};
use crate::error::SendError;

/// Room for one message, from [`Push::reserve`]. Dropped unused, the room goes to who waits next.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    push: Push,
    used: bool,
}

impl Permit {
    pub(super) fn new(push: Push) -> Self {
        Self { push, used: false }
    }

    /// Sends a message into the room, without waiting.
    ///
    /// # Errors
    /// The pusher has been closed meanwhile, or the message is outside its limits; never that there is no room.
    pub fn send(self, message: impl Into<Message>) -> Result<(), SendError> {
        self.send_any(message.into(), None).map(|_| ())
    }

    /// As [`Self::send`], and gives a future of the outcome.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_tracked(self, message: impl Into<Message>) -> Result<Receipt, SendError> {
        let (sender, outcome) = oneshot::channel();
        let links = self.push.shared().place.links();
        let id = self.send_any(message.into(), Some(sender))?;
        Ok(Receipt { id, outcome, links })
    }

    fn send_any(mut self, message: Message, receipt: Option<ReceiptSender>) -> Result<MessageId, SendError> {
        self.used = true;
        let result = self.push.shared().with(|inner| {
            let accepted = inner.machine.send_reserved(message, receipt.is_some())?;
            Ok(accepted_as(inner, accepted, receipt))
        });
        match result {
            Ok(number) => Ok(MessageId { instance: self.push.handle.instance, number }),
            Err(Refused { message, reason: Blocked::Invalid(source) }) => {
                Err(SendError::Invalid { message, source })
            }
            Err(Refused { message, .. }) => Err(SendError::Closed(message)),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.used {
            self.push.shared().with(|inner| inner.machine.unreserve());
        }
    }
}
