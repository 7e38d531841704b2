//! The settings that both builders have.

/// The settings that both builders have, with the same text.
macro_rules! common_settings {
    () => {
        /// Listens on an endpoint.
        ///
        /// Call it once for each endpoint. With port 0 the system chooses a free port; `local_endpoints`
        /// returns it.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), tidegate::BuildError> {
        /// let push = tidegate::Push::builder().bind("tcp://127.0.0.1:0").bind("mem://doc-bind").build().await?;
        /// assert!(push.local_endpoints()[0].to_string().starts_with("tcp://127.0.0.1:"));
        /// # Ok(()) }
        /// ```
        pub fn bind(mut self, endpoint: impl AsRef<str>) -> Self {
            self.setup.binds.push(endpoint.as_ref().to_owned());
            self
        }

        /// Registers a transport of the application for endpoints `scheme://address`.
        ///
        /// Call it once for each transport. A scheme consists of the letters a to z, digits, `+` and `-`. If it
        /// is one of the library, such as `tcp`, or is registered twice, `build` fails.
        /// [`Transport`](crate::Transport) has an example.
        pub fn transport(
            mut self,
            scheme: impl Into<String>,
            transport: std::sync::Arc<dyn crate::Transport>,
        ) -> Self {
            self.setup.transports.register(scheme.into(), transport);
            self
        }

        /// Returns the events of the socket, including those that happen while it is built.
        ///
        /// An event such as [`Event::Bound`](crate::Event::Bound) occurs before `build` returns, so a handle
        /// from `events` of the socket misses it. Sockets built from clones of this builder report to the
        /// same handle.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), tidegate::BuildError> {
        /// use tidegate::{Event, Push};
        ///
        /// let mut builder = Push::builder().bind("mem://doc-builder-events");
        /// let mut events = builder.events();
        /// let _push = builder.build().await?;
        /// assert!(matches!(events.recv().await, Some(Event::Bound { .. })));
        /// # Ok(()) }
        /// ```
        #[must_use]
        pub fn events(&mut self) -> crate::Events {
            self.setup.events.get_or_insert_default().subscribe()
        }

        /// Derives the random values of this socket from a number, so that a test or simulation can repeat a
        /// run.
        ///
        /// The values are its instance id, its secrets and the jitter of its waits. **Use this only in tests
        /// and simulations**: the instance id names messages (HS-8), and peers recognize the socket by its
        /// secrets (HS-9). Two sockets that can meet, or two runs of one process, must not have the same
        /// values. Default: the system's random numbers.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// use tidegate::Push;
        ///
        /// let one = Push::builder().bind("mem://doc-seed-1").seed(7).build().await?;
        /// let other = Push::builder().bind("mem://doc-seed-2").seed(7).build().await?;
        /// assert_eq!(one.try_send_tracked("a")?.id(), other.try_send_tracked("a")?.id());
        /// # Ok(()) }
        /// ```
        pub fn seed(mut self, seed: u64) -> Self {
            self.setup.seed = Some(seed);
            self
        }

        /// Sets how long a link polls for more work after it had some, instead of sleeping at once.
        ///
        /// Polling avoids the time that the system needs to wake a thread, and keeps one core busy meanwhile.
        /// A link polls as often as tokio's `event_interval` allows, so set that to a small number on a
        /// runtime that must react fast. Default: 0, a link sleeps at once.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), tidegate::BuildError> {
        /// use std::time::Duration;
        ///
        /// let busy_poll = Duration::from_micros(50);
        /// let _push = tidegate::Push::builder().bind("mem://doc-busy-poll").busy_poll(busy_poll).build().await?;
        /// # Ok(()) }
        /// ```
        pub fn busy_poll(mut self, time: std::time::Duration) -> Self {
            self.setup.busy_poll = time;
            self
        }

        /// Runs the links on a thread of the library instead of the current tokio runtime.
        ///
        /// The links then make progress even if the program computes on its own threads or blocks them, and
        /// no tokio runtime is needed. All sockets of a process with this setting share one thread,
        /// `tidegate-io`, which ends with the last of them. Each message crosses threads, which costs some
        /// speed. Sockets that share an address must have the same setting. The socket has a form whose calls
        /// block other threads: the module [`blocking`](crate::blocking). Default: false.
        ///
        /// ```
        /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// let push = tidegate::Push::builder().bind("mem://doc-io-thread").blocking_build()?; // sets io_thread(true)
        /// push.blocking_send("resize 17.png")?;
        /// # Ok(()) }
        /// ```
        pub fn io_thread(mut self, own: bool) -> Self {
            self.setup.io_thread = own;
            self
        }

        /// Connects to an endpoint, and reconnects whenever the link is lost.
        ///
        /// Call it once for each endpoint. The other side does not have to be bound yet.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// let pull = tidegate::Pull::builder().connect("mem://doc-connect").build().await?;
        /// let _push = tidegate::Push::builder().bind("mem://doc-connect").build().await?; // later
        /// pull.connected(1).await?;
        /// # Ok(()) }
        /// ```
        pub fn connect(mut self, endpoint: impl AsRef<str>) -> Self {
            self.setup.connects.push(endpoint.as_ref().to_owned());
            self
        }

        /// Connects to this many of the endpoints given with [`Self::connect`], instead of all.
        ///
        /// Use it if hundreds of processes would otherwise connect to hundreds of others. The processes do not
        /// communicate to share out the endpoints: each needs the same list, in any order, and a
        /// [`subset_index`](Self::subset_index) of its own. Then every endpoint gets about the same number of
        /// links, and if an endpoint or a process comes or goes, few links change. An endpoint that is given
        /// twice counts once. If there are not more endpoints, the socket connects to all of them.
        /// [`Event::SubsetChosen`](crate::Event::SubsetChosen) names the endpoints that were chosen, which is
        /// also logged. Whatever else counts endpoints or their ends, such as the end of `recv`, counts only
        /// these.
        ///
        /// At least 1; 20 is a good value. Default: all endpoints. The guide `docs/SCALE.md` of the repository
        /// says when subsets help, and how even they are.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// use tidegate::{Event, Pull};
        ///
        /// let mut builder = Pull::builder().subset(20).subset_index(7); // this is puller 7
        /// for number in 0..100 {
        ///     builder = builder.connect(format!("mem://doc-subset-{number}"));
        /// }
        /// let mut events = builder.events();
        /// let _pull = builder.build().await?;
        /// let Some(Event::SubsetChosen { endpoints, given }) = events.recv().await else { panic!() };
        /// assert_eq!((endpoints.len(), given), (20, 100));
        /// # Ok(()) }
        /// ```
        pub fn subset(mut self, links: usize) -> Self {
            self.setup.subset = Some(links);
            self
        }

        /// Sets the number of this process among those that use [`Self::subset`] with the same endpoints.
        ///
        /// The numbers are 0, 1, 2 and so on, each used once, such as the ordinal of a pod in a Kubernetes
        /// StatefulSet. A restarted process should use its number again. The total need not be known. While
        /// numbers are missing, the endpoints lack the links of those processes. 0 to 99,999; the choice takes
        /// time in proportion to the number and the endpoints, about 10 ms for 1,000 of both. Default: none;
        /// with `subset`, it must be set.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() {
        /// let builder = tidegate::Pull::builder().connect("mem://doc-subset-index").subset(20);
        /// let error = builder.build().await.unwrap_err();
        /// assert!(error.to_string().contains("subset_index"));
        /// # }
        /// ```
        pub fn subset_index(mut self, index: usize) -> Self {
            self.setup.subset_index = Some(index);
            self
        }

        /// Sets the largest message, in bytes of payload and headers.
        ///
        /// A pusher's maximum must not exceed that of its pullers. Default: 16 MiB.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), tidegate::BuildError> {
        /// use tidegate::SendError;
        ///
        /// let push = tidegate::Push::builder().bind("mem://doc-max-message").max_message(1_000).build().await?;
        /// assert!(matches!(push.send(vec![0u8; 2_000]).await, Err(SendError::Invalid { .. })));
        /// # Ok(()) }
        /// ```
        pub fn max_message(mut self, bytes: usize) -> Self {
            self.settings.max_message = bytes as u64;
            self
        }

        /// Sets the interval within which this side sends at least one frame.
        ///
        /// The peer closes the link after three silent intervals. 100 ms to 60 s; default: 2 s.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), tidegate::BuildError> {
        /// use std::time::Duration;
        /// use tidegate::Push;
        ///
        /// let push = Push::builder().bind("mem://doc-heartbeat").heartbeat(Duration::from_millis(500)).build().await?;
        /// # drop(push);
        /// # Ok(()) }
        /// ```
        pub fn heartbeat(mut self, interval: Duration) -> Self {
            self.settings.heartbeat = interval;
            self
        }

        /// Sets how many links may be open at once; further peers are refused with BUSY. Default: 10,000.
        ///
        /// Accepted connections also leave a reserve of file descriptors for the rest of the process: an
        /// eighth of the soft limit `RLIMIT_NOFILE`, at least 16 and at most 1,024. With the usual limit of
        /// 1,024, links and everything else that is open share 896 descriptors. Beyond that, new peers are
        /// refused with BUSY, and a warning names the limit. For more links, raise the limit; the process may
        /// do so at any time.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// use tidegate::{Code, Event, Pull, Push};
        ///
        /// let push = Push::builder().bind("mem://doc-max-links").max_links(1).build().await?;
        /// let _first = Pull::builder().connect("mem://doc-max-links").build().await?;
        /// push.connected(1).await?;
        /// let mut events = push.events();
        /// let _second = Pull::builder().connect("mem://doc-max-links").build().await?;
        /// assert!(matches!(events.recv().await, Some(Event::RefusedPeer { code: Code::Busy, .. })));
        /// # Ok(()) }
        /// ```
        pub fn max_links(mut self, links: usize) -> Self {
            self.settings.max_links = links;
            self
        }

        /// Sets how many links may be open at once that were accepted from one network address.
        ///
        /// An IPv6 address counts by its first 64 bits. Raise the limit if more peers share one address. Does
        /// not apply to `unix://` and `mem://`. Default: 5,000.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), tidegate::BuildError> {
        /// let builder = tidegate::Push::builder().bind("mem://doc-links-per-address");
        /// let push = builder.max_links_per_address(20_000).max_links(20_000).build().await?;
        /// # drop(push);
        /// # Ok(()) }
        /// ```
        pub fn max_links_per_address(mut self, links: usize) -> Self {
            self.setup.limits.links_per_address = links;
            self
        }

        /// Sets how many connections at each bound address may be in an unfinished handshake.
        ///
        /// If all places are taken, a new connection replaces one from the network address that holds the
        /// most places: one that was already refused, otherwise the oldest that has sent nothing, otherwise
        /// the oldest. The replaced connection is refused with BUSY and may come back later. 1 to 1,000,000;
        /// default: 256.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() {
        /// let push = tidegate::Push::builder().bind("mem://doc-max-handshakes").max_handshakes(0);
        /// assert!(push.build().await.is_err()); // at least 1
        /// # }
        /// ```
        pub fn max_handshakes(mut self, handshakes: usize) -> Self {
            self.setup.limits.handshakes = handshakes;
            self
        }

        /// Sets how many connections from one network address may be in an unfinished handshake.
        ///
        /// An IPv6 address counts by its first 64 bits. With this limit one machine cannot keep all others
        /// out: at the limit, a new connection replaces another one from its own address, in the order of
        /// [`Self::max_handshakes`]. Does not apply to `unix://` and `mem://`. Default: 64.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), tidegate::BuildError> {
        /// let builder = tidegate::Push::builder().bind("mem://doc-handshakes-per-address");
        /// let push = builder.max_handshakes_per_address(16).build().await?;
        /// # drop(push);
        /// # Ok(()) }
        /// ```
        pub fn max_handshakes_per_address(mut self, handshakes: usize) -> Self {
            self.setup.limits.handshakes_per_address = handshakes;
            self
        }

        /// Sets the time limit for establishing a connection, and for a handshake.
        ///
        /// If a name has several addresses, up to eight are tried, each 250 ms after the one before; so the
        /// limit should exceed 250 ms for each. While more than half of [`Self::max_handshakes`] are taken,
        /// new connections from one address share the time, and each has at least a fifth of it. More than 0;
        /// default: 5 s.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), tidegate::BuildError> {
        /// use std::time::Duration;
        ///
        /// let builder = tidegate::Push::builder().bind("mem://doc-handshake-timeout");
        /// let push = builder.handshake_timeout(Duration::from_secs(2)).build().await?;
        /// # drop(push);
        /// # Ok(()) }
        /// ```
        pub fn handshake_timeout(mut self, time: Duration) -> Self {
            self.setup.handshake_timeout = time;
            self
        }

        /// Sets the waits between attempts to connect: the first, doubled after each failure up to the
        /// longest.
        ///
        /// Up to 50 % is added to each wait at random. After an outcome, or a link that lasted 10 s, the
        /// waits start over with the first. If the peer asks for a longer wait, that applies, up to 5 min.
        /// More than 0, at most 24 h; default: 50 ms and 10 s.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), tidegate::BuildError> {
        /// use std::time::Duration;
        ///
        /// let builder = tidegate::Pull::builder().connect("mem://doc-reconnect-backoff");
        /// let pull = builder.reconnect_backoff(Duration::from_millis(10), Duration::from_secs(1)).build().await?;
        /// # drop(pull);
        /// # Ok(()) }
        /// ```
        pub fn reconnect_backoff(mut self, first: Duration, max: Duration) -> Self {
            (self.setup.min_reconnect_delay, self.setup.max_reconnect_delay) = (first, max);
            self
        }

        /// Retries after this time if an endpoint refuses this socket permanently, instead of reporting an
        /// error.
        ///
        /// Use it if the other side may accept the socket later, for example because it does not have the
        /// token yet. Until then sends and `recv` wait, as for an endpoint that is not reachable. More than
        /// 0, at most 24 h. Default: a refusal is an error until `set_tokens` is called.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// use std::time::Duration;
        /// use tidegate::{Pull, Push, Tokens};
        ///
        /// let push = Push::builder().bind("mem://doc-retry-refusals").token("old").build().await?;
        /// let builder = Pull::builder().connect("mem://doc-retry-refusals").token("new");
        /// let _pull = builder.retry_refusals(Duration::from_millis(10)).build().await?; // refused for now
        /// push.set_tokens(Tokens::new(["new", "old"]))?;
        /// push.connected(1).await?;
        /// # Ok(()) }
        /// ```
        pub fn retry_refusals(mut self, wait: Duration) -> Self {
            self.setup.retry_refusals = Some(wait);
            self
        }

        /// Stops the socket if it had no link for this time, counted from its start or from the end of its
        /// last link.
        ///
        /// Every call that waits for the socket then returns an error that says so. Without this setting, a
        /// puller waits indefinitely if its pushers finished while it was disconnected. More than 0; default:
        /// never.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), tidegate::BuildError> {
        /// use std::time::Duration;
        /// use tidegate::{Pull, RecvError};
        ///
        /// let builder = Pull::builder().connect("mem://doc-give-up-after");
        /// let pull = builder.give_up_after(Duration::from_millis(20)).build().await?;
        /// assert!(matches!(pull.recv().await, Err(RecvError::GaveUp { .. })));
        /// # Ok(()) }
        /// ```
        pub fn give_up_after(mut self, time: Duration) -> Self {
            self.setup.give_up_after = Some(time);
            self
        }

        /// Makes dropping the last handle wait, for up to this time, until the socket has stopped in order.
        ///
        /// A pusher waits until its messages are settled. A puller waits until its acks are sent and its
        /// links are closed. So a program that returns from `main` loses nothing that could be settled in
        /// time. The drop blocks its thread; on the thread `tidegate-io` it does not wait. Requires
        /// [`Self::io_thread`]. Default: the drop does not wait.
        ///
        /// ```
        /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// use std::{thread, time::Duration};
        /// use tidegate::{Pull, Push};
        ///
        /// let builder = Push::builder().bind("mem://doc-linger-on-drop").linger_on_drop(Duration::from_secs(10));
        /// let push = builder.blocking_build()?;
        /// let pull = Pull::builder().connect("mem://doc-linger-on-drop").blocking_build()?;
        /// push.blocking_send("resize 17.png")?;
        /// let worker = thread::spawn(move || pull.blocking_recv().unwrap().unwrap().ack());
        /// drop(push); // waits for the ack
        /// worker.join().unwrap();
        /// # Ok(()) }
        /// ```
        pub fn linger_on_drop(mut self, time: Duration) -> Self {
            self.setup.linger_on_drop = Some(time);
            self
        }

        /// Sets how long to wait for the answer to a Close. More than 0, at most 1 h; default: 1 s.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), tidegate::BuildError> {
        /// use std::time::Duration;
        ///
        /// let builder = tidegate::Pull::builder().bind("mem://doc-close-wait");
        /// let pull = builder.close_wait(Duration::from_millis(200)).build().await?;
        /// # drop(pull);
        /// # Ok(()) }
        /// ```
        pub fn close_wait(mut self, time: Duration) -> Self {
            self.settings.close_wait = time;
            self
        }
    };
}
pub(crate) use common_settings;
