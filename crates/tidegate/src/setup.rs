//! What the builders of both roles have in common.

use std::{sync::Arc, time::Duration};

use tidegate_proto::{
    InstanceId, KeyMaker, Random, Resume, Role as WireRole, SettingError, handshake::Local,
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    endpoint::{Address, Endpoint},
    error::BuildError,
    events::{Event, Feed},
    io_thread::Place,
    link::{dial, listen},
    security::Policy,
    shared::{Bounds, Role, Shared, Times},
    transport::Custom,
};

/// Unfinished handshakes at an address: more than the file descriptors of a process.
const MOST_HANDSHAKES: usize = 1_000_000;
/// Longer waits for the answer to a Close would keep sockets that nobody uses any more.
const LONGEST_CLOSE_WAIT: Duration = Duration::from_secs(3_600);
/// Who waits longer between attempts does not connect any more.
const LONGEST_RECONNECT: Duration = Duration::from_secs(24 * 3_600);

#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) binds: Vec<String>,
    pub(crate) connects: Vec<String>,
    pub(crate) name: String,
    pub(crate) policy: Policy,
    pub(crate) bounds: Bounds,
    pub(crate) handshake_timeout: Duration,
    pub(crate) reconnect_first: Duration,
    pub(crate) reconnect_longest: Duration,
    pub(crate) retry_refusals: Option<Duration>,
    pub(crate) give_up_after: Option<Duration>,
    pub(crate) linger: Duration,
    pub(crate) linger_on_drop: Option<Duration>,
    pub(crate) busy_poll: Duration,
    pub(crate) io_thread: bool,
    pub(crate) seed: Option<u64>,
    pub(crate) transports: Vec<Custom>,
    /// Made when somebody wants to see the events of building.
    pub(crate) events: Option<Feed>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            binds: Vec::new(),
            connects: Vec::new(),
            name: String::new(),
            policy: Policy::default(),
            bounds: Bounds { handshakes: 256, handshakes_per_address: 64, links_per_address: 5_000 },
            handshake_timeout: Duration::from_secs(5),
            reconnect_first: Duration::from_millis(50),
            reconnect_longest: Duration::from_secs(10),
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

/// What a role gives to the setup.
pub(crate) struct Parts<M: Role> {
    pub(crate) machine: M,
    pub(crate) state: M::State,
    pub(crate) role: WireRole,
    pub(crate) chance: Chance,
    pub(crate) max_message: u64,
    pub(crate) heartbeat: Duration,
    pub(crate) close_wait: Duration,
}

/// What is random about a socket.
pub(crate) struct Chance {
    pub(crate) instance: InstanceId,
    pub(crate) keys: KeyMaker,
    /// For jitter.
    pub(crate) random: Random,
    /// Whether all of it comes from a seed.
    seeded: bool,
}

/// From where an endpoint that is connected to has its `resume` (HS-9): the system, or a seed.
pub(crate) struct Secrets(Option<Random>);

impl Secrets {
    /// A new one; none if the system has no random numbers to give, which means links that are never replaced.
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
    /// From the system, or from the seed.
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

    /// LM-1; `close_wait` is a setting of the machine too, which takes any.
    fn check(&self, close_wait: Duration) -> Result<(), SettingError> {
        let ok = SettingError::unless;
        let Bounds { handshakes, handshakes_per_address, links_per_address } = self.bounds;
        for (bound, setting) in [
            (handshakes, "max_handshakes"),
            (handshakes_per_address, "max_handshakes_per_address"),
            (links_per_address, "max_links_per_address"),
        ] {
            ok(bound > 0, setting, &bound, "at least 1")?;
        }
        ok(handshakes <= MOST_HANDSHAKES, "max_handshakes", &handshakes, "1 to 1,000,000")?;
        ok(close_wait <= LONGEST_CLOSE_WAIT, "close_wait", &close_wait, "more than 0, at most 1 h")?;
        let handshake = self.handshake_timeout;
        ok(!handshake.is_zero(), "handshake_timeout", &handshake, "more than 0")?;
        let (first, longest) = (self.reconnect_first, self.reconnect_longest);
        if let Some(mode) = self.policy.unix_mode {
            let bound = self.binds.iter().any(|endpoint| endpoint.starts_with("unix://"));
            ok(bound, "unix_mode", &format_args!("{mode:o}"), "only with a unix:// endpoint that is bound")?;
            let fits = mode <= 0o777 && mode & 0o600 == 0o600;
            ok(
                fits,
                "unix_mode",
                &format_args!("{mode:o}"),
                "600 to 777 (octal), with read and write for the owner",
            )?;
        }
        let fits = !first.is_zero() && first <= longest && longest <= LONGEST_RECONNECT;
        let right = "more than 0, the first at most the longest, the longest at most 24 h";
        ok(fits, "reconnect_backoff", &(first, longest), right)?;
        if let Some(wait) = self.give_up_after {
            ok(!wait.is_zero(), "give_up_after", &wait, "more than 0")?;
        }
        if let Some(wait) = self.linger_on_drop {
            let right = "only with io_thread(true) or blocking_build(): the thread that drops the socket waits for its links";
            ok(self.io_thread, "linger_on_drop", &wait, right)?;
        }
        if let Some(wait) = self.retry_refusals {
            let fits = !wait.is_zero() && wait <= LONGEST_RECONNECT;
            ok(fits, "retry_refusals", &wait, "more than 0, at most 24 h")?;
        }
        ok(self.name.len() <= 256, "name", &self.name, "at most 256 bytes")?;
        for (index, custom) in self.transports.iter().enumerate() {
            let scheme = custom.scheme();
            let first = self.transports.iter().position(|other| other.scheme() == scheme) == Some(index);
            let right = "a to z, 0 to 9, + and -, of no other transport: a scheme of its own";
            ok(first && custom.has_own_scheme(), "transport", &scheme, right)?;
        }
        Ok(())
    }

