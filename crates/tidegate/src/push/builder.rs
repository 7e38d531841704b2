//! How a pusher is made.

use std::time::Duration;

use bytes::Bytes;
use tidegate_proto::{Pusher, PusherSettings, Role, Tokens};

use super::{Push, state::PushState};
use crate::{
    blocking::block_on,
    error::BuildError,
    setup::{Parts, Setup, common_settings},
};

/// The settings of a [`Push`]. Every bound has a default; each is checked by [`PushBuilder::build`].
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct PushBuilder {
    settings: PusherSettings,
    setup: Setup,
}

impl PushBuilder {
    common_settings!();

    /// Messages accepted and not yet given to a puller, beyond which sends wait. 0 is a rendezvous: a send completes when a puller has
    /// room. Default: 1,000.
    pub fn high_water_mark(mut self, messages: usize) -> Self {
        self.settings.high_water_mark = messages;
        self
    }

    /// The same in bytes; any room left admits one whole message. Default: 64 MiB.
    pub fn high_water_mark_bytes(mut self, bytes: usize) -> Self {
        self.settings.high_water_mark_bytes = bytes as u64;
        self
    }

    /// Everything held: queued, in flight, to be retried, rejected and not fetched. Sends wait beyond it. Default:
    /// 1,000,000 messages, 256 MiB.
    pub fn max_held(mut self, messages: usize, bytes: u64) -> Self {
        (self.settings.max_held, self.settings.max_held_bytes) = (messages, bytes);
        self
    }

    /// Un-acked on one link, whatever its puller grants. Default: 100,000 messages, 64 MiB.
    pub fn max_in_flight(mut self, messages: usize, bytes: u64) -> Self {
        (self.settings.max_in_flight, self.settings.max_in_flight_bytes) = (messages, bytes);
        self
    }

    /// Bytes that may wait to be written on one link. Default: 1 MiB.
    pub fn max_unwritten(mut self, bytes: usize) -> Self {
        self.settings.max_unwritten = bytes;
        self
    }

    /// Failed attempts (nacks; lost links do not count) after which a message is rejected. Default: no limit.
    pub fn max_attempts(mut self, attempts: Option<u32>) -> Self {
        self.settings.max_attempts = attempts;
        self
    }

    /// The waits before another attempt after a nack without a delay of its own: the first, doubling up to the longest,
    /// each with up to 25 % more at random. Default: 100 ms and 30 s.
    pub fn retry_backoff(mut self, first: Duration, longest: Duration) -> Self {
        (self.settings.retry_first, self.settings.retry_longest) = (first, longest);
        self
    }

    /// The longest delay that a puller may ask for with a nack. Default: 5 min.
    pub fn max_nack_delay(mut self, delay: Duration) -> Self {
        self.settings.max_nack_delay = delay;
        self
    }

    /// How long the messages of a lost link wait for the same puller to come back before they go to another one. A link that
    /// breaks between living processes then makes no work run twice; when a puller has died, its messages wait for so long.
    /// 0: not at all; at most 1 h. Default: 1 s (RD-8).
    pub fn grace(mut self, time: Duration) -> Self {
        self.settings.grace = time;
        self
    }

    /// A delivery without an outcome for so long, and without a word that it is being worked on ([`crate::Delivery::working`]),
    /// counts as a failed attempt, and its message goes out again: a worker that is stuck does not keep it for ever. The
    /// time includes that in which it waits behind others of the puller's window. Work that goes on after all runs twice.
    /// At least 1 ms. Default: none (OC-12).
    pub fn settle_timeout(mut self, time: Option<Duration>) -> Self {
        self.settings.settle_timeout = time;
        self
    }

    /// A delivery without an outcome for so long after it was sent counts as a failed attempt, however often its puller says that
    /// it is being worked on: [`settle_timeout`](Self::settle_timeout) ends workers that are silent, this one those that are
    /// busy for ever. It holds without a settle time-out too. At least as long as that, and 1 ms. Default: none (OC-12).
    pub fn max_work_time(mut self, time: Option<Duration>) -> Self {
        self.settings.max_work_time = time;
        self
    }

    /// Without progress in writing for so long, a link gets no more messages until there is some. Default: 1 s.
    pub fn write_stall(mut self, time: Duration) -> Self {
        self.settings.write_stall = time;
        self
    }

    /// How long the last handle, when it is dropped without `finish` or `drain`, or before they are done, goes on settling in the
    /// background, for as long as the process and the runtime are there: when `main` returns, what is left is lost. `finish`
    /// and `drain` wait for it, and so does [`linger_on_drop`](Self::linger_on_drop). Default: 10 s.
    pub fn linger(mut self, time: Duration) -> Self {
        self.setup.linger = time;
        self
    }

    /// Binds, and begins to connect; does not wait for pullers ([`Push::connected`] does).
    ///
    /// # Errors
    /// A setting or an endpoint is wrong, an address cannot be bound, or there is no tokio runtime and no
    /// [`io_thread`](Self::io_thread).
    ///
    /// # Cancel safety
    /// Cancelled: there is no socket, and what was bound is given up.
    pub async fn build(self) -> Result<Push, BuildError> {
        let mut chance = self.setup.chance()?;
        let instance = chance.instance;
        let (settings, linger) = (self.settings, (self.setup.linger, self.setup.linger_on_drop));
        let (max_message, heartbeat, close_wait) =
            (settings.max_message, settings.heartbeat, settings.close_wait);
        let machine = Pusher::new(settings, instance, chance.random.next_u64())?;
        let state = PushState::default();
        let role = Role::Pusher;
        let parts = Parts { machine, state, role, chance, max_message, heartbeat, close_wait };
        self.setup.start(parts, move |shared| Push::new(shared, instance, linger)).await
    }

    /// As [`Self::build`] with [`io_thread(true)`](Self::io_thread), for programs without async: blocks the thread until it is
    /// done, as long as binding takes.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let push = tidegate::Push::builder().bind("mem://doc-push-blocking-build").blocking_build()?;
    /// push.blocking_send("resize 17.png")?; // no runtime is needed
    /// assert_eq!(push.stats().queued, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Self::build`], or the thread cannot be started.
    pub fn blocking_build(self) -> Result<Push, BuildError> {
        block_on(self.io_thread(true).build())
    }
}
