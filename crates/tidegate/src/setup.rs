//! Settings and start-up that both builders share.

use std::{sync::Arc, time::Duration};

use tidegate_proto::{
    InstanceId, KeyMaker, Random, Resume, Role as WireRole, SettingError, handshake::Local,
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    endpoint::{Address, Endpoint},
    error::BuildError,
    events::{Event, Feed},
    io_thread::LinkRuntime,
    link::{dial, listen},
    security::Policy,
    shared::{ConnectionLimits, Shared, SocketMachine, Times},
    transport::Custom,
};

/// Far more than the file descriptors of a process, so a larger value is a mistake.
const MAX_HANDSHAKES: usize = 1_000_000;
/// A longer wait would keep a socket open that is no longer used.
const MAX_CLOSE_WAIT: Duration = Duration::from_secs(3_600);
/// A longer wait between attempts amounts to not connecting at all.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(24 * 3_600);

#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) binds: Vec<String>,
    pub(crate) connects: Vec<String>,
    pub(crate) name: String,
    pub(crate) policy: Policy,
    pub(crate) limits: ConnectionLimits,
    pub(crate) handshake_timeout: Duration,
    pub(crate) min_reconnect_delay: Duration,
    pub(crate) max_reconnect_delay: Duration,
    pub(crate) retry_refusals: Option<Duration>,
    pub(crate) give_up_after: Option<Duration>,
    pub(crate) linger: Duration,
    pub(crate) linger_on_drop: Option<Duration>,
    pub(crate) busy_poll: Duration,
    pub(crate) io_thread: bool,
    pub(crate) seed: Option<u64>,
    pub(crate) transports: Vec<Custom>,
    /// Created by the first call of `events()` on the builder.
    pub(crate) events: Option<Feed>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            binds: Vec::new(),
            connects: Vec::new(),
            name: String::new(),
            policy: Policy::default(),
            limits: ConnectionLimits {
                handshakes: 256,
                handshakes_per_address: 64,
                links_per_address: 5_000,
            },
            handshake_timeout: Duration::from_secs(5),
            min_reconnect_delay: Duration::from_millis(50),
            max_reconnect_delay: Duration::from_secs(10),
            retry_refusals: None,
            give_up_after: None,
            linger: Duration::from_secs(10),
            linger_on_drop: None,
            busy_poll: Duration::ZERO,
            io_thread: false,
            seed: None,
            transports: Vec::new(),
            events: None,
        }
    }
}

/// What the pusher or the puller adds to the common setup.
pub(crate) struct Parts<M: SocketMachine> {
    pub(crate) machine: M,
    pub(crate) state: M::State,
    pub(crate) role: WireRole,
    pub(crate) chance: Chance,
    pub(crate) max_message: u64,
    pub(crate) heartbeat: Duration,
    pub(crate) close_wait: Duration,
}

/// The random parts of a socket.
pub(crate) struct Chance {
    pub(crate) instance: InstanceId,
    pub(crate) keys: KeyMaker,
    /// For jitter.
    pub(crate) random: Random,
    /// Whether everything here is derived from the seed of the builder.
    seeded: bool,
}

/// Source of the `resume` secrets of an endpoint that is connected to (HS-9): the system, or a seed.
pub(crate) struct Secrets(Option<Random>);

impl Secrets {
    /// Returns a new secret, or `None` if the system has no random numbers. Without a secret, a new link
    /// never replaces an old one.
    pub(crate) fn draw(&mut self) -> Option<Resume> {
        let mut bytes = [0; 16];
        match &mut self.0 {
            Some(random) => fill(&mut bytes, random),
            None => getrandom::fill(&mut bytes).ok()?,
        }
        Some(Resume::new(bytes))
    }
}

fn fill(bytes: &mut [u8; 16], random: &mut Random) {
    for part in bytes.chunks_exact_mut(8) {
        part.copy_from_slice(&random.next_u64().to_be_bytes());
    }
}

impl Setup {
    /// Draws the random parts from the seed, if there is one, and otherwise from the system.
    pub(crate) fn chance(&self) -> Result<Chance, BuildError> {
        let (mut bytes, mut secret) = ([0; 16], [0; 16]); // HS-8, HS-9
        let seed = if let Some(seed) = self.seed {
            let mut random = Random::new(seed);
            fill(&mut bytes, &mut random);
            fill(&mut secret, &mut random);
            random.next_u64()
        } else {
            let failed = |e: getrandom::Error| BuildError::Random(e.to_string());
            getrandom::fill(&mut bytes).map_err(failed)?;
            getrandom::fill(&mut secret).map_err(failed)?;
            getrandom::u64().map_err(failed)?
        };
        let (instance, keys) = (InstanceId(bytes), KeyMaker::new(secret));
        Ok(Chance { instance, keys, random: Random::new(seed), seeded: self.seed.is_some() })
    }

