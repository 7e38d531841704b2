//! `Pull`, a puller whose calls block the thread.

use std::{ops::Deref, time::Duration};

use tidegate_proto::PullStats;

use super::{BlockingError, Events};
use crate::{
    error::{CannotBlock, ConnectedError, LeaveError, RecvError, RecvTimeoutError},
    io_thread::OwnThread,
    park::{block_for, block_on},
    pull::Delivery,
};

/// A puller whose links run on the library's own thread, so that they go on while its calls block.
///
/// It is a handle of a [`tidegate::Pull`](crate::Pull), to which it dereferences: clones of both refer to the
/// same puller, and what is said there about dropping the last handle holds here.
/// [`PullBuilder::blocking_build`](crate::PullBuilder::blocking_build) builds one.
#[derive(Clone, Debug)]
pub struct Pull {
    pull: crate::Pull,
    thread: OwnThread,
}

impl crate::Pull {
    /// Returns a handle of this puller whose calls block the thread.
    ///
    /// [`Push::blocking`](crate::Push::blocking) has an example.
    ///
    /// # Errors
    /// [`CannotBlock::NoIoThread`] if the puller was built without
    /// [`io_thread(true)`](crate::PullBuilder::io_thread).
    pub fn blocking(&self) -> Result<Pull, CannotBlock> {
        let thread = self.shared().runtime.own_thread().ok_or(CannotBlock::NoIoThread)?;
        Ok(Pull { pull: self.clone(), thread })
    }
}

impl Deref for Pull {
    type Target = crate::Pull;

    fn deref(&self) -> &crate::Pull {
        &self.pull
    }
}

impl Pull {
    /// Returns the handle for async code.
    #[must_use]
    pub fn into_async(self) -> crate::Pull {
        self.pull
    }

    /// Returns the events of links and endpoints from now on.
    ///
    /// Behaves like [`events`](crate::Pull::events). [`Events::blocking_recv`] has an example.
    #[must_use]
    pub fn events(&self) -> Events {
        Events::new(self.pull.events())
    }

    /// Returns the next delivery, blocking the thread until there is one.
    ///
    /// `None` means the same as for [`recv`](crate::Pull::recv). The links keep running between calls, however long the
    /// application takes.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::{thread, time::Duration};
    /// use tidegate::{Pull, Push};
    ///
    /// let push = Push::builder().bind("mem://doc-blocking-recv").blocking_build()?;
    /// let pull = Pull::builder().connect("mem://doc-blocking-recv").blocking_build()?;
    /// push.blocking_send_all(["1", "2", "3"])?;
    /// let finishing = thread::spawn(move || push.blocking_finish(Duration::from_secs(10)));
    /// while let Some(delivery) = pull.blocking_recv()? {
    ///     thread::sleep(Duration::from_millis(1)); // the work, which may take minutes
    ///     delivery.ack();
    /// }
    /// assert_eq!(finishing.join().unwrap()?.acked, 3);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The same as [`recv`](crate::Pull::recv); also if the thread must not block.
    pub fn blocking_recv(&self) -> Result<Option<Delivery>, BlockingError<RecvError>> {
        self.thread.may_block()?;
        match self.take_blocking() {
            Some(delivery) => Ok(Some(delivery)),
            None => self.wait(),
        }
    }

    /// Returns the next delivery, blocking the thread for at most `wait`.
    ///
    /// `None` means the same as for [`recv`](crate::Pull::recv).
    /// [`PullBuilder::blocking_build`](crate::PullBuilder::blocking_build) has an example.
    ///
    /// # Errors
    /// [`RecvTimeoutError::Timeout`] if no delivery came within `wait`, and otherwise the same as
    /// [`Self::blocking_recv`].
    pub fn blocking_recv_timeout(
        &self,
        wait: Duration,
    ) -> Result<Option<Delivery>, BlockingError<RecvTimeoutError>> {
        self.thread.may_wait()?;
        match block_for(wait, self.wait_blocking()) {
            Some(result) => result.map_err(|error| BlockingError::Failed(error.into())),
            None => Err(BlockingError::Failed(RecvTimeoutError::Timeout)),
        }
    }

    /// Blocks the thread until there is a delivery, and appends it and others that are there to `deliveries`.
    ///
    /// Behaves like [`recv_many`](crate::Pull::recv_many).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tidegate::{Delivery, Pull, Push};
    /// # let push = Push::builder().bind("mem://doc-blocking-recv-many").blocking_build()?;
    /// # let pull = Pull::builder().connect("mem://doc-blocking-recv-many").blocking_build()?;
    /// push.blocking_send_all(["1", "2", "3"])?;
    /// let mut batch = Vec::new();
    /// while batch.len() < 3 {
    ///     pull.blocking_recv_many(&mut batch, 3)?;
    /// }
    /// Delivery::ack_all(batch);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The same as [`Self::blocking_recv`].
    pub fn blocking_recv_many(
        &self,
        deliveries: &mut Vec<Delivery>,
        limit: usize,
    ) -> Result<usize, BlockingError<RecvError>> {
        self.thread.may_block()?;
        if limit == 0 {
            return Ok(0);
        }
        let taken = self.take_many(deliveries, limit);
        if taken > 0 {
            return Ok(taken);
        }
        let Some(first) = self.wait()? else { return Ok(0) };
        deliveries.push(first);
        Ok(1 + self.take_many(deliveries, limit - 1))
    }

    /// Blocks the thread until at least `n` links are open at the same time.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tidegate::{Pull, Push};
    /// let _push = Push::builder().bind("mem://doc-pull-blocking-connected").blocking_build()?;
    /// let pull = Pull::builder().connect("mem://doc-pull-blocking-connected").blocking_build()?;
    /// pull.blocking_connected(1)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The same as [`connected`](crate::Pull::connected); also if the thread must not block.
    pub fn blocking_connected(&self, n: usize) -> Result<(), BlockingError<ConnectedError>> {
        self.thread.may_wait()?;
        block_on(self.connected(n)).map_err(BlockingError::Failed)
    }

    /// Closes the puller, blocking the thread for at most `linger` until the outcomes of held deliveries are
    /// sent.
    ///
    /// Behaves like [`leave`](crate::Pull::leave).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use tidegate::{Pull, Push};
    ///
    /// let push = Push::builder().bind("mem://doc-blocking-leave").blocking_build()?;
    /// let pull = Pull::builder().connect("mem://doc-blocking-leave").blocking_build()?;
    /// push.blocking_send("resize 17.png")?;
    /// pull.blocking_recv()?.expect("the pusher has not finished").ack();
    /// let stats = pull.blocking_leave(Duration::from_secs(10))?; // the ack has been sent
    /// assert_eq!((stats.acked, stats.links), (1, 0));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The same as [`leave`](crate::Pull::leave); also if the thread must not block, in which case nothing has changed.
    pub fn blocking_leave(&self, linger: Duration) -> Result<PullStats, BlockingError<LeaveError>> {
        self.thread.may_wait()?;
        block_on(self.leave(linger)).map_err(BlockingError::Failed)
    }

    fn wait(&self) -> Result<Option<Delivery>, BlockingError<RecvError>> {
        self.thread.may_wait()?;
        block_on(self.wait_blocking()).map_err(BlockingError::Failed)
    }
}
