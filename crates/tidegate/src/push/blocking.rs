//! The blocking forms of the pusher's methods, for programs without async.
//!
//! They require links on a thread of their own ([`PushBuilder::io_thread`](crate::PushBuilder::io_thread)),
//! and work on every other thread. Do not use them within an async runtime: they block its thread.

use std::time::Duration;

use tidegate_proto::{Leftover, PushStats};
use tokio::sync::oneshot;

use super::{
    Payload, Permit, Push, Receipt,
    send::{ANY, not_taken, with_permit},
    waiting::Turn,
};
use crate::{
    blocking::{block_for, block_on},
    error::{CannotBlock, ConnectedError, ReserveError, SendError, StopError, TryReserveError, TrySendError},
};

impl Push {
    /// Accepts a message, blocking the thread while there is no room.
    ///
    /// Behaves like [`Self::send`]. Requires [`io_thread`](crate::PushBuilder::io_thread).
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
    /// The same as [`Self::send`]; also if the thread must not block. The error contains the message.
    pub fn blocking_send(&self, payload: impl Payload) -> Result<(), SendError> {
        let payload = self.may_block_with(payload)?;
        if self.send_copied(&payload) {
            return Ok(());
        }
        block_on(self.send_any(payload.into_message(), None, false)).map(|_| ())
    }

    /// Accepts a message, blocking the thread for at most `wait` while there is no room.
    ///
    /// Requires [`io_thread`](crate::PushBuilder::io_thread).
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
    /// [`TrySendError::Full`] if there was no room within `wait`, and otherwise the same as
    /// [`Self::blocking_send`]. The error contains the message.
    pub fn blocking_send_timeout(&self, payload: impl Payload, wait: Duration) -> Result<(), TrySendError> {
        let payload = self.may_block_with(payload)?;
        let Err(message) = self.send_at_once(payload) else { return Ok(()) };
        let message = self.check(message)?;
        let size = message.size() as u64;
        let (permit, message) = with_permit(message, self.blocking_turn(wait, size))?;
        Ok(permit.send(message)?)
    }

    /// Accepts a message, blocking for at most `wait`, and returns its [`Receipt`].
    ///
    /// [`Receipt::blocking_wait`] waits for the outcome. Requires
    /// [`io_thread`](crate::PushBuilder::io_thread).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # let push = tidegate::Push::builder().bind("mem://doc-blocking-tracked-timeout").blocking_build()?;
    /// # let pull = tidegate::Pull::builder().connect("mem://doc-blocking-tracked-timeout").blocking_build()?;
    /// let receipt = push.blocking_send_tracked_timeout("resize 17.png", Duration::from_secs(1))?;
    /// pull.blocking_recv()?.expect("the pusher has not finished").ack();
    /// receipt.blocking_wait()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The same as [`Self::blocking_send_timeout`].
    pub fn blocking_send_tracked_timeout(
        &self,
        payload: impl Payload,
        wait: Duration,
    ) -> Result<Receipt, TrySendError> {
        let payload = self.may_block_with(payload)?;
        let message = self.check(payload.into_message())?;
        let size = message.size() as u64;
        let (permit, message) = with_permit(message, self.blocking_turn(wait, size))?;
        Ok(permit.send_tracked(message)?)
    }

    /// Accepts all messages of an iterator, in order, and returns their number.
    ///
    /// The iterator is asked for a message only if there is room for it, after all earlier messages were
    /// sent. An iterator may block until its next item, like a channel or the lines of a file, if the lower
    /// bound of its `size_hint` is 0: the messages before are not held back meanwhile. If the pusher is
    /// closed, the next message returns the error. Requires [`io_thread`](crate::PushBuilder::io_thread).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let push = tidegate::Push::builder().bind("mem://doc-blocking-send-all").blocking_build()?;
    /// assert_eq!(push.blocking_send_all("17.png\n18.png".lines())?, 2);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The same as [`Self::blocking_send`], for the first message that is not accepted; the error contains
    /// it. The messages before it are accepted. To keep the messages behind it, pass `&mut iterator`.
    pub fn blocking_send_all<I>(&self, messages: I) -> Result<u64, SendError>
    where
        I: IntoIterator,
        I::Item: Payload,
    {
        let mut messages = messages.into_iter();
        match self.shared().runtime.may_block() {
            Ok(()) => block_on(self.send_many(messages, false)),
            Err(reason) => match messages.next() {
                Some(payload) => Err(not_taken(payload.into_message(), reason.into())),
                None => Ok(0),
            },
        }
    }

    /// Accepts a message, blocking the thread while there is no room, and returns its [`Receipt`].
    ///
    /// [`Receipt::blocking_wait`] waits for the outcome, and has an example. Requires
    /// [`io_thread`](crate::PushBuilder::io_thread).
    ///
    /// # Errors
    /// The same as [`Self::blocking_send`].
    pub fn blocking_send_tracked(&self, payload: impl Payload) -> Result<Receipt, SendError> {
        let payload = self.may_block_with(payload)?;
        let (sender, outcome) = oneshot::channel();
        let id = block_on(self.send_any(payload.into_message(), Some(sender), false))?;
        Ok(self.receipt(id, outcome))
    }