    /// Checks LM-1. `close_wait` belongs to the machine's settings, but the machine accepts any value.
    fn check(&self, close_wait: Duration) -> Result<(), SettingError> {
        let ok = SettingError::unless;
        let ConnectionLimits { handshakes, handshakes_per_address, links_per_address } = self.limits;
        for (bound, setting) in [
            (handshakes, "max_handshakes"),
            (handshakes_per_address, "max_handshakes_per_address"),
            (links_per_address, "max_links_per_address"),
        ] {
            ok(bound > 0, setting, &bound, "at least 1")?;
        }
        ok(handshakes <= MAX_HANDSHAKES, "max_handshakes", &handshakes, "1 to 1,000,000")?;
        ok(close_wait <= MAX_CLOSE_WAIT, "close_wait", &close_wait, "more than 0, at most 1 h")?;
        let handshake = self.handshake_timeout;
        ok(!handshake.is_zero(), "handshake_timeout", &handshake, "more than 0")?;
        let (min, max) = (self.min_reconnect_delay, self.max_reconnect_delay);
        if let Some(mode) = self.policy.unix_mode {
            let bound = self.binds.iter().any(|endpoint| endpoint.starts_with("unix://"));
            ok(bound, "unix_mode", &format_args!("{mode:o}"), "unset unless a unix:// endpoint is bound")?;
            let fits = mode <= 0o777 && mode & 0o600 == 0o600;
            ok(
                fits,
                "unix_mode",
                &format_args!("{mode:o}"),
                "600 to 777 (octal), with read and write permission for the owner",
            )?;
        }
        let fits = !min.is_zero() && min <= max && max <= MAX_RECONNECT_DELAY;
        let right = "more than 0, at most 24 h, and in ascending order";
        ok(fits, "reconnect_backoff", &(min, max), right)?;
        if let Some(wait) = self.give_up_after {
            ok(!wait.is_zero(), "give_up_after", &wait, "more than 0")?;
        }
        if let Some(wait) = self.linger_on_drop {
            let right = "unset without io_thread(true) or blocking_build(): only these run the links on another thread";
            ok(self.io_thread, "linger_on_drop", &wait, right)?;
        }
        if let Some(wait) = self.retry_refusals {
            let fits = !wait.is_zero() && wait <= MAX_RECONNECT_DELAY;
            ok(fits, "retry_refusals", &wait, "more than 0, at most 24 h")?;
        }
        ok(self.name.len() <= 256, "name", &self.name, "at most 256 bytes")?;
        for (index, custom) in self.transports.iter().enumerate() {
            let scheme = custom.scheme();
            let first = self.transports.iter().position(|other| other.scheme() == scheme) == Some(index);
            let right = "a scheme of its own: a to z, 0 to 9, + and -, not used by another transport";
            ok(first && custom.has_own_scheme(), "transport", &scheme, right)?;
        }
        Ok(())
    }

