//! The settings that both builders share, and their limits (LM-1).

use std::time::Duration;

use tidegate_proto::SettingError;

use crate::{admission::Policy, events::Feed, socket::ConnectionLimits, transport::Registry};

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
    pub(crate) subset: Option<usize>,
    pub(crate) subset_index: Option<usize>,
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
    pub(crate) transports: Registry,
    /// Created by the first call of `events()` on the builder.
    pub(crate) events: Option<Feed>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            binds: Vec::new(),
            connects: Vec::new(),
            subset: None,
            subset_index: None,
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
            transports: Registry::default(),
            events: None,
        }
    }
}

impl Setup {
    /// Checks LM-1. `close_wait` belongs to the machine's settings, but the machine accepts any value.
    pub(super) fn check(&self, close_wait: Duration) -> Result<(), SettingError> {
        let ok = SettingError::unless;
        let ConnectionLimits { handshakes, handshakes_per_address, links_per_address } = self.limits;
        for (bound, setting) in [
            (handshakes, "max_handshakes"),
            (handshakes_per_address, "max_handshakes_per_address"),
            (links_per_address, "max_links_per_address"),
        ] {
            ok(bound > 0, setting, &bound, "at least 1")?;
        }
        self.check_subset()?;
        ok(handshakes <= MAX_HANDSHAKES, "max_handshakes", &handshakes, "1 to 1,000,000")?;
        ok(close_wait <= MAX_CLOSE_WAIT, "close_wait", &close_wait, "more than 0, at most 1 h")?;
        let handshake = self.handshake_timeout;
        ok(!handshake.is_zero(), "handshake_timeout", &handshake, "more than 0")?;
        let (min, max) = (self.min_reconnect_delay, self.max_reconnect_delay);
        if let Some(mode) = self.policy.transport.unix_mode {
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
        self.transports.check()
    }
}
