//! `PushBuilder`, the settings of a pusher.

use std::time::Duration;

use bytes::Bytes;
use tidegate_proto::{Pusher, PusherSettings, Role, Tokens};

use super::{access_settings, common_settings, setup::Setup, start::Parts};
use crate::{
    blocking::{self, BlockingError},
    error::{BuildError, CannotBlock},
    io_thread::IoThread,
    park::block_on,
    push::{Push, PushState},
};

/// The settings of a [`Push`].
///
/// Every limit has a default. [`PushBuilder::build`] checks all values.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct PushBuilder {
    settings: PusherSettings,
    setup: Setup,
}

impl Push {
    /// Returns a builder with the default settings.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use tidegate::Push;
    ///
    /// let push = Push::builder()
    ///     .bind("mem://doc-push-builder")
    ///     .high_water_mark(100)
    ///     .max_attempts(Some(5))
    ///     .build()
    ///     .await?;
    /// assert_eq!(push.local_endpoints()[0].to_string(), "mem://doc-push-builder");
    ///
    /// let error = Push::builder().bind("mem://doc-other").heartbeat(Duration::ZERO).build().await.unwrap_err();
    /// assert!(error.to_string().contains("heartbeat"));
    /// # Ok(()) }
    /// ```
    pub fn builder() -> PushBuilder {
        PushBuilder::default()
    }
}

impl PushBuilder {
    common_settings!();
    access_settings!();

    /// Sets how many messages may be queued before sends wait.
    ///
    /// A message is queued from when it is accepted until it is assigned to a puller. With 0 a send waits
    /// until a puller has credit. Default: 1,000.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let push = tidegate::Push::builder().bind("mem://doc-high-water-mark").high_water_mark(2).build().await?;
    /// push.try_send("1")?;
    /// push.try_send("2")?;
    /// assert!(push.try_send("3").is_err()); // no puller yet
    /// # Ok(()) }
    /// ```
    pub fn high_water_mark(mut self, messages: usize) -> Self {
        self.settings.high_water_mark = messages;
        self
    }

    /// Sets how many bytes may be queued before sends wait. Default: 64 MiB.
    ///
    /// If there is any room left, one whole message is accepted.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let builder = tidegate::Push::builder().bind("mem://doc-high-water-mark-bytes");
    /// let push = builder.high_water_mark_bytes(1_000).build().await?;
    /// push.try_send(vec![0u8; 4_000])?; // there was room
    /// assert!(push.try_send("x").is_err());
    /// # Ok(()) }
    /// ```
    pub fn high_water_mark_bytes(mut self, bytes: usize) -> Self {
        self.settings.high_water_mark_bytes = bytes as u64;
        self
    }

    /// Sets how many messages and bytes the pusher may hold before sends wait.
    ///
    /// Held messages are those queued, in flight, waiting for a retry, or rejected and not fetched. Default:
    /// 1,000,000 messages, 256 MiB.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let push = tidegate::Push::builder().bind("mem://doc-max-held").max_held(1, 1 << 20).build().await?;
    /// push.try_send("1")?;
    /// assert!(push.try_send("2").is_err());
    /// # Ok(()) }
    /// ```
    pub fn max_held(mut self, messages: usize, bytes: u64) -> Self {
        (self.settings.max_held, self.settings.max_held_bytes) = (messages, bytes);
        self
    }

    /// Sets how many messages and bytes may be un-acked on one link, whatever its puller grants.
    ///
    /// Default: 100,000 messages, 64 MiB.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tidegate::{Pull, Push};
    /// let push = Push::builder().bind("mem://doc-max-in-flight").max_in_flight(1, 1 << 20).build().await?;
    /// let pull = Pull::builder().connect("mem://doc-max-in-flight").build().await?;
    /// push.send_all(["1", "2"]).await?;
    /// let _first = pull.recv().await?;
    /// assert_eq!((push.stats().in_flight, push.stats().queued), (1, 1));
    /// # Ok(()) }
    /// ```
    pub fn max_in_flight(mut self, messages: usize, bytes: u64) -> Self {
        (self.settings.max_in_flight, self.settings.max_in_flight_bytes) = (messages, bytes);
        self
    }

