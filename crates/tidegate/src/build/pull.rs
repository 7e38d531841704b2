//! `PullBuilder`, the settings of a puller.

use std::time::Duration;

use bytes::Bytes;
use tidegate_proto::{Puller, PullerSettings, Role, Tokens, Window};

use super::{access_settings, common_settings, setup::Setup, start::Parts};
use crate::{
    blocking::{self, BlockingError},
    error::{BuildError, CannotBlock},
    io_thread::IoThread,
    park::block_on,
    pull::{MIN_BATCH, Pull, PullState},
};

/// The settings of a [`Pull`].
///
/// Every limit has a default. [`PullBuilder::build`] checks all values.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct PullBuilder {
    settings: PullerSettings,
    setup: Setup,
    expect: Option<usize>,
    keep: bool,
    min_batch: Option<u64>,
}

impl Pull {
    /// Returns a builder with the default settings.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tidegate::{Pull, Window};
    ///
    /// let pull = Pull::builder()
    ///     .bind("mem://doc-pull-builder#results")
    ///     .window(Window::messages(20))
    ///     .expect(1) // `recv` returns `None` when one pusher has finished
    ///     .build()
    ///     .await?;
    /// assert_eq!(pull.local_endpoints()[0].pipeline(), "results");
    /// assert!(Pull::builder().build().await.is_err()); // no endpoint
    /// # Ok(()) }
    /// ```
    pub fn builder() -> PullBuilder {
        PullBuilder::default()
    }
}

impl PullBuilder {
    common_settings!();
    access_settings!();

    /// Sets how many messages and bytes may be un-acked on all links together. Default: [`Window::Auto`].
    ///
    /// With [`Window::messages(n)`](Window::messages), [`Pull::recv`] waits while `n` deliveries are handed
    /// out and un-acked. If a `recv` has waited 5 s for that, a warning is logged, once. Set `n` to at least
    /// the number of deliveries that the application works on at the same time.
    ///
    /// ```
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use tidegate::{Pull, Window};
    ///
    /// // At most 20 jobs at once, although each has a task of its own.
    /// let pull = Pull::builder().connect("tcp://jobs.example:8433").window(Window::messages(20)).build().await?;
    /// while let Some(delivery) = pull.recv().await? {
    ///     tokio::spawn(async move { delivery.ack() });
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn window(mut self, window: Window) -> Self {
        self.settings.window = window;
        self
    }

    /// Sets how many messages and bytes may be granted or un-acked on all links together.
    ///
    /// This limits the memory that all pushers together can make this process use. With [`Window::Auto`] it
    /// is also the largest number of un-acked deliveries. Default: 100,000 messages, 64 MiB.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), tidegate::BuildError> {
    /// let pull = tidegate::Pull::builder().bind("mem://doc-budget").budget(1_000, 8 << 20).build().await?;
    /// # drop(pull);
    /// # Ok(()) }
    /// ```
    pub fn budget(mut self, messages: u64, bytes: u64) -> Self {
        (self.settings.budget, self.settings.budget_bytes) = (messages, bytes);
        self
    }

    /// Sets how many bytes are read ahead of the application on a link. Default: 256 KiB.
    ///
    /// Data beyond that stays in the buffers of the connection.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), tidegate::BuildError> {
    /// let pull = tidegate::Pull::builder().bind("mem://doc-read-ahead").read_ahead(64 * 1_024).build().await?;
    /// # drop(pull);
    /// # Ok(()) }
    /// ```
    pub fn read_ahead(mut self, bytes: u64) -> Self {
        self.settings.read_ahead = bytes;
        self
    }

    /// Sets the size of the duplicate-suppression table, in entries; 0 disables it.
    ///
    /// With the table, a message that is redelivered after its link was lost is not processed a second time.
    /// An entry is an outcome or a run of consecutive message ids. The limit applies to each link, and to all
    /// lost links together; the oldest entries are dropped first. Default: 65,536, some megabytes at most
    /// (RD-9).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), tidegate::BuildError> {
    /// let pull = tidegate::Pull::builder().bind("mem://doc-memory").memory(1_000).build().await?;
    /// # drop(pull);
    /// # Ok(()) }
    /// ```
    pub fn memory(mut self, entries: usize) -> Self {
        self.settings.memory = entries;
        self
    }

    /// Sets the longest time for which an ack waits to be sent together with others. Default: 1 ms.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), tidegate::BuildError> {
    /// use std::time::Duration;
    ///
    /// let builder = tidegate::Pull::builder().bind("mem://doc-ack-delay");
    /// let pull = builder.ack_delay(Duration::from_micros(200)).build().await?;
    /// # drop(pull);
    /// # Ok(()) }
    /// ```
    pub fn ack_delay(mut self, time: Duration) -> Self {
        self.settings.ack_delay = time;
        self
    }

