//! `Events`, what happens to the links and endpoints of a socket, for threads that block.

use std::time::Duration;

use super::IntoBlockingError;
use crate::{
    error::CannotBlock,
    events::Event,
    park::{block_for, block_on},
};

/// The events of a socket, from [`Push::events`](super::Push::events) and [`Pull::events`](super::Pull::events).
///
/// The events of a builder, which include those of building, have a blocking form when the socket is built:
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tidegate::{Event, Push};
///
/// let mut builder = Push::builder().bind("mem://doc-events-of-builder");
/// let events = builder.events();
/// let _push = builder.blocking_build()?;
/// let mut events = events.blocking()?;
/// assert!(matches!(events.blocking_recv()?, Some(Event::Bound { .. })));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Events {
    events: crate::Events,
}

impl crate::Events {
    /// Returns the form of these events that blocks its thread. [`blocking::Events`](Events) has an example.
    ///
    /// # Errors
    /// [`CannotBlock::NoIoThread`] if the links of the socket, or of another one from a clone of its builder, run on
    /// the application's runtime. [`CannotBlock::NotBuilt`] if no socket was built with the builder yet. The error
    /// contains the events.
    pub fn blocking(self) -> Result<Events, IntoBlockingError<Self>> {
        match self.own_thread() {
            Ok(_) => Ok(Events { events: self }),
            Err(reason) => Err(IntoBlockingError::new(reason, self)),
        }
    }
}

impl Events {
    pub(super) fn new(events: crate::Events) -> Self {
        Self { events }
    }

    /// Returns the handle for async code.
    #[must_use]
    pub fn into_async(self) -> crate::Events {
        self.events
    }

    /// Returns the next event, blocking the thread until there is one; `None` when the socket is gone.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tidegate::{Event, Pull, Push};
    ///
    /// let push = Push::builder().bind("mem://doc-events-blocking-recv").blocking_build()?;
    /// let mut events = push.events();
    /// let _pull = Pull::builder().connect("mem://doc-events-blocking-recv").blocking_build()?;
    /// assert!(matches!(events.blocking_recv()?, Some(Event::Connected { .. })));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`CannotBlock`] if the thread must not block.
    pub fn blocking_recv(&mut self) -> Result<Option<Event>, CannotBlock> {
        self.may_wait()?;
        Ok(block_on(self.events.recv()))
    }

    /// Returns the next event, blocking the thread for at most `wait`.
    ///
    /// The outer `None` means that none came in this time. The inner `None` means the same as for
    /// [`Self::blocking_recv`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// let push = tidegate::Push::builder().bind("mem://doc-events-recv-timeout").blocking_build()?;
    /// assert!(push.events().blocking_recv_timeout(Duration::from_millis(5))?.is_none()); // no puller came
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`CannotBlock`] if the thread must not block.
    pub fn blocking_recv_timeout(&mut self, wait: Duration) -> Result<Option<Option<Event>>, CannotBlock> {
        self.may_wait()?;
        Ok(block_for(wait, self.events.recv()))
    }

    fn may_wait(&self) -> Result<(), CannotBlock> {
        self.events.own_thread()?.may_wait()
    }
}
