//! The forms for programs without async: each blocks its thread as long as the other one would wait.
//!
//! They need the links on a thread of their own ([`PushBuilder::io_thread`](super::PushBuilder::io_thread)), and then work on any
//! other thread. Within an async runtime they keep its thread from everything else: use the async forms there.

use std::time::Duration;

use bytes::Bytes;
use tidegate_proto::{Leftover, Message, PushStats};
use tokio::sync::oneshot;

use super::{
    Permit, Push, Receipt,
    send::{ANY, not_taken, with_permit},
    waiting::Turn,
};
use crate::{
    blocking::{block_for, block_on},
    error::{CannotBlock, ConnectedError, ReserveError, SendError, StopError, TryReserveError, TrySendError},
};

impl Push {
    /// As [`Self::send`], blocking the thread while there is no room; needs [`io_thread`](super::PushBuilder::io_thread).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::thread;
    /// use tidegate::{Pull, Push};
    ///
    /// let push = Push::builder().bind("mem://doc-blocking-send").high_water_mark(1).blocking_build()?;
    /// let pull = Pull::builder().connect("mem://doc-blocking-send").blocking_build()?;
    /// let worker = thread::spawn(move || {
    ///     for _ in 0..10 {
    ///         pull.blocking_recv().unwrap().unwrap().ack();
    ///     }
    /// });
    /// for n in 0..10 {
    ///     push.blocking_send(n.to_string())?; // the thread sleeps while there is no room
    /// }
    /// worker.join().unwrap();
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Self::send`], or the thread cannot block; the message comes back.
    pub fn blocking_send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        let mut message = self.may_block_with(message.into())?;
        if self.send_at_once(&mut message) {
            return Ok(());
        }
        block_on(self.send_any(message, None, false)).map(|_| ())
    }

    /// As [`Self::blocking_send`], but blocks for at most `wait`.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use tidegate::{Push, TrySendError};
    ///
    /// let push = Push::builder().bind("mem://doc-blocking-send-timeout").high_water_mark(0).blocking_build()?;
    /// match push.blocking_send_timeout("resize 17.png", Duration::from_millis(5)) {
    ///     Err(TrySendError::Full(message)) => assert_eq!(message.payload(), "resize 17.png"), // no puller came
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// There was no room in that time, or as [`Self::blocking_send`]; the message comes back.
    pub fn blocking_send_timeout(
        &self,
        message: impl Into<Message>,
        wait: Duration,
    ) -> Result<(), TrySendError> {
        let mut message = self.may_block_with(message.into())?;
        if self.send_at_once(&mut message) {
            return Ok(());
        }
        let message = self.check(message)?;
        let size = message.size() as u64;
        let (permit, message) = with_permit(message, self.blocking_turn(wait, size))?;
        Ok(permit.send(message)?)
    }

    /// Accepts a message as [`Self::blocking_send_timeout`] does, and gives a future of its outcome; [`Receipt::blocking_wait`]
    /// waits for it.
    ///
    /// # Errors
    /// As [`Self::blocking_send_timeout`].
    pub fn blocking_send_tracked_timeout(
        &self,
        message: impl Into<Message>,
        wait: Duration,
    ) -> Result<Receipt, TrySendError> {
        let message = self.may_block_with(message.into())?;
        let message = self.check(message)?;
        let size = message.size() as u64;
        let (permit, message) = with_permit(message, self.blocking_turn(wait, size))?;
        Ok(permit.send_tracked(message)?)
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

    /// Accepts all of them, in order, and returns how many there were: does what [`Self::blocking_send`] does for each, for less.
    ///
    /// It asks the iterator for a message only when there is room for it, and has sent everything before. So an iterator may wait
    /// for its next item, if the lower bound of its `size_hint` is 0, as for a channel or the lines of a file: what it has given
    /// leaves meanwhile. That the pusher has been closed shows at the next message.
    ///
    /// # Errors
    /// As [`Self::blocking_send`], for the first message that is not taken, which comes back; those before it are accepted. Give
    /// `&mut iterator` to keep those behind it.
    pub fn blocking_send_all<I>(&self, messages: I) -> Result<u64, SendError>
    where
        I: IntoIterator,
        I::Item: Into<Message>,
    {
        let mut messages = messages.into_iter();
        match self.shared().place.may_block() {
            Ok(()) => block_on(self.send_many(messages, false)),
            Err(reason) => match messages.next() {
                Some(message) => Err(not_taken(message.into(), reason.into())),
                None => Ok(0),
            },
        }
    }

    /// As [`Self::send_tracked`], blocking as [`Self::blocking_send`] does. [`Receipt::blocking_wait`] gives the outcome.
    ///
    /// # Errors
    /// As [`Self::blocking_send`].
    pub fn blocking_send_tracked(&self, message: impl Into<Message>) -> Result<Receipt, SendError> {
        let message = self.may_block_with(message.into())?;
        let (sender, outcome) = oneshot::channel();
        let id = block_on(self.send_any(message, Some(sender), false))?;
        Ok(self.receipt(id, outcome))
    }

    /// As [`Self::reserve`], blocking the thread; needs [`io_thread`](super::PushBuilder::io_thread).
    ///
    /// # Errors
    /// As [`Self::reserve`], or the thread cannot block.
    pub fn blocking_reserve(&self) -> Result<Permit, ReserveError> {
        self.shared().place.may_wait()?;
        block_on(self.reserve())
    }

    /// Reserves room for one message as [`Self::blocking_reserve`] does, but blocks for at most `wait`.
    ///
    /// # Errors
    /// [`TryReserveError::Full`] if there was no room in that time, or as [`Self::blocking_reserve`].
    pub fn blocking_reserve_timeout(&self, wait: Duration) -> Result<Permit, TryReserveError> {
        self.blocking_turn(wait, ANY)
    }

    fn blocking_turn(&self, wait: Duration, size: u64) -> Result<Permit, TryReserveError> {
        self.shared().place.may_block().map_err(ReserveError::from)?;
        match block_for(wait, Turn::new(self, size)) {
            Some(result) => Ok(result?),
            None => Err(TryReserveError::Full),
        }
    }

    /// Gives the message back if the thread cannot block.
    fn may_block_with(&self, message: Message) -> Result<Message, SendError> {
        match self.shared().place.may_block() {
            Ok(()) => Ok(message),
            Err(reason) => Err(SendError::CannotBlock { message, reason }),
        }
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
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::{thread, time::Duration};
    /// use tidegate::{Pull, Push};
    ///
    /// let push = Push::builder().bind("mem://doc-blocking-finish").blocking_build()?;
    /// let pull = Pull::builder().connect("mem://doc-blocking-finish").blocking_build()?;
    /// let worker = thread::spawn(move || {
    ///     while let Ok(Some(delivery)) = pull.blocking_recv() {
    ///         delivery.ack();
    ///     }
    /// });
    /// push.blocking_send("resize 17.png")?;
    /// assert_eq!(push.blocking_finish(Duration::from_secs(10))?.acked, 1);
    /// worker.join().unwrap(); // the stream has ended
    /// # Ok(()) }
    /// ```
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
