//! `Rejections`, the messages that will never be sent again, for threads that block.

use std::time::Duration;

use super::IntoBlockingError;
use crate::{
    error::CannotBlock,
    io_thread::OwnThread,
    park::{block_for, block_on},
    push::Rejected,
};

/// The rejected messages of a pusher, from [`Push::rejections`](super::Push::rejections).
///
/// While a handle exists, rejected messages are kept until they are fetched, and count as held. If you do not fetch
/// them, sends eventually block. When the last handle is dropped, messages that were not fetched are lost, with a
/// warning; later ones are only counted.
#[derive(Debug)]
pub struct Rejections {
    rejections: crate::Rejections,
    thread: OwnThread,
}

impl crate::Rejections {
    /// Returns the form of this handle that blocks its thread.
    ///
    /// # Errors
    /// [`CannotBlock::NoIoThread`] if the pusher was built without
    /// [`io_thread(true)`](crate::PushBuilder::io_thread). The error contains the handle.
    pub fn blocking(self) -> Result<Rejections, IntoBlockingError<Self>> {
        match self.own_thread() {
            Some(thread) => Ok(Rejections { rejections: self, thread }),
            None => Err(IntoBlockingError::new(CannotBlock::NoIoThread, self)),
        }
    }
}

impl Rejections {
    pub(super) fn new(rejections: crate::Rejections, thread: OwnThread) -> Self {
        Self { rejections, thread }
    }

    /// Returns the handle for async code.
    #[must_use]
    pub fn into_async(self) -> crate::Rejections {
        self.rejections
    }

    /// Returns the next rejected message, if there is one now, as
    /// [`try_recv`](crate::Rejections::try_recv) does.
    pub fn try_recv(&mut self) -> Option<Rejected> {
        self.rejections.try_recv()
    }

    /// Blocks the thread until there is a rejected message. Returns `None` when the pusher has stopped and all
    /// messages have been fetched.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let push = tidegate::Push::builder().bind("mem://doc-rejections-blocking-recv").blocking_build()?;
    /// # let pull = tidegate::Pull::builder().connect("mem://doc-rejections-blocking-recv").blocking_build()?;
    /// let mut rejections = push.rejections();
    /// push.blocking_send("resize notes.txt")?;
    /// pull.blocking_recv()?.expect("the pusher has not finished").reject("not a picture");
    /// assert_eq!(rejections.blocking_recv()?.expect("the pusher is open").reason, "not a picture");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`CannotBlock`] if the thread must not block.
    pub fn blocking_recv(&mut self) -> Result<Option<Rejected>, CannotBlock> {
        self.thread.may_wait()?;
        Ok(block_on(self.rejections.recv()))
    }

    /// Blocks the thread until there is a rejected message, for at most `wait`.
    ///
    /// The outer `None` means that none came in this time. The inner `None` means the same as for
    /// [`Self::blocking_recv`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # let push = tidegate::Push::builder().bind("mem://doc-rejections-recv-timeout").blocking_build()?;
    /// let mut rejections = push.rejections();
    /// assert!(rejections.blocking_recv_timeout(Duration::from_millis(5))?.is_none());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`CannotBlock`] if the thread must not block.
    pub fn blocking_recv_timeout(&mut self, wait: Duration) -> Result<Option<Option<Rejected>>, CannotBlock> {
        self.thread.may_wait()?;
        Ok(block_for(wait, self.rejections.recv()))
    }
}
