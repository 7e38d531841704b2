//! `Push`, a pusher whose calls block the thread.

use std::{ops::Deref, time::Duration};

use tidegate_proto::{Leftover, Message, PushStats};
use tokio::sync::oneshot;

use super::{BlockingError, BlockingSendError, Events, Receipt, Rejections};
use crate::{
    error::{
        CannotBlock, ConnectedError, ReserveError, SendError, TryReserveError, TrySendError, Unfinished,
    },
    io_thread::OwnThread,
    park::{block_for, block_on},
    push::{ANY, Payload, Permit, Turn, with_permit},
};

/// A pusher whose links run on the library's own thread, so that they go on while its calls block.
///
/// It is a handle of a [`tidegate::Push`](crate::Push), to which it dereferences: clones of both refer to the
/// same pusher, and what is said there about dropping the last handle holds here.
/// [`PushBuilder::blocking_build`](crate::PushBuilder::blocking_build) builds one.
#[derive(Clone, Debug)]
pub struct Push {
    push: crate::Push,
    thread: OwnThread,
}

impl crate::Push {
    /// Returns a handle of this pusher whose calls block the thread.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tidegate::{Pull, Push};
    /// let push = Push::builder().bind("mem://doc-push-blocking").io_thread(true).build().await?;
    /// let pull = Pull::builder().connect("mem://doc-push-blocking").build().await?;
    /// let from_thread = push.blocking()?;
    /// let sending = tokio::task::spawn_blocking(move || from_thread.blocking_send("resize 17.png"));
    /// pull.recv().await?.expect("the pusher has not finished").ack();
    /// sending.await??;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`CannotBlock::NoIoThread`] if the pusher was built without
    /// [`io_thread(true)`](crate::PushBuilder::io_thread).
    pub fn blocking(&self) -> Result<Push, CannotBlock> {
        let thread = self.shared().runtime.own_thread().ok_or(CannotBlock::NoIoThread)?;
        Ok(Push { push: self.clone(), thread })
    }
}

impl Deref for Push {
    type Target = crate::Push;

    fn deref(&self) -> &crate::Push {
        &self.push
    }
}

impl Push {
    /// Returns the handle for async code.
    #[must_use]
    pub fn into_async(self) -> crate::Push {
        self.push
    }

    /// Returns the events of links and endpoints from now on.
    ///
    /// Behaves like [`events`](crate::Push::events). [`Events::blocking_recv`] has an example.
    #[must_use]
    pub fn events(&self) -> Events {
        Events::new(self.push.events())
    }

    /// Returns a handle for the messages that will never be sent again, with their reasons.
    ///
    /// Behaves like [`rejections`](crate::Push::rejections). [`Rejections::blocking_recv`] has an example.
    #[must_use]
    pub fn rejections(&self) -> Rejections {
        Rejections::new(self.push.rejections(), self.thread)
    }

    /// Accepts a message, blocking the thread while there is no room.
    ///
    /// Behaves like [`send`](crate::Push::send).
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
    /// The same as [`send`](crate::Push::send); also if the thread must not block. The error contains the message.
    pub fn blocking_send(&self, payload: impl Payload) -> Result<(), BlockingSendError<SendError>> {
        let payload = self.may_block_with(payload)?;
        if self.send_copied(&payload) {
            return Ok(());
        }
        let message = self.may_wait_with(payload.into_message())?;
        let sent = block_on(self.send_any(message, None, false));
        sent.map(|_| ()).map_err(BlockingSendError::Failed)
    }