    /// Checks everything, binds, and begins to connect, where the links are to run. Does not wait for peers.
    pub(crate) async fn start<M: Role, H: Send + 'static>(
        self,
        parts: Parts<M>,
        handle: impl FnOnce(Arc<Shared<M>>) -> H + Send + 'static,
    ) -> Result<H, BuildError> {
        self.check(parts.close_wait)?;
        if !self.io_thread {
            let place = Place::here().ok_or(BuildError::NoRuntime)?;
            return self.start_at(place, parts).await.map(handle);
        }
        let place = Place::own().map_err(BuildError::Thread)?;
        // What is bound belongs to the runtime within which it is bound. The handle is made there too: should nobody wait for
        // it any more, its drop stops the socket.
        let work = self.start_at(place.clone(), parts);
        let started = place.handle.spawn(async { work.await.map(handle) });
        AbortOnDropHandle::new(started).await.map_err(|error| BuildError::Thread(error.into()))?
    }

    async fn start_at<M: Role>(self, place: Place, parts: Parts<M>) -> Result<Arc<Shared<M>>, BuildError> {
        let parse = |all: &[String]| {
            all.iter().map(|text| Endpoint::parse(text, &self.transports)).collect::<Result<Vec<_>, _>>()
        };
        let (binds, connects) = (parse(&self.binds)?, parse(&self.connects)?);
        if binds.is_empty() && connects.is_empty() {
            return Err(BuildError::NoEndpoint);
        }
        // What a transport of the program's own needs it says itself.
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
            reconnect_first: self.reconnect_first,
            reconnect_longest: self.reconnect_longest,
            retry_refusals: self.retry_refusals,
            close_wait: parts.close_wait,
            busy_poll: self.busy_poll,
        };
        let Parts { machine, state, .. } = parts;
        let mut shared = Shared::new(machine, state, (local, keys), times, self.bounds, security, place);
        if let Some(events) = self.events {
            shared.events = events;
        }
        shared.events.run_at(shared.place.links());
        let shared = Arc::new(shared);
        // Gives up what is bound already, if the rest fails or is not waited for.
        let undo = shared.stop.clone().drop_guard();
        for endpoint in binds {
            match listen::bind(&shared, &endpoint).await {
                Ok(endpoint) => {
                    shared.security.warn_if_open(&endpoint);
                    shared.with(|inner| inner.places.bound.push(endpoint.clone()));
                    shared.report(Event::Bound { endpoint });
                }
                Err(source) => return Err(BuildError::Bind { endpoint, source }),
            }
        }
        shared.with(|inner| inner.places.dialing = connects.len());
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