    /// Sets how many bytes may wait to be written on one link. Default: 1 MiB.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), tidegate::BuildError> {
    /// let builder = tidegate::Push::builder().bind("mem://doc-max-unwritten");
    /// let push = builder.max_unwritten(256 * 1_024).build().await?;
    /// # drop(push);
    /// # Ok(()) }
    /// ```
    pub fn max_unwritten(mut self, bytes: usize) -> Self {
        self.settings.max_unwritten = bytes;
        self
    }

    /// Sets after how many failed attempts a message is rejected.
    ///
    /// A nack or a timeout is a failed attempt; a lost link is not. Default: no limit.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tidegate::{Pull, Push, ReceiptError};
    /// let push = Push::builder().bind("mem://doc-max-attempts").max_attempts(Some(1)).build().await?;
    /// let pull = Pull::builder().connect("mem://doc-max-attempts").build().await?;
    /// let receipt = push.send_tracked("resize 17.png").await?;
    /// pull.recv().await?.expect("the pusher has not finished").nack();
    /// assert!(matches!(receipt.await, Err(ReceiptError::Rejected { attempts: 1, .. })));
    /// # Ok(()) }
    /// ```
    pub fn max_attempts(mut self, attempts: Option<u32>) -> Self {
        self.settings.max_attempts = attempts;
        self
    }

    /// Sets the waits before another attempt after a nack without its own delay.
    ///
    /// The first wait doubles after each failure, up to the longest. Up to 25 % is added to each wait at
    /// random. [`Delivery::nack`](crate::Delivery::nack) has an example. Default: 100 ms and 30 s.
    pub fn retry_backoff(mut self, first: Duration, max: Duration) -> Self {
        (self.settings.min_retry_delay, self.settings.max_retry_delay) = (first, max);
        self
    }

    /// Sets the longest delay that a puller may request with a nack. Default: 5 min.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), tidegate::BuildError> {
    /// use std::time::Duration;
    ///
    /// let builder = tidegate::Push::builder().bind("mem://doc-max-nack-delay");
    /// let push = builder.max_nack_delay(Duration::from_secs(3_600)).build().await?;
    /// # drop(push);
    /// # Ok(()) }
    /// ```
    pub fn max_nack_delay(mut self, delay: Duration) -> Self {
        self.settings.max_nack_delay = delay;
        self
    }

    /// Sets the reconnect grace: how long to hold a disconnected puller's messages before redelivering them
    /// to others.
    ///
    /// If the connection breaks and both processes survive, no message is processed twice as long as the
    /// puller reconnects within the grace. If the puller died, its messages wait for the grace. 0 redelivers
    /// at once; at most 1 h. Default: 1 s (RD-8).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), tidegate::BuildError> {
    /// use std::time::Duration;
    ///
    /// let push = tidegate::Push::builder().bind("mem://doc-grace").grace(Duration::from_secs(5)).build().await?;
    /// # drop(push);
    /// # Ok(()) }
    /// ```
    pub fn grace(mut self, time: Duration) -> Self {
        self.settings.grace = time;
        self
    }

    /// Sets the time after which a delivery without an outcome counts as a failed attempt, so that its
    /// message is redelivered.
    ///
    /// A stuck worker then does not keep a message indefinitely.
    /// [`Delivery::working`](crate::Delivery::working) restarts the time, and has an example. The time
    /// includes the wait behind other deliveries in the puller's window. If the first worker completes after
    /// all, the message is processed twice. At least 1 ms. Default: none (OC-12).
    pub fn settle_timeout(mut self, time: Option<Duration>) -> Self {
        self.settings.settle_timeout = time;
        self
    }

