//! How a puller is made.

use std::time::Duration;

use bytes::Bytes;
use tidegate_proto::{Puller, PullerSettings, Role, Tokens, Window};

use super::{Pull, state::PullState};
use crate::{
    blocking::block_on,
    error::BuildError,
    setup::{Parts, Setup, common_settings},
};

/// The settings of a [`Pull`]. Every bound has a default; each is checked by [`PullBuilder::build`].
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct PullBuilder {
    settings: PullerSettings,
    setup: Setup,
    expect: Option<usize>,
    keep: bool,
}

impl PullBuilder {
    common_settings!();

    /// How many un-acked messages and bytes are wanted, on all links together. Default: [`Window::Auto`].
    ///
    /// With [`Window::messages(n)`](Window::messages) at most `n` deliveries of this socket are handed out and un-acked, however many
    /// pushers there are; then [`Pull::recv`] waits for an outcome. A `recv` that has waited 5 s for that is logged as a warning, once.
    /// Set `n` to at least the number of deliveries that are worked on at once.
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

    /// Messages and bytes, granted and un-acked, on all links together: what many pushers at once can make this process
    /// hold. Default: 100,000 messages, 64 MiB. With [`Window::Auto`] at most that many messages are handed out and un-acked;
    /// then [`Pull::recv`] waits.
    pub fn budget(mut self, messages: u64, bytes: u64) -> Self {
        (self.settings.budget, self.settings.budget_bytes) = (messages, bytes);
        self
    }

    /// Bytes read ahead of the application on a link; the rest stays with TCP. Default: 256 KiB.
    pub fn read_ahead(mut self, bytes: u64) -> Self {
        self.settings.read_ahead = bytes;
        self
    }

    /// How much is remembered of messages, so that one that comes again after its link was lost is not run a second time:
    /// outcomes, and runs of ids that follow on, for each link and for all lost ones together; what is oldest goes first.
    /// 0: nothing. Default: 65,536, some megabytes at most (RD-9).
    pub fn memory(mut self, entries: usize) -> Self {
        self.settings.memory = entries;
        self
    }

    /// The longest time for which an ack waits for others to go with. Default: 1 ms.
    pub fn ack_delay(mut self, time: Duration) -> Self {
        self.settings.ack_delay = time;
        self
    }

    /// `recv` ends when `pushers` pushers have ended their streams and no other pusher has a link here. Without it, a puller
    /// that is bound never ends, for more pushers may come; one that only connects ends when all those have.
    ///
    /// Pushers with certificates are counted by the names that were verified ([`verify_clients`](crate::TlsConfig::verify_clients)):
    /// each needs a name of its own. Others are counted by their instance ids, which they make up: one peer can pass for several.
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

    /// `recv` never ends, whatever pushers say. Default: false.
    pub fn keep(mut self, keep: bool) -> Self {
        self.keep = keep;
        self
    }

    /// Binds, and begins to connect; does not wait for pushers ([`Pull::connected`] does).
    ///
    /// # Errors
    /// A setting or an endpoint is wrong, an address cannot be bound, or there is no tokio runtime and no
    /// [`io_thread`](Self::io_thread).
    ///
    /// # Cancel safety
    /// Cancelled: there is no socket, and what was bound is given up.
    pub async fn build(self) -> Result<Pull, BuildError> {
        let settings = self.settings;
        let (max_message, heartbeat, close_wait) =
            (settings.max_message, settings.heartbeat, settings.close_wait);
        let ack_delay = settings.ack_delay;
        let machine = Puller::new(settings)?;
        let chance = self.setup.chance()?;
        let state = PullState::new(self.expect, self.keep, ack_delay);
        let role = Role::Puller;
        let parts = Parts { machine, state, role, chance, max_message, heartbeat, close_wait };
        let linger_on_drop = self.setup.linger_on_drop;
        self.setup.start(parts, move |shared| Pull::new(shared, linger_on_drop)).await
    }

    /// As [`Self::build`] with [`io_thread(true)`](Self::io_thread), for programs without async: blocks the thread until it is
    /// done, as long as binding takes.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use tidegate::{Pull, RecvTimeoutError};
    ///
    /// let pull = Pull::builder().bind("mem://doc-pull-blocking-build").blocking_build()?;
    /// let nothing = pull.blocking_recv_timeout(Duration::from_millis(5));
    /// assert!(matches!(nothing, Err(RecvTimeoutError::Timeout)));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Self::build`], or the thread cannot be started.
    pub fn blocking_build(self) -> Result<Pull, BuildError> {
        block_on(self.io_thread(true).build())
    }
}