    /// Sets how many pushers must end their streams before `recv` returns `None`.
    ///
    /// It also waits until no other pusher has a link. Without this setting, a puller that is bound never
    /// ends, because more pushers may connect. A puller that only connects ends when all its pushers have
    /// ended.
    ///
    /// Pushers with certificates are counted by their verified names (`TlsConfig::verify_clients`), so each
    /// needs a name of its own. Other pushers are counted by their instance ids, which they choose
    /// themselves: one peer can pose as several.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use tidegate::{Pull, Push};
    ///
    /// let pull = Pull::builder().bind("mem://doc-expect").expect(2).build().await?;
    /// for name in ["a", "b"] {
    ///     let push = Push::builder().connect("mem://doc-expect").build().await?;
    ///     tokio::spawn(async move {
    ///         push.send(name).await.unwrap();
    ///         push.finish(Duration::from_secs(10)).await
    ///     });
    /// }
    /// let mut count = 0;
    /// while let Some(delivery) = pull.recv().await? {
    ///     delivery.ack();
    ///     count += 1;
    /// }
    /// assert_eq!(count, 2); // both have finished
    /// # Ok(()) }
    /// ```
    pub fn expect(mut self, pushers: usize) -> Self {
        self.expect = Some(pushers);
        self
    }

    /// Makes `recv` wait for more pushers even if all have ended their streams. Default: false.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use {std::time::Duration, tidegate::{Pull, Push}};
    /// let push = Push::builder().bind("mem://doc-keep").build().await?;
    /// let pull = Pull::builder().connect("mem://doc-keep").keep(true).build().await?;
    /// pull.connected(1).await?;
    /// push.finish(Duration::from_secs(1)).await?;
    /// assert!(pull.recv_timeout(Duration::from_secs(60)).await.is_err()); // it still waits
    /// # Ok(()) }
    /// ```
    pub fn keep(mut self, keep: bool) -> Self {
        self.keep = keep;
        self
    }

    /// Sets the smallest number of deliveries that are taken from a link at once, and acked without the socket's lock.
    ///
    /// **This is for the tests of this library**, in which a batch is rarely large enough. Default: 16.
    #[doc(hidden)]
    pub fn min_batch(mut self, deliveries: u64) -> Self {
        self.min_batch = Some(deliveries.max(1));
        self
    }

    /// Binds the endpoints and starts to connect.
    ///
    /// Does not wait for pushers; [`Pull::connected`] does. [`Pull::builder`] has an example.
    ///
    /// # Errors
    /// [`BuildError`] if a setting or an endpoint is invalid, an address cannot be bound, or there is neither
    /// a tokio runtime nor [`io_thread`](Self::io_thread).
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, there is no socket, and the addresses are released.
    pub async fn build(self) -> Result<Pull, BuildError> {
        let settings = self.settings;
        let (max_message, heartbeat, close_wait) =
            (settings.max_message, settings.heartbeat, settings.close_wait);
        let ack_delay = settings.ack_delay;
        let machine = Puller::new(settings)?;
        let chance = self.setup.chance()?;
        let min_batch = self.min_batch.unwrap_or(MIN_BATCH);
        let (state, outside) = PullState::with_lane(self.expect, self.keep, min_batch, ack_delay);
        let role = Role::Puller;
        let parts = Parts { machine, state, outside, role, chance, max_message, heartbeat, close_wait };
        let linger_on_drop = self.setup.linger_on_drop;
        self.setup.start(parts, move |shared| Pull::new(shared, linger_on_drop)).await
    }

    /// Builds the puller with [`io_thread(true)`](Self::io_thread), for programs without async.
    ///
    /// Blocks the thread while the endpoints are bound.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use tidegate::{Pull, RecvTimeoutError, blocking::BlockingError};
    ///
    /// let pull = Pull::builder().bind("mem://doc-pull-blocking-build").blocking_build()?;
    /// let nothing = pull.blocking_recv_timeout(Duration::from_millis(5)).unwrap_err();
    /// assert_eq!(nothing, BlockingError::Failed(RecvTimeoutError::Timeout));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The same as [`Self::build`]; also if the thread cannot be started, or if it is the current thread.
    pub fn blocking_build(self) -> Result<blocking::Pull, BlockingError<BuildError>> {
        if IoThread::is_current() {
            return Err(CannotBlock::OnIoThread.into());
        }
        let built = block_on(self.io_thread(true).build()).map_err(BlockingError::Failed)?;
        Ok(built.blocking()?)
    }
}
