//! Room for one message.

use tidegate_proto::{Blocked, Message, Refused};

use super::Push;
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
    pub fn send(mut self, message: impl Into<Message>) -> Result<(), SendError> {
        self.used = true;
        let message = message.into();
        let result = self.push.shared().with(|inner| inner.machine.send_reserved(message, false));
        match result {
            Ok(_) => Ok(()),
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
