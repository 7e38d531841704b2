//! What the builders of both roles have in common.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tidegate_proto::{
    InstanceId, Role as WireRole, SettingError,
    handshake::{Local, MAX_TOKEN},
};
use tokio::runtime::Handle;

use crate::{
    endpoint::Endpoint,
    error::BuildError,
    events::Event,
    link::{dial, listen},
    shared::{Bounds, Role, Shared, Times},
};

#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) binds: Vec<String>,
    pub(crate) connects: Vec<String>,
    pub(crate) name: String,
    pub(crate) token: Option<Bytes>,
    pub(crate) bounds: Bounds,
    pub(crate) handshake_timeout: Duration,
    pub(crate) reconnect_first: Duration,
    pub(crate) reconnect_longest: Duration,
    pub(crate) linger: Duration,
    pub(crate) busy_poll: Duration,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            binds: Vec::new(),
            connects: Vec::new(),
            name: String::new(),
            token: None,
            bounds: Bounds { handshakes: 256, handshakes_per_address: 64, links_per_address: 5_000 },
            handshake_timeout: Duration::from_secs(5),
            reconnect_first: Duration::from_millis(50),
            reconnect_longest: Duration::from_secs(10),
            linger: Duration::from_secs(10),
            busy_poll: Duration::ZERO,
        }
    }
}

/// What a role gives to the setup.
pub(crate) struct Parts<M: Role> {
    pub(crate) machine: M,
    pub(crate) state: M::State,
    pub(crate) role: WireRole,
    pub(crate) instance: InstanceId,
    pub(crate) max_message: u64,
    pub(crate) heartbeat: Duration,
    pub(crate) close_wait: Duration,
}

/// 16 random octets (HS-8).
pub(crate) fn random_instance() -> Result<InstanceId, BuildError> {
    let mut octets = [0; 16];
    getrandom::fill(&mut octets).map_err(|e| BuildError::Random(e.to_string()))?;
    Ok(InstanceId(octets))
}

/// A seed for jitter.
pub(crate) fn random_seed() -> Result<u64, BuildError> {
    getrandom::u64().map_err(|e| BuildError::Random(e.to_string()))
}

impl Setup {
    /// LM-1.
    fn check(&self) -> Result<(), SettingError> {
        let ok = SettingError::unless;
        let Bounds { handshakes, handshakes_per_address, links_per_address } = self.bounds;
        for (bound, setting) in [
            (handshakes, "max_handshakes"),
            (handshakes_per_address, "max_handshakes_per_address"),
            (links_per_address, "max_links_per_address"),
        ] {
            ok(bound > 0, setting, &bound, "at least 1")?;
        }
        let handshake = self.handshake_timeout;
        ok(!handshake.is_zero(), "handshake_timeout", &handshake, "more than 0")?;
        let first = self.reconnect_first;
        let fits = !first.is_zero() && first <= self.reconnect_longest;
        ok(
            fits,
            "reconnect_backoff",
            &(first, self.reconnect_longest),
            "more than 0, the first at most the longest",
        )?;
        ok(self.name.len() <= 256, "name", &self.name, "at most 256 octets")?;
        let token = self.token.as_ref().map_or(0, Bytes::len);
        ok(token <= MAX_TOKEN, "token", &format_args!("{token} octets long"), "at most 4,096 octets")
    }

