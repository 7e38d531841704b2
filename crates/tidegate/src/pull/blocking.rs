//! The forms for programs without async: each blocks its thread as long as the other one would wait.
//!
//! They need the links on a thread of their own ([`PullBuilder::io_thread`](super::PullBuilder::io_thread)), and then work on any
//! other thread. Within an async runtime they keep its thread from everything else: use the async forms there.

use std::time::Duration;

use tidegate_proto::PullStats;

use super::{Delivery, Lent, Pull, Receiver, take};
use crate::{
    blocking::{block_for, block_on},
    error::{ConnectedError, RecvError, RecvTimeoutError, StopError},
};

impl Pull {
    /// As [`Self::recv`], blocking the thread until there is a delivery; needs [`io_thread`](super::PullBuilder::io_thread). Links
    /// go on whatever is done until the next call, however long that takes.
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
    /// As [`Self::recv`], or the thread cannot block.
    pub fn blocking_recv(&self) -> Result<Option<Delivery>, RecvError> {
        self.shared().place.may_block()?;
        let next = self.shared().with_message(|inner| {
            inner.state.yield_due = false; // see `links_run`
            take(inner)
        });
        match next {
            Some(delivery) => Ok(Some(delivery)),
            None => self.blocking_wait(),
        }
    }

    /// As [`Self::blocking_recv`], but blocks for at most `wait`.
    ///
    /// # Errors
    /// Nothing came in that time, or as [`Self::blocking_recv`].
    pub fn blocking_recv_timeout(&self, wait: Duration) -> Result<Option<Delivery>, RecvTimeoutError> {
        self.shared().place.may_wait().map_err(RecvError::from)?;
        self.links_run();
        match block_for(wait, self.wait_in_line()) {
            Some(result) => Ok(result?),
            None => Err(RecvTimeoutError::Timeout),
        }
    }

    /// As [`Self::recv_many`], blocking as [`Self::blocking_recv`] does.
    ///
    /// # Errors
    /// As [`Self::blocking_recv`].
    pub fn blocking_recv_many(
        &self,
        deliveries: &mut Vec<Delivery>,
        limit: usize,
    ) -> Result<usize, RecvError> {
        self.shared().place.may_block()?;
        if limit == 0 {
            return Ok(0);
        }
        let taken = self.take_many(deliveries, limit);
        if taken > 0 {
            return Ok(taken);
        }
        let Some(first) = self.blocking_wait()? else { return Ok(0) };
        deliveries.push(first);
        Ok(1 + self.take_many(deliveries, limit - 1))
    }

    /// As [`Self::connected`], blocking the thread; needs [`io_thread`](super::PullBuilder::io_thread).
    ///
    /// # Errors
    /// As [`Self::connected`], or the thread cannot block.
    pub fn blocking_connected(&self, n: usize) -> Result<(), ConnectedError> {
        self.shared().place.may_wait()?;
        block_on(self.connected(n))
    }

    /// As [`Self::leave`], blocking the thread; needs [`io_thread`](super::PullBuilder::io_thread).
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
    /// As [`Self::leave`], or the thread cannot block: then nothing has happened.
    pub fn blocking_leave(&self, linger: Duration) -> Result<PullStats, StopError> {
        self.shared().place.may_wait()?;
        Ok(block_on(self.leave(linger))?)
    }

    fn blocking_wait(&self) -> Result<Option<Delivery>, RecvError> {
        self.shared().place.may_wait()?;
        self.links_run();
        block_on(self.wait_in_line())
    }

    /// An Ack that is due has its thread to leave: nobody has to make way for it.
    fn links_run(&self) {
        self.shared().with(|inner| inner.state.yield_due = false);
    }
}

impl Receiver {
    /// As [`Self::recv`], blocking as [`Pull::blocking_recv`] does.
    ///
    /// # Errors
    /// As [`Pull::blocking_recv`].
    pub fn blocking_recv(&mut self) -> Result<Option<Lent<'_>>, RecvError> {
        self.pull.shared().place.may_block()?;
        let item = loop {
            if let Some(item) = self.take_lent() {
                break item;
            }
            if !self.take_lot() {
                let Some(delivery) = self.pull.blocking_wait()? else { return Ok(None) };
                self.lend_lot(delivery);
            }
        };
        Ok(Some(self.lend(item)))
    }
}
