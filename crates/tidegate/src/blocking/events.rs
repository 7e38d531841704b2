//! `Events`, what happens to the links and endpoints of a socket, for threads that block.

use std::ops::{Deref, DerefMut};

use crate::{error::CannotBlock, events::Event, park::block_on};

/// The events of a socket, from [`Push::events`](super::Push::events) and [`Pull::events`](super::Pull::events),
/// or from a builder:
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tidegate::{Event, Push};
///
/// let mut builder = Push::builder().bind("mem://doc-events-of-builder");
/// let mut events = builder.events().blocking()?; // before the socket is built
/// let _push = builder.blocking_build()?;
/// assert!(matches!(events.blocking_recv()?, Some(Event::Bound { .. })));
/// # Ok(()) }
/// ```
///
/// It dereferences to the async form.
#[derive(Debug)]
pub struct Events {
    events: crate::Events,
}

impl crate::Events {
    /// Returns the form of these events that blocks its thread.
    ///
    /// [`blocking::Events`](Events) has an example. If the events come from a builder whose socket is not built
    /// yet, it is not known where the links will run; then the calls fail if they must not block.
    ///
    /// # Errors
    /// [`CannotBlock`] if the links of the socket run on the application's runtime, or in the parent of this
    /// forked process.
    pub fn blocking(self) -> Result<Events, CannotBlock> {
        self.may_wait()?;
        Ok(Events { events: self })
    }
}

impl Events {
    pub(super) fn new(events: crate::Events) -> Self {
        Self { events }
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
        self.events.may_wait()?;
        Ok(block_on(self.events.recv()))
    }
}

impl Deref for Events {
    type Target = crate::Events;

    fn deref(&self) -> &crate::Events {
        &self.events
    }
}

impl DerefMut for Events {
    fn deref_mut(&mut self) -> &mut crate::Events {
        &mut self.events
    }
}