    /// Sets the time after which a delivery without an outcome counts as a failed attempt, even if its puller
    /// reports progress.
    ///
    /// [`settle_timeout`](Self::settle_timeout) covers workers that are silent; this covers workers that
    /// report progress without end. It also applies without a settle timeout. At least 1 ms, and not less
    /// than the settle timeout. Default: none (OC-12).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use {std::time::Duration, tidegate::{Pull, Push}};
    /// let minute = Duration::from_secs(60);
    /// let push = Push::builder().bind("mem://doc-max-work-time").max_work_time(Some(minute)).build().await?;
    /// let pull = Pull::builder().connect("mem://doc-max-work-time").build().await?;
    /// push.send("encode film.mov").await?;
    /// let first = pull.recv().await?.expect("the pusher has not finished");
    /// let second = pull.recv().await?.expect("the pusher has not finished"); // after a minute
    /// assert_eq!((second.id(), second.attempt()), (first.id(), 2));
    /// # Ok(()) }
    /// ```
    pub fn max_work_time(mut self, time: Option<Duration>) -> Self {
        self.settings.max_work_time = time;
        self
    }

    /// Sets how long writing to a link may make no progress before it gets no more messages.
    ///
    /// The link gets messages again after the next progress. Default: 1 s.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), tidegate::BuildError> {
    /// use std::time::Duration;
    ///
    /// let builder = tidegate::Push::builder().bind("mem://doc-write-stall");
    /// let push = builder.write_stall(Duration::from_millis(500)).build().await?;
    /// # drop(push);
    /// # Ok(()) }
    /// ```
    pub fn write_stall(mut self, time: Duration) -> Self {
        self.settings.write_stall = time;
        self
    }

    /// Sets how long the pusher drains in the background if its last handle is dropped before `finish` or
    /// `drain` is done.
    ///
    /// The background ends with the process and its runtime: if `main` returns, messages that are left are
    /// lost. `finish`, `drain` and [`linger_on_drop`](Self::linger_on_drop) wait. Default: 10 s.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use {std::time::Duration, tidegate::{Pull, Push}};
    /// let push = Push::builder().bind("mem://doc-linger").linger(Duration::from_secs(60)).build().await?;
    /// push.send("resize 17.png").await?;
    /// drop(push); // waits in the background for a puller
    /// let pull = Pull::builder().connect("mem://doc-linger").build().await?;
    /// pull.recv().await?.expect("the pusher drains").ack();
    /// # Ok(()) }
    /// ```
    pub fn linger(mut self, time: Duration) -> Self {
        self.setup.linger = time;
        self
    }

    /// Binds the endpoints and starts to connect.
    ///
    /// Does not wait for pullers; [`Push::connected`] does. [`Push::builder`] has an example.
    ///
    /// # Errors
    /// [`BuildError`] if a setting or an endpoint is invalid, an address cannot be bound, or there is neither
    /// a tokio runtime nor [`io_thread`](Self::io_thread).
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, there is no socket, and the addresses are released.
    pub async fn build(self) -> Result<Push, BuildError> {
        let mut chance = self.setup.chance()?;
        let instance = chance.instance;
        let (settings, linger) = (self.settings, (self.setup.linger, self.setup.linger_on_drop));
        let (max_message, heartbeat, close_wait) =
            (settings.max_message, settings.heartbeat, settings.close_wait);
        let machine = Pusher::new(settings, instance, chance.random.next_u64())?;
        let state = PushState::default();
        let role = Role::Pusher;
        let parts = Parts { machine, state, outside: (), role, chance, max_message, heartbeat, close_wait };
        self.setup.start(parts, move |shared| Push::new(shared, instance, linger)).await
    }

    /// Builds the pusher with [`io_thread(true)`](Self::io_thread), for programs without async.
    ///
    /// Blocks the thread while the endpoints are bound.
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
    /// The same as [`Self::build`]; also if the thread cannot be started, or if it is the current thread.
    pub fn blocking_build(self) -> Result<blocking::Push, BlockingError<BuildError>> {
        if IoThread::is_current() {
            return Err(CannotBlock::OnIoThread.into());
        }
        let built = block_on(self.io_thread(true).build()).map_err(BlockingError::Failed)?;
        Ok(built.blocking()?)
    }
}