    /// Reserves room for one message, blocking the thread while there is none.
    ///
    /// Behaves like [`Self::reserve`]. Requires [`io_thread`](crate::PushBuilder::io_thread).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let push = tidegate::Push::builder().bind("mem://doc-blocking-reserve").blocking_build()?;
    /// push.blocking_reserve()?.send("resize 17.png")?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The same as [`Self::reserve`]; also if the thread must not block.
    pub fn blocking_reserve(&self) -> Result<Permit, ReserveError> {
        self.shared().runtime.may_wait()?;
        block_on(self.reserve())
    }

    /// Reserves room for one message, blocking the thread for at most `wait` while there is none.
    ///
    /// Requires [`io_thread`](crate::PushBuilder::io_thread).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # let builder = tidegate::Push::builder().bind("mem://doc-blocking-reserve-timeout");
    /// let push = builder.high_water_mark(0).blocking_build()?;
    /// assert!(push.blocking_reserve_timeout(Duration::from_millis(5)).is_err()); // no puller yet
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`TryReserveError::Full`] if there was no room within `wait`, and otherwise the same as
    /// [`Self::blocking_reserve`].
    pub fn blocking_reserve_timeout(&self, wait: Duration) -> Result<Permit, TryReserveError> {
        self.blocking_turn(wait, ANY)
    }

    fn blocking_turn(&self, wait: Duration, size: u64) -> Result<Permit, TryReserveError> {
        self.shared().runtime.may_block().map_err(ReserveError::from)?;
        match block_for(wait, Turn::new(self, size)) {
            Some(result) => Ok(result?),
            None => Err(TryReserveError::Full),
        }
    }

    /// Hands the message back in the error if the thread must not block.
    fn may_block_with<P: Payload>(&self, payload: P) -> Result<P, SendError> {
        match self.shared().runtime.may_block() {
            Ok(()) => Ok(payload),
            Err(reason) => Err(SendError::CannotBlock { message: payload.into_message(), reason }),
        }
    }

    /// Blocks the thread until all messages that were assigned to links have been written.
    ///
    /// Behaves like [`Self::flush`]. Requires [`io_thread`](crate::PushBuilder::io_thread).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let push = tidegate::Push::builder().bind("mem://doc-blocking-flush").blocking_build()?;
    /// push.blocking_flush()?; // nothing to write
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`CannotBlock`] if the thread must not block.
    pub fn blocking_flush(&self) -> Result<(), CannotBlock> {
        self.shared().runtime.may_wait()?;
        block_on(self.flush());
        Ok(())
    }

    /// Blocks the thread until at least `n` links are open at the same time.
    ///
    /// Requires [`io_thread`](crate::PushBuilder::io_thread).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tidegate::{Pull, Push};
    /// let push = Push::builder().bind("mem://doc-push-blocking-connected").blocking_build()?;
    /// let _pull = Pull::builder().connect("mem://doc-push-blocking-connected").blocking_build()?;
    /// push.blocking_connected(1)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The same as [`Self::connected`]; also if the thread must not block.
    pub fn blocking_connected(&self, n: usize) -> Result<(), ConnectedError> {
        self.shared().runtime.may_wait()?;
        block_on(self.connected(n))
    }

    /// Settles all messages and ends the stream, blocking the thread for at most `linger`.
    ///
    /// Behaves like [`Self::finish`]. Requires [`io_thread`](crate::PushBuilder::io_thread).
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
    /// The same as [`Self::finish`]; also if the thread must not block, in which case nothing has changed.
    pub fn blocking_finish(&self, linger: Duration) -> Result<PushStats, StopError> {
        self.shared().runtime.may_wait()?;
        Ok(block_on(self.finish(linger))?)
    }

    /// Settles all messages without ending the stream, blocking the thread for at most `linger`.
    ///
    /// Behaves like [`Self::drain`]. Requires [`io_thread`](crate::PushBuilder::io_thread).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # let push = tidegate::Push::builder().bind("mem://doc-blocking-drain").blocking_build()?;
    /// push.blocking_send("resize 17.png")?;
    /// assert!(push.blocking_drain(Duration::from_millis(5)).is_err()); // no puller; the error has the message
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The same as [`Self::drain`]; also if the thread must not block, in which case nothing has changed.
    pub fn blocking_drain(&self, linger: Duration) -> Result<PushStats, StopError> {
        self.shared().runtime.may_wait()?;
        Ok(block_on(self.drain(linger))?)
    }

    /// Stops at once, and returns the messages that are left, as [`Self::abort`] does.
    ///
    /// Requires [`io_thread`](crate::PushBuilder::io_thread).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let push = tidegate::Push::builder().bind("mem://doc-blocking-abort").blocking_build()?;
    /// push.blocking_send("resize 17.png")?;
    /// assert_eq!(push.blocking_abort()?.unsent.len(), 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`CannotBlock`] if the thread must not block; then nothing has changed.
    pub fn blocking_abort(&self) -> Result<Leftover, CannotBlock> {
        self.shared().runtime.may_wait()?;
        Ok(block_on(self.abort()))
    }
}