    /// Accepts a message, blocking the thread for at most `wait` while there is no room.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use tidegate::{Push, TrySendError, blocking::BlockingSendError};
    ///
    /// let push = Push::builder().bind("mem://doc-blocking-send-timeout").high_water_mark(0).blocking_build()?;
    /// match push.blocking_send_timeout("resize 17.png", Duration::from_millis(5)) {
    ///     Err(BlockingSendError::Failed(TrySendError::Full(message))) => {
    ///         assert_eq!(message.payload(), "resize 17.png"); // no puller came
    ///     }
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`TrySendError::Full`] if there was no room within `wait`, and otherwise the same as
    /// [`Self::blocking_send`]. The error contains the message.
    pub fn blocking_send_timeout(
        &self,
        payload: impl Payload,
        wait: Duration,
    ) -> Result<(), BlockingSendError<TrySendError>> {
        let payload = self.may_block_with(payload)?;
        let Err(message) = self.send_at_once(payload) else { return Ok(()) };
        let message = self.may_wait_with(message)?;
        self.send_within(message, wait, Permit::send).map_err(BlockingSendError::Failed)
    }

    /// Accepts a message, blocking for at most `wait`, and returns its [`Receipt`].
    ///
    /// [`Receipt::blocking_wait`] waits for the outcome.
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
    ) -> Result<Receipt, BlockingSendError<TrySendError>> {
        let message = self.may_wait_with(payload.into_message())?;
        let sent = self.send_within(message, wait, Permit::send_tracked);
        sent.map(|receipt| Receipt::new(receipt, self.thread)).map_err(BlockingSendError::Failed)
    }

    /// Accepts all messages of an iterator, in order, and returns their number.
    ///
    /// The iterator is asked for a message only if there is room for it, after all earlier messages were
    /// sent. An iterator may block until its next item, like a channel or the lines of a file, if the lower
    /// bound of its `size_hint` is 0: the messages before are not held back meanwhile. If the pusher is
    /// closed, the next message returns the error.
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
    pub fn blocking_send_all<I>(&self, messages: I) -> Result<u64, BlockingSendError<SendError>>
    where
        I: IntoIterator,
        I::Item: Payload,
    {
        let mut messages = messages.into_iter();
        match self.thread.may_wait() {
            Ok(()) => block_on(self.send_many(messages, false)).map_err(BlockingSendError::Failed),
            Err(reason) => match messages.next() {
                Some(payload) => {
                    Err(BlockingSendError::CannotBlock { message: payload.into_message(), reason })
                }
                None => Ok(0),
            },
        }
    }

    /// Accepts a message, blocking the thread while there is no room, and returns its [`Receipt`].
    ///
    /// [`Receipt::blocking_wait`] waits for the outcome, and has an example.
    ///
    /// # Errors
    /// The same as [`Self::blocking_send`].
    pub fn blocking_send_tracked(
        &self,
        payload: impl Payload,
    ) -> Result<Receipt, BlockingSendError<SendError>> {
        let message = self.may_wait_with(payload.into_message())?;
        let (sender, outcome) = oneshot::channel();
        let sent = block_on(self.send_any(message, Some(sender), false));
        let id = sent.map_err(BlockingSendError::Failed)?;
        Ok(Receipt::new(self.receipt(id, outcome), self.thread))
    }

    /// Accepts a message if there is room now, and returns its [`Receipt`].
    ///
    /// Behaves like [`try_send_tracked`](crate::Push::try_send_tracked).
    ///
    /// # Errors
    /// The same as [`try_send_tracked`](crate::Push::try_send_tracked).
    pub fn try_send_tracked(&self, payload: impl Payload) -> Result<Receipt, TrySendError> {
        let receipt = self.push.try_send_tracked(payload)?;
        Ok(Receipt::new(receipt, self.thread))
    }

    /// Reserves room for one message, blocking the thread while there is none.
    ///
    /// Behaves like [`reserve`](crate::Push::reserve). The receipt of a permit is async; its
    /// [`blocking`](crate::Receipt::blocking) form can be waited for.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let push = tidegate::Push::builder().bind("mem://doc-blocking-reserve").blocking_build()?;
    /// push.blocking_reserve()?.send("resize 17.png")?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The same as [`reserve`](crate::Push::reserve); also if the thread must not block.
    pub fn blocking_reserve(&self) -> Result<Permit, BlockingError<ReserveError>> {
        self.thread.may_wait()?;
        block_on(self.reserve()).map_err(BlockingError::Failed)
    }

    /// Reserves room for one message, blocking the thread for at most `wait` while there is none.
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
    pub fn blocking_reserve_timeout(&self, wait: Duration) -> Result<Permit, BlockingError<TryReserveError>> {
        self.thread.may_wait()?;
        self.turn_for(wait, ANY).map_err(BlockingError::Failed)
    }

    fn send_within<R>(
        &self,
        message: Message,
        wait: Duration,
        send: impl FnOnce(Permit, Message) -> Result<R, SendError>,
    ) -> Result<R, TrySendError> {
        let message = self.check(message)?;
        let size = message.size() as u64;
        let (permit, message) = with_permit(message, self.turn_for(wait, size))?;
        Ok(send(permit, message)?)
    }

    fn turn_for(&self, wait: Duration, size: u64) -> Result<Permit, TryReserveError> {
        match block_for(wait, Turn::new(self, size)) {
            Some(result) => Ok(result?),
            None => Err(TryReserveError::Full),
        }
    }

    /// Hands the message back in the error if the thread must not block.
    fn may_block_with<P: Payload, E>(&self, payload: P) -> Result<P, BlockingSendError<E>> {
        match self.thread.may_block() {
            Ok(()) => Ok(payload),
            Err(reason) => Err(BlockingSendError::CannotBlock { message: payload.into_message(), reason }),
        }
    }

    /// The same, for a call that is about to wait.
    fn may_wait_with<E>(&self, message: Message) -> Result<Message, BlockingSendError<E>> {
        match self.thread.may_wait() {
            Ok(()) => Ok(message),
            Err(reason) => Err(BlockingSendError::CannotBlock { message, reason }),
        }
    }

    /// Blocks the thread until all messages that were assigned to links have been written.
    ///
    /// Behaves like [`flush`](crate::Push::flush).
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
        self.thread.may_wait()?;
        block_on(self.flush());
        Ok(())
    }

    /// Blocks the thread until at least `n` links are open at the same time.
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
    /// The same as [`connected`](crate::Push::connected); also if the thread must not block.
    pub fn blocking_connected(&self, n: usize) -> Result<(), BlockingError<ConnectedError>> {
        self.thread.may_wait()?;
        block_on(self.connected(n)).map_err(BlockingError::Failed)
    }

    /// Settles all messages and ends the stream, blocking the thread for at most `linger`.
    ///
    /// Behaves like [`finish`](crate::Push::finish).
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
    /// The same as [`finish`](crate::Push::finish); also if the thread must not block, in which case nothing has
    /// changed.
    pub fn blocking_finish(&self, linger: Duration) -> Result<PushStats, BlockingError<Unfinished>> {
        self.thread.may_wait()?;
        block_on(self.finish(linger)).map_err(BlockingError::Failed)
    }

    /// Settles all messages without ending the stream, blocking the thread for at most `linger`.
    ///
    /// Behaves like [`drain`](crate::Push::drain).
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
    /// The same as [`drain`](crate::Push::drain); also if the thread must not block, in which case nothing has changed.
    pub fn blocking_drain(&self, linger: Duration) -> Result<PushStats, BlockingError<Unfinished>> {
        self.thread.may_wait()?;
        block_on(self.drain(linger)).map_err(BlockingError::Failed)
    }

    /// Stops at once, and returns the messages that are left, as [`abort`](crate::Push::abort) does.
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
        self.thread.may_wait()?;
        Ok(block_on(self.abort()))
    }
}
