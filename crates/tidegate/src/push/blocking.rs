//! The forms for programs without async: each blocks its thread as long as the other one would wait.
//!
//! They need the links on a thread of their own ([`PushBuilder::io_thread`](super::PushBuilder::io_thread)), and then work on any
//! other thread. Within an async runtime they keep its thread from everything else: use the async forms there.

use std::time::Duration;

use bytes::Bytes;
use tidegate_proto::{Leftover, Message, PushStats};
use tokio::sync::oneshot;

use super::{CHUNK, Permit, Push, Receipt, send_short};
use crate::{
    blocking::{block_for, block_on},
    error::{CannotBlock, ConnectedError, ReserveError, SendError, StopError, TrySendError},
};

impl Push {
    /// As [`Self::send`], blocking the thread while there is no room; needs [`io_thread`](super::PushBuilder::io_thread).
    ///
    /// # Errors
    /// As [`Self::send`], or the thread cannot block; the message comes back.
    pub fn blocking_send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        let mut message = message.into();
        if let Err(reason) = self.shared().place.may_block() {
            return Err(SendError::CannotBlock { message, reason });
        }
        if self.shared().with_send(|inner| send_short(inner, &mut message)) {
            return Ok(());
        }
        block_on(self.send_any(message, None, false)).map(|_| ())
    }

    /// As [`Self::blocking_send`], but blocks for at most `wait`.
    ///
    /// # Errors
    /// There was no room in that time, or as [`Self::blocking_send`]; the message comes back.
    pub fn blocking_send_timeout(
        &self,
        message: impl Into<Message>,
        wait: Duration,
    ) -> Result<(), TrySendError> {
        let message = message.into();
        if let Err(reason) = self.shared().place.may_block() {
            return Err(SendError::CannotBlock { message, reason }.into());
        }
        // Not a send that is given up: the message would be gone with it.
        match block_for(wait, self.reserve()) {
            Some(Ok(permit)) => Ok(permit.send(message)?),
            Some(Err(ReserveError::Refused(refusal))) => Err(SendError::Refused { message, refusal }.into()),
            Some(Err(_)) => Err(SendError::Closed(message).into()),
            None => Err(TrySendError::Full(message)),
        }
    }

    /// As [`Self::send_slice`], blocking as [`Self::blocking_send`] does.
    ///
    /// # Errors
    /// As [`Self::blocking_send`].
    pub fn blocking_send_slice(&self, payload: &[u8]) -> Result<(), SendError> {
        if self.shared().place.may_block().is_ok() && self.send_slice_short(payload) {
            return Ok(());
        }
        self.blocking_send(Bytes::copy_from_slice(payload))
    }

    /// As [`Self::send_all`], blocking as [`Self::blocking_send`] does.
    ///
    /// # Errors
    /// As [`Self::blocking_send`], for the first message that is not taken; those before it are. Give `&mut iterator` to keep
    /// those behind it.
    pub fn blocking_send_all<I>(&self, messages: I) -> Result<u64, SendError>
    where
        I: IntoIterator,
        I::Item: Into<Message>,
    {
        let mut messages = messages.into_iter();
        // As in `send_all`. What may not block takes none, and its first send tells.
        let chunk_size = if self.shared().place.may_block().is_ok() { CHUNK } else { 1 };
        let mut chunk = Vec::with_capacity(chunk_size);
        let mut sent = 0;
        loop {
            chunk.extend(messages.by_ref().take(chunk_size).map(Into::into));
            if chunk.is_empty() {
                return Ok(sent);
            }
            let short = if chunk_size == 1 { 0 } else { self.send_chunk(&mut chunk) };
            sent += short as u64;
            for message in chunk.drain(..).skip(short) {
                self.blocking_send(message)?;
                sent += 1;
            }
        }
    }

    /// As [`Self::send_tracked`], blocking as [`Self::blocking_send`] does. [`Receipt::blocking_wait`] gives the outcome.
    ///
    /// # Errors
    /// As [`Self::blocking_send`].
    pub fn blocking_send_tracked(&self, message: impl Into<Message>) -> Result<Receipt, SendError> {
        let message = message.into();
        let place = &self.shared().place;
        if let Err(reason) = place.may_block() {
            return Err(SendError::CannotBlock { message, reason });
        }
        let (sender, outcome) = oneshot::channel();
        let id = block_on(self.send_any(message, Some(sender), false))?;
        Ok(Receipt { id, outcome, links: place.links() })
    }

    /// As [`Self::reserve`], blocking the thread; needs [`io_thread`](super::PushBuilder::io_thread).
    ///
    /// # Errors
    /// As [`Self::reserve`], or the thread cannot block.
    pub fn blocking_reserve(&self) -> Result<Permit, ReserveError> {
        self.shared().place.may_wait()?;
        block_on(self.reserve())
    }

    /// As [`Self::flush`], blocking the thread; needs [`io_thread`](super::PushBuilder::io_thread).
    ///
    /// # Errors
    /// The thread cannot block.
    pub fn blocking_flush(&self) -> Result<(), CannotBlock> {
        self.shared().place.may_wait()?;
        block_on(self.flush());
        Ok(())
    }

    /// As [`Self::connected`], blocking the thread; needs [`io_thread`](super::PushBuilder::io_thread).
    ///
    /// # Errors
    /// As [`Self::connected`], or the thread cannot block.
    pub fn blocking_connected(&self, n: usize) -> Result<(), ConnectedError> {
        self.shared().place.may_wait()?;
        block_on(self.connected(n))
    }

    /// As [`Self::finish`], blocking the thread; needs [`io_thread`](super::PushBuilder::io_thread).
    ///
    /// # Errors
    /// As [`Self::finish`], or the thread cannot block: then nothing has happened.
    pub fn blocking_finish(&self, linger: Duration) -> Result<PushStats, StopError> {
        self.shared().place.may_wait()?;
        Ok(block_on(self.finish(linger))?)
    }

    /// As [`Self::drain`], blocking the thread; needs [`io_thread`](super::PushBuilder::io_thread).
    ///
    /// # Errors
    /// As [`Self::drain`], or the thread cannot block: then nothing has happened.
    pub fn blocking_drain(&self, linger: Duration) -> Result<PushStats, StopError> {
        self.shared().place.may_wait()?;
        Ok(block_on(self.drain(linger))?)
    }

    /// As [`Self::abort`], blocking the thread; needs [`io_thread`](super::PushBuilder::io_thread).
    ///
    /// # Errors
    /// The thread cannot block: then nothing has happened.
    pub fn blocking_abort(&self) -> Result<Leftover, CannotBlock> {
        self.shared().place.may_wait()?;
        Ok(block_on(self.abort()))
    }
}