    /// Checks the settings, binds and starts to connect on the runtime that runs the links. Does not wait for
    /// peers.
    pub(crate) async fn start<M: SocketMachine, H: Send + 'static>(
        self,
        parts: Parts<M>,
        handle: impl FnOnce(Arc<Shared<M>>) -> H + Send + 'static,
    ) -> Result<H, BuildError> {
        self.check(parts.close_wait)?;
        if !self.io_thread {
            let place = LinkRuntime::here().ok_or(BuildError::NoRuntime)?;
            return self.start_at(place, parts).await.map(handle);
        }
        let place = LinkRuntime::own().map_err(BuildError::Thread)?;
        // A listener belongs to the runtime that bound it, so binding happens there. The handle is made there
        // too: if the caller drops this future, dropping the handle stops the socket.
        let work = self.start_at(place.clone(), parts);
        let started = place.handle.spawn(async { work.await.map(handle) });
        AbortOnDropHandle::new(started).await.map_err(|error| BuildError::Thread(error.into()))?
    }

    async fn start_at<M: SocketMachine>(
        self,
        place: LinkRuntime,
        parts: Parts<M>,
    ) -> Result<Arc<Shared<M>>, BuildError> {
        let parse = |all: &[String]| {
            all.iter().map(|text| Endpoint::parse(text, &self.transports)).collect::<Result<Vec<_>, _>>()
        };
        let (binds, connects) = (parse(&self.binds)?, parse(&self.connects)?);
        if binds.is_empty() && connects.is_empty() {
            return Err(BuildError::NoEndpoint);
        }
        // A custom transport reports for itself which drivers it lacks.
        let of_system = |endpoint: &Endpoint| {
            matches!(endpoint.address, Address::Tcp { .. } | Address::Tls { .. } | Address::Unix { .. })
        };
        if !place.has_drivers(binds.iter().chain(&connects).any(of_system)) {
            return Err(BuildError::NoRuntime);
        }
        let security = self.policy.prepare(&binds, &connects)?;
        let Chance { instance, keys, mut random, seeded } = parts.chance;
        let local = Local {
            role: parts.role,
            instance,
            name: self.name,
            pipeline: String::new(),
            token: None,
            max_message: parts.max_message,
            heartbeat: parts.heartbeat,
            offered: Vec::new(),
            required: Vec::new(),
        };
        let times = Times {
            handshake: self.handshake_timeout,
            min_reconnect_delay: self.min_reconnect_delay,
            max_reconnect_delay: self.max_reconnect_delay,
            retry_refusals: self.retry_refusals,
            close_wait: parts.close_wait,
            busy_poll: self.busy_poll,
        };
        let Parts { machine, state, .. } = parts;
        let mut shared = Shared::new(machine, state, (local, keys), times, self.limits, security, place);
        if let Some(events) = self.events {
            shared.events = events;
        }
        shared.events.run_at(shared.runtime.link_thread());
        let shared = Arc::new(shared);
        // Releases the endpoints that are already bound if a later step fails or the future is dropped.
        let undo = shared.stop.clone().drop_guard();
        for endpoint in binds {
            match listen::bind(&shared, &endpoint).await {
                Ok(endpoint) => {
                    shared.security.warn_if_open(&endpoint);
                    shared.with(|inner| inner.endpoints.bound.push(endpoint.clone()));
                    shared.report(Event::Bound { endpoint });
                }
                Err(source) => return Err(BuildError::Bind { endpoint, source }),
            }
        }
        shared.with(|inner| inner.endpoints.dialing = connects.len());
        for (slot, endpoint) in connects.into_iter().enumerate() {
            let secrets = Secrets(seeded.then(|| Random::new(random.next_u64())));
            let random = Random::new(random.next_u64());
            dial::spawn(shared.clone(), endpoint, slot as u64, secrets, random);
        }
        shared.spawn_timer();
        if let Some(wait) = self.give_up_after {
            shared.give_up_after(wait);
        }
        undo.disarm();
        Ok(shared)
    }
}

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
        /// Call it once for each transport. A scheme consists of the letters a to z, digits, `+` and `-`, and
        /// must be unique. [`Transport`](crate::Transport) has an example.
        pub fn transport(
            mut self,
            scheme: impl Into<String>,
            transport: std::sync::Arc<dyn crate::Transport>,
        ) -> Self {
            self.setup.transports.push(crate::transport::Custom::new(scheme.into(), transport));
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
        /// speed. Sockets that share an address must have the same setting. Default: false.
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

        /// Sets a name that the peer's logs and statistics show for this socket.
        ///
        /// At most 256 bytes. Peers do not verify it. Default: empty.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// let push = tidegate::Push::builder().bind("mem://doc-name").build().await?;
        /// let _pull = tidegate::Pull::builder().connect("mem://doc-name").name("worker 1").build().await?;
        /// push.connected(1).await?;
        /// assert_eq!(push.link_stats()[0].peer_name, "worker 1");
        /// # Ok(()) }
        /// ```
        pub fn name(mut self, name: impl Into<String>) -> Self {
            self.setup.name = name.into();
            self
        }

        /// Sets the token that this socket presents when it connects, and requires of peers when it is bound.
        ///
        /// 1 to 4,096 bytes. Without TLS a token is sent unencrypted. It never appears in logs or `Debug`
        /// output. Default: no token.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// let push = tidegate::Push::builder().bind("mem://doc-token").token("secret").build().await?;
        /// let other = tidegate::Pull::builder().connect("mem://doc-token").token("guessed").build().await?;
        /// assert!(other.connected(1).await.is_err());
        /// # drop(push);
        /// # Ok(()) }
        /// ```
        pub fn token(mut self, token: impl Into<Bytes>) -> Self {
            self.setup.policy.tokens = Some(Tokens::from(token));
            self
        }

        /// Sets several tokens: the first is presented when connecting, and each is accepted when bound.
        ///
        /// Use this to replace a token while some peers still have the old one; `set_tokens` changes them
        /// later.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// use tidegate::{Pull, Push, Tokens};
        ///
        /// let push = Push::builder().bind("mem://doc-tokens").tokens(Tokens::new(["new", "old"])).build().await?;
        /// let _pull = Pull::builder().connect("mem://doc-tokens").token("old").build().await?;
        /// push.connected(1).await?;
        /// # Ok(()) }
        /// ```
        pub fn tokens(mut self, tokens: Tokens) -> Self {
            self.setup.policy.tokens = Some(tokens);
            self
        }

        /// Sets the TLS settings of `tls://` endpoints.
        ///
        /// Without it, a socket can still connect to servers whose certificate is signed by a CA that the
        /// system trusts. If several sockets of a process are bound to the same address, give them clones of
        /// one [`Tls`](crate::Tls).
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// use tidegate::{BuildError, Push, Tls, TlsConfig};
        ///
        /// let tls = Tls::load(TlsConfig::new())?;
        /// let error = Push::builder().bind("tls://127.0.0.1:0").tls(tls).build().await.unwrap_err();
        /// assert!(matches!(error, BuildError::Tls { .. })); // a server needs a certificate
        /// # Ok(()) }
        /// ```
        #[cfg(feature = "tls")]
        pub fn tls(mut self, tls: crate::Tls) -> Self {
            self.setup.policy.tls = Some(tls);
            self
        }

        /// Sets the file mode of the Unix sockets that are bound, which decides who may connect.
        ///
        /// 0o600 to 0o777, with read and write for the owner; `0o660` admits the owner and the group. The
        /// mode is set before a peer can connect, whatever the umask. Some systems other than Linux ignore
        /// the mode of a socket: there, protect the directory. Default: 0o777 without the bits of the umask.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// # let dir = tempfile::tempdir()?;
        /// # let at = format!("unix://{}/work.sock", dir.path().display());
        /// let _push = tidegate::Push::builder().bind(&at).unix_mode(0o660).build().await?;
        /// assert!(tidegate::Push::builder().bind("mem://doc-unix-mode").unix_mode(0o660).build().await.is_err());
        /// # Ok(()) }
        /// ```
        pub fn unix_mode(mut self, mode: u32) -> Self {
            self.setup.policy.unix_mode = Some(mode);
            self
        }

        /// Makes plain `tcp://` endpoints an error, on loopback too.
        ///
        /// `unix://` and `mem://` endpoints never leave the machine and remain allowed. Default: false.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() {
        /// use tidegate::{BuildError, Push};
        ///
        /// let error = Push::builder().bind("tcp://127.0.0.1:0").require_tls(true).build().await.unwrap_err();
        /// assert!(matches!(error, BuildError::PlainEndpoint { .. }));
        /// # }
        /// ```
        pub fn require_tls(mut self, require: bool) -> Self {
            self.setup.policy.require_tls = require;
            self
        }

        /// Restricts a bound pipeline to peers whose certificate has one of these names (TL-5).
        ///
        /// A peer's names are [`PeerIdentity::names`](crate::PeerIdentity). The pipeline must be bound to
        /// `tls://` endpoints only, and clients must be verified. For other peers the pipeline appears not to
        /// exist. May be called several times. Default: every peer that completes the handshake may use a
        /// pipeline.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() {
        /// use tidegate::{BuildError, Push};
        ///
        /// let plain = Push::builder().bind("mem://doc-allow#jobs").allow("jobs", ["worker-1.example"]);
        /// assert!(matches!(plain.build().await, Err(BuildError::Allow { .. }))); // no certificates here
        /// # }
        /// ```
        pub fn allow<N: AsRef<str>>(mut self, pipeline: &str, names: impl IntoIterator<Item = N>) -> Self {
            for name in names {
                self.setup.policy.admission.allow(pipeline, name.as_ref());
            }
            self
        }

        /// Sets a function that decides whether a peer may use a bound pipeline.
        ///
        /// It is called with the peer and the pipeline after the peer's certificate and token have been
        /// accepted. `false` refuses the peer as [`Self::allow`] does. The function must not block: other
        /// handshakes wait for it. Default: none.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// use tidegate::{Pull, Push};
        ///
        /// let push = Push::builder()
        ///     .bind("mem://doc-authorize")
        ///     .authorize(|peer, pipeline| pipeline.is_empty() && peer.address.starts_with("mem:"))
        ///     .build()
        ///     .await?;
        /// let _pull = Pull::builder().connect("mem://doc-authorize").build().await?;
        /// push.connected(1).await?;
        /// # Ok(()) }
        /// ```
        pub fn authorize(
            mut self,
            rule: impl Fn(&crate::PeerIdentity, &str) -> bool + Send + Sync + 'static,
        ) -> Self {
            self.setup.policy.admission.authorize(rule);
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