/// The settings that both builders have, word for word.
macro_rules! common_settings {
    () => {
        /// Listens there. May be called several times. Port 0: the system chooses, see `local_endpoints`.
        pub fn bind(mut self, endpoint: impl AsRef<str>) -> Self {
            self.setup.binds.push(endpoint.as_ref().to_owned());
            self
        }

        /// Endpoints that begin with `scheme` and `://` go over this transport: see [`Transport`](crate::Transport). May
        /// be called several times, with a scheme of its own each: letters a to z, digits, `+` and `-`.
        pub fn transport(
            mut self,
            scheme: impl Into<String>,
            transport: std::sync::Arc<dyn crate::Transport>,
        ) -> Self {
            self.setup.transports.push(crate::transport::Custom::new(scheme.into(), transport));
            self
        }

        /// The events of the socket from its building on, such as [`Event::Bound`](crate::Event::Bound), which are over when
        /// `build` returns. Sockets that are built from clones of this builder report to the same events.
        #[must_use]
        pub fn events(&mut self) -> crate::Events {
            self.setup.events.get_or_insert_default().subscribe()
        }

        /// Everything random about this socket (its instance id, its secrets, the jitter of its waits) comes from this number
        /// instead of the system, so that a test or a simulator can have it happen again. **Only for those**: the instance id
        /// names messages (HS-8), and by the secrets its peers know it again (HS-9), so no two sockets that can meet, and no two
        /// lives of a process, may have the same ones.
        pub fn seed(mut self, seed: u64) -> Self {
            self.setup.seed = Some(seed);
            self
        }

        /// How long a link goes on looking for something to do after it has had something, instead of sleeping until the
        /// system wakes it: messages that follow each other closely are quicker on their way by what it takes to
        /// wake a thread, and a core is busy meanwhile. It looks as often as tokio's `event_interval` lets it: a
        /// runtime that is to be quick sets that to a few. Default: zero, never.
        pub fn busy_poll(mut self, time: std::time::Duration) -> Self {
            self.setup.busy_poll = time;
            self
        }

        /// Runs the links on a thread of the library's own, so that they go on while the program computes on its own threads
        /// or blocks them; and no tokio runtime is needed. All sockets of a process that ask for it share the one
        /// thread `tidegate-io`, which ends when the last of them is gone. Messages cross threads, which costs some
        /// speed. Sockets that share an address must agree about it. Default: false, the links run on the runtime of
        /// who builds the socket.
        pub fn io_thread(mut self, own: bool) -> Self {
            self.setup.io_thread = own;
            self
        }

        /// Connects there, and again whenever the link is lost. May be called several times, and before anybody
        /// is bound there.
        pub fn connect(mut self, endpoint: impl AsRef<str>) -> Self {
            self.setup.connects.push(endpoint.as_ref().to_owned());
            self
        }

        /// A name for people, shown in the other side's logs and statistics. At most 256 bytes; default: none.
        pub fn name(mut self, name: impl Into<String>) -> Self {
            self.setup.name = name.into();
            self
        }

        /// The token to show when connecting, and to ask for when bound. Without TLS it travels in the clear. It is never logged,
        /// nor shown by `Debug`. 1 to 4,096 bytes; default: none.
        pub fn token(mut self, token: impl Into<Bytes>) -> Self {
            self.setup.policy.tokens = Some(Tokens::from(token));
            self
        }

        /// Several tokens instead of one: the first is shown when connecting, each is taken when bound. So one can be
        /// replaced while peers still have the old one; see also `set_tokens`.
        pub fn tokens(mut self, tokens: Tokens) -> Self {
            self.setup.policy.tokens = Some(tokens);
            self
        }

        /// What `tls://` endpoints work with. Without it, a socket can connect to servers that have a certificate by a CA that the
        /// system trusts. Sockets of one process that are bound to the same address need clones of one [`Tls`](crate::Tls).
        #[cfg(feature = "tls")]
        pub fn tls(mut self, tls: crate::Tls) -> Self {
            self.setup.policy.tls = Some(tls);
            self
        }

        /// Who may connect to the `unix://` endpoints that are bound, as the mode of their socket files: `0o660` for the owner and the
        /// group. It is set before anybody can connect, whatever the umask. (Some systems other than Linux do not look at it: there a
        /// directory with the right mode keeps others out.) 0o600 to 0o777, with read and write for the owner; default: what
        /// the umask leaves of 0o777.
        pub fn unix_mode(mut self, mode: u32) -> Self {
            self.setup.policy.unix_mode = Some(mode);
            self
        }

        /// Whether plain `tcp://` endpoints are errors, also on loopback. `unix://` and `mem://` never leave the machine, and
        /// are not. Default: false.
        pub fn require_tls(mut self, require: bool) -> Self {
            self.setup.policy.require_tls = require;
            self
        }

        /// When bound: lets these peers use the pipeline, and nobody else. A name is one of those in a peer's certificate
        /// ([`PeerIdentity::names`](crate::PeerIdentity)); so the pipeline must be bound to `tls://` endpoints only, with
        /// clients verified. To others it looks as if it were not there (TL-5). May be called several times. Default: a
        /// pipeline is for everybody who gets through the handshake.
        pub fn allow<N: AsRef<str>>(mut self, pipeline: &str, names: impl IntoIterator<Item = N>) -> Self {
            for name in names {
                self.setup.policy.admission.allow(pipeline, name.as_ref());
            }
            self
        }

        /// When bound: asks this rule, with the peer and the pipeline that it wants, after everything else about its
        /// certificate and token was found right; `false` refuses it as [`Self::allow`] does. It must not block: other
        /// handshakes wait meanwhile. Default: none.
        pub fn authorize(
            mut self,
            rule: impl Fn(&crate::PeerIdentity, &str) -> bool + Send + Sync + 'static,
        ) -> Self {
            self.setup.policy.admission.authorize(rule);
            self
        }

        /// The largest message, in bytes of payload and headers: a pusher's must not exceed its pullers'. Default:
        /// 16 MiB.
        pub fn max_message(mut self, bytes: usize) -> Self {
            self.settings.max_message = bytes as u64;
            self
        }

        /// This side is heard from at least this often; after three silent intervals the other side gives the link up.
        /// 100 ms to 60 s; default: 2 s.
        pub fn heartbeat(mut self, interval: Duration) -> Self {
            self.settings.heartbeat = interval;
            self
        }

        /// Links open at once; more are refused with BUSY. Default: 10,000.
        ///
        /// Connections from outside also leave an eighth of the file descriptors that the process may have (`RLIMIT_NOFILE`, the
        /// soft limit), at least 16 and at most 1,024, for everything else: with the usual 1,024 there are at most 896 descriptors
        /// for links and whatever else is open. Beyond that, newcomers are refused with BUSY, and a warning names the limit. An
        /// application that wants more links raises the limit, which may be done at any time.
        pub fn max_links(mut self, links: usize) -> Self {
            self.settings.max_links = links;
            self
        }

        /// As [`Self::max_links`], of links that were accepted from one network address (of IPv6, its first 64 bits).
        /// Raise it where more than so many peers are behind one address. Default: 5,000.
        pub fn max_links_per_address(mut self, links: usize) -> Self {
            self.setup.bounds.links_per_address = links;
            self
        }

        /// Connections whose handshake is not finished, at each bound address. When all places are taken, a newcomer takes the place
        /// of one of the peer's network address that has the most: of one that was refused, or else of the oldest that has said
        /// nothing, or else of the oldest. That one is refused with BUSY, to come back later. 1 to 1,000,000; default: 256.
        pub fn max_handshakes(mut self, handshakes: usize) -> Self {
            self.setup.bounds.handshakes = handshakes;
            self
        }

        /// As [`Self::max_handshakes`], of one peer's network address (of IPv6, its first 64 bits), so that one machine
        /// cannot keep all others out: here a newcomer takes the place of another connection of its own address. Does not count at
        /// unix sockets. Default: 64.
        pub fn max_handshakes_per_address(mut self, handshakes: usize) -> Self {
            self.setup.bounds.handshakes_per_address = handshakes;
            self
        }

        /// The time for a connection to be made, and for a handshake. Of a name with several addresses the next one, of eight at
        /// most, is tried beside the others when 250 ms are over, so it should be longer than that for each. While more than half of
        /// [`Self::max_handshakes`] are taken, new connections of one address share the time, and each has at least a fifth of it.
        /// Default: 5 s.
        pub fn handshake_timeout(mut self, time: Duration) -> Self {
            self.setup.handshake_timeout = time;
            self
        }

        /// The waits between attempts to connect: the first, doubling up to the longest, each with up to 50 % more at
        /// random. An outcome, or a link that lasted 10 s, begins again with the first. A wait is longer if the peer asks for
        /// that, up to 5 min. More than 0, at most 24 h; default: 50 ms and 10 s.
        pub fn reconnect_backoff(mut self, first: Duration, longest: Duration) -> Self {
            (self.setup.reconnect_first, self.setup.reconnect_longest) = (first, longest);
            self
        }

        /// Connects again after this time to an endpoint that has refused this socket for good, such as one that has not been given
        /// its token yet. Until then sends and `recv` wait, as for an endpoint that is not up. More than 0, at most 24 h;
        /// default: a refusal is an error, until `set_tokens` is called.
        pub fn retry_refusals(mut self, wait: Duration) -> Self {
            self.setup.retry_refusals = Some(wait);
            self
        }

        /// Gives up when there was no link for so long, from the building of the socket or from the end of the last link on: what waits
        /// for the socket ends with an error that says so, and it stops. A puller whose pushers have ended while it was away
        /// would wait for them otherwise: nobody is left to tell it. More than 0; default: never.
        pub fn give_up_after(mut self, time: Duration) -> Self {
            self.setup.give_up_after = Some(time);
            self
        }

        /// The drop of the last handle waits for so long, blocking its thread, until everything is settled (a pusher) or the acks are
        /// sent and the links closed (a puller), so that a program that returns from `main` loses nothing that could be
        /// settled in time. Needs [`Self::io_thread`]. Does nothing on the thread `tidegate-io` itself. Default: the drop does not wait.
        pub fn linger_on_drop(mut self, time: Duration) -> Self {
            self.setup.linger_on_drop = Some(time);
            self
        }

        /// How long to wait for the answer to a Close. More than 0, at most 1 h; default: 1 s.
        pub fn close_wait(mut self, time: Duration) -> Self {
            self.settings.close_wait = time;
            self
        }
    };
}
pub(crate) use common_settings;
