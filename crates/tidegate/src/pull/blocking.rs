//! The blocking forms of the puller's methods, for programs without async.
//!
//! They require links on a thread of their own ([`PullBuilder::io_thread`](crate::PullBuilder::io_thread)),
//! and work on every other thread. Do not use them within an async runtime: they block its thread.

use std::time::Duration;

use tidegate_proto::PullStats;

use super::{Delivery, Pull};
use crate::{
    blocking::{block_for, block_on},
    error::{ConnectedError, RecvError, RecvTimeoutError, StopError},
};

impl Pull {
    /// Returns the next delivery, blocking the thread until there is one.
    ///
    /// `None` means the same as for [`Self::recv`]. The links keep running between calls, however long the
    /// application takes. Requires [`io_thread`](crate::PullBuilder::io_thread).
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
    /// The same as [`Self::recv`]; also if the thread must not block.
    pub fn blocking_recv(&self) -> Result<Option<Delivery>, RecvError> {
        self.shared().runtime.may_block()?;
        match self.shared().outside.take_blocking(self.shared()) {
            Some(delivery) => Ok(Some(delivery)),
            None => self.blocking_wait(),
        }
    }

    /// Returns the next delivery, blocking the thread for at most `wait`.
    ///
    /// `None` means the same as for [`Self::recv`].
    /// [`PullBuilder::blocking_build`](crate::PullBuilder::blocking_build) has an example.
    ///
    /// # Errors
    /// [`RecvTimeoutError::Timeout`] if no delivery came within `wait`, and otherwise the same as
    /// [`Self::blocking_recv`].
    pub fn blocking_recv_timeout(&self, wait: Duration) -> Result<Option<Delivery>, RecvTimeoutError> {
        self.shared().runtime.may_wait().map_err(RecvError::from)?;
        self.links_run();
        match block_for(wait, self.wait_in_line()) {
            Some(result) => Ok(result?),
            None => Err(RecvTimeoutError::Timeout),
        }
    }

    /// Blocks the thread until there is a delivery, and appends it and others that are there to `deliveries`.
    ///
    /// Behaves like [`Self::recv_many`]. Requires [`io_thread`](crate::PullBuilder::io_thread).
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
    ) -> Result<usize, RecvError> {
        self.shared().runtime.may_block()?;
        if limit == 0 {
            return Ok(0);
        }
        let shared = self.shared();
        let taken = shared.outside.take_many(shared, deliveries, limit);
        if taken > 0 {
            return Ok(taken);
        }
        let Some(first) = self.blocking_wait()? else { return Ok(0) };
        deliveries.push(first);
        Ok(1 + shared.outside.take_many(shared, deliveries, limit - 1))
    }

    /// Blocks the thread until at least `n` links are open at the same time.
    ///
    /// Requires [`io_thread`](crate::PullBuilder::io_thread).
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
    /// The same as [`Self::connected`]; also if the thread must not block.
    pub fn blocking_connected(&self, n: usize) -> Result<(), ConnectedError> {
        self.shared().runtime.may_wait()?;
        block_on(self.connected(n))
    }

    /// Closes the puller, blocking the thread for at most `linger` until the outcomes of held deliveries are
    /// sent.
    ///
    /// Behaves like [`Self::leave`]. Requires [`io_thread`](crate::PullBuilder::io_thread).
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
    /// The same as [`Self::leave`]; also if the thread must not block, in which case nothing has changed.
    pub fn blocking_leave(&self, linger: Duration) -> Result<PullStats, StopError> {
        self.shared().runtime.may_wait()?;
        Ok(block_on(self.leave(linger))?)
    }

    fn blocking_wait(&self) -> Result<Option<Delivery>, RecvError> {
        self.shared().runtime.may_wait()?;
        self.links_run();
        block_on(self.wait_in_line())
    }

    /// The links have their own thread, which sends an Ack that is due; no `recv` has to yield for it.
    fn links_run(&self) {
        self.shared().with(|inner| inner.state.yield_due = false);
    }
}