    /// Checks everything, binds, and begins to connect. Does not wait for peers.
    pub(crate) async fn start<M: Role>(self, parts: Parts<M>) -> Result<Arc<Shared<M>>, BuildError> {
        let runtime = Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        self.check()?;
        let parse =
            |all: &[String]| all.iter().map(|text| text.parse()).collect::<Result<Vec<Endpoint>, _>>();
        let (binds, connects) = (parse(&self.binds)?, parse(&self.connects)?);
        if binds.is_empty() && connects.is_empty() {
            return Err(BuildError::NoEndpoint);
        }
        let local = Local {
            role: parts.role,
            instance: parts.instance,
            name: self.name,
            pipeline: String::new(),
            token: self.token,
            max_message: parts.max_message,
            heartbeat: parts.heartbeat,
            offered: Vec::new(),
            required: Vec::new(),
        };
        let times = Times {
            handshake: self.handshake_timeout,
            reconnect_first: self.reconnect_first,
            reconnect_longest: self.reconnect_longest,
            close_wait: parts.close_wait,
            busy_poll: self.busy_poll,
        };
        let shared = Shared::new(parts.machine, parts.state, local, times, self.bounds, runtime);
        let shared = Arc::new(shared);
        for endpoint in binds {
            match listen::bind(&shared, &endpoint).await {
                Ok(endpoint) => {
                    shared.with(|inner| inner.places.bound.push(endpoint.clone()));
                    shared.report(Event::Bound { endpoint });
                }
                Err(source) => {
                    shared.stop.cancel(); // those that are bound already
                    return Err(BuildError::Bind { endpoint, source });
                }
            }
        }
        shared.with(|inner| inner.places.dialing = connects.len());
        for (slot, endpoint) in connects.into_iter().enumerate() {
            dial::spawn(shared.clone(), endpoint, slot as u64);
        }
        shared.spawn_timer();
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

        /// How long a link goes on looking for something to do after it has had something, instead of sleeping until the
        /// system wakes it: messages that follow each other closely are quicker on their way by what it takes to
        /// wake a thread, and a core is busy meanwhile. It looks as often as tokio's `event_interval` lets it: a
        /// runtime that is to be quick sets that to a few. Default: zero, never.
        pub fn busy_poll(mut self, time: std::time::Duration) -> Self {
            self.setup.busy_poll = time;
            self
        }

        /// Connects there, and again whenever the link is lost. May be called several times, and before anybody
        /// is bound there.
        pub fn connect(mut self, endpoint: impl AsRef<str>) -> Self {
            self.setup.connects.push(endpoint.as_ref().to_owned());
            self
        }

        /// A name for people, shown in the other side's logs and statistics. At most 256 octets; default: none.
        pub fn name(mut self, name: impl Into<String>) -> Self {
            self.setup.name = name.into();
            self
        }

        /// The token to show when connecting, and to ask for when bound. Without TLS it travels in the clear. At most 4,096
        /// octets; default: none.
        pub fn token(mut self, token: impl Into<Bytes>) -> Self {
            self.setup.token = Some(token.into());
            self
        }

        /// The largest message, in octets of payload and headers: a pusher's must not exceed its pullers'. Default:
        /// 16 MiB.
        pub fn max_message(mut self, octets: usize) -> Self {
            self.settings.max_message = octets as u64;
            self
        }

        /// This side is heard from at least this often; after three silent intervals the other side gives the link up.
        /// 100 ms to 60 s; default: 2 s.
        pub fn heartbeat(mut self, interval: Duration) -> Self {
            self.settings.heartbeat = interval;
            self
        }

        /// Links open at once; more are refused with BUSY. Default: 10,000.
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

        /// Strangers whose handshake is not finished, at each bound address; more are refused with BUSY. Default: 256.
        pub fn max_handshakes(mut self, handshakes: usize) -> Self {
            self.setup.bounds.handshakes = handshakes;
            self
        }

        /// As [`Self::max_handshakes`], of one peer's network address (of IPv6, its first 64 bits), so that one machine
        /// cannot keep all others out. Does not count at unix sockets. Default: 64.
        pub fn max_handshakes_per_address(mut self, handshakes: usize) -> Self {
            self.setup.bounds.handshakes_per_address = handshakes;
            self
        }

        /// The time for a connection to be made, and for a handshake. Default: 5 s.
        pub fn handshake_timeout(mut self, time: Duration) -> Self {
            self.setup.handshake_timeout = time;
            self
        }

        /// The waits between attempts to connect: the first, doubling up to the longest, each with up to 50 % more at
        /// random. Default: 50 ms and 10 s.
        pub fn reconnect_backoff(mut self, first: Duration, longest: Duration) -> Self {
            (self.setup.reconnect_first, self.setup.reconnect_longest) = (first, longest);
            self
        }

        /// How long to wait for the answer to a Close. Default: 1 s.
        pub fn close_wait(mut self, time: Duration) -> Self {
            self.settings.close_wait = time;
            self
        }
    };
}
pub(crate) use common_settings;
