//! The settings of a puller: every bound, with its reason.

use std::time::Duration;

use crate::{
    defaults::{DEFAULT_HEARTBEAT, DEFAULT_MAX_MESSAGE, DEFAULT_MEMORY},
    pusher::check_times,
    session::Timing,
    violation::SettingError,
    wire::MAX_MAX_MESSAGE,
};

/// How many un-acked messages and bytes a puller wants, on all links of its socket together (CR-5).
///
/// The messages are a hard cap on what is handed out and un-acked: at the cap `recv` waits. With [`Window::Auto`] the
/// cap is the budget's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Window {
    /// Set by the puller itself, from how quickly its deliveries are settled and how long the way to the pusher and
    /// back takes: a worker that does a million small things a second gets thousands, one that takes ten seconds for
    /// each gets one. The default. `docs/WINDOW.md` has the formula.
    #[default]
    Auto,
    /// Always the same, shared by the links by need.
    Fixed {
        /// Messages. No more are handed out and un-acked, those of lost links included. 0: credit exists only while the
        /// application waits for a message, and there is no cap (CR-7).
        messages: u64,
        /// Bytes to read ahead; any that are left admit one whole message (CR-2). They are no cap: while the
        /// application waits, it gets one message more as long as fewer than `messages` are un-acked.
        bytes: u64,
    },
}

impl Window {
    /// So many messages, and 8 MiB.
    #[must_use]
    pub fn messages(messages: u64) -> Self {
        Self::fixed(messages, 8 << 20)
    }

    /// So many messages and bytes.
    #[must_use]
    pub fn fixed(messages: u64, bytes: u64) -> Self {
        Self::Fixed { messages, bytes }
    }
}

/// Bounds and times of a [`crate::Puller`]. `Default` gives the values of docs/IMPLEMENTATION.md.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PullerSettings {
    /// What is wanted un-acked on all links together.
    pub window: Window,
    /// Messages, granted and un-acked, on all links together (CR-9). With an automatic window no more are handed out
    /// and un-acked.
    pub budget: u64,
    /// The same in bytes: what many pushers together can make this side hold.
    pub budget_bytes: u64,
    /// The largest message taken, in bytes as CR-4 counts them (HS-7).
    pub max_message: u64,
    /// Bytes of messages that are read ahead of the application on a link, before reading pauses (LV-5). More makes
    /// nothing faster: the bytes go cold in the cache, and TCP keeps the rest.
    pub read_ahead: u64,
    /// The longest time for which an outcome is held back (OC-5).
    pub ack_delay: Duration,
    /// What is remembered of message ids, so that a message that comes again after its link was lost is not run a
    /// second time: outcomes, and runs of ids that follow on, on each link and of all lost links together. 0: nothing
    /// (RD-9).
    pub memory: usize,
    /// Links open at once (HS-12).
    pub max_links: usize,
    /// We are heard from at least this often (LV-1). 100 ms to 60 s.
    pub heartbeat: Duration,
    /// How long to wait for the answer to Close (ST-4).
    pub close_wait: Duration,
}

impl Default for PullerSettings {
    fn default() -> Self {
        Self {
            window: Window::default(),
            budget: 100_000,
            budget_bytes: 64 << 20,
            max_message: DEFAULT_MAX_MESSAGE as u64,
            read_ahead: 256 << 10,
            ack_delay: Duration::from_millis(1),
            memory: DEFAULT_MEMORY,
            max_links: 10_000,
            heartbeat: DEFAULT_HEARTBEAT,
            close_wait: Duration::from_secs(1),
        }
    }
}

impl PullerSettings {
    /// Checks every setting (LM-1).
    ///
    /// # Errors
    /// The first one outside its range.
    pub fn check(&self) -> Result<(), SettingError> {
        let ok = SettingError::unless;
        let some = !matches!(self.window, Window::Fixed { bytes: 0, .. });
        ok(some, "window", &self.window, "at least 1 byte, or nothing could ever be sent")?;
        ok(self.budget > 0, "budget", &self.budget, "at least 1 message")?;
        ok(self.budget_bytes > 0, "budget_bytes", &self.budget_bytes, "at least 1")?;
        let fits = (1..=MAX_MAX_MESSAGE).contains(&self.max_message);
        ok(fits, "max_message", &self.max_message, "1 to 2147418112 bytes")?;
        ok(self.read_ahead > 0, "read_ahead", &self.read_ahead, "at least 1 byte")?;
        ok(self.max_links > 0, "max_links", &self.max_links, "at least 1")?;
        check_times(self.heartbeat, self.close_wait)
    }

    pub(super) fn timing(&self) -> Timing {
        // A puller writes little, and never waits for it: a stall has no meaning for it.
        let Self { heartbeat, close_wait, .. } = *self;
        Timing { heartbeat, close_wait, write_stall: Duration::MAX, probing: self.window == Window::Auto }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lm_1_a_pullers_settings_are_checked_too() {
        // LM-1
        assert_eq!(PullerSettings::default().check(), Ok(()));
        let wrong = PullerSettings { window: Window::fixed(10, 0), ..Default::default() };
        assert_eq!(wrong.check().unwrap_err().setting, "window");
        let wrong = PullerSettings { budget: 0, ..Default::default() };
        assert_eq!(wrong.check().unwrap_err().to_string(), "budget is 0; it must be at least 1 message");
    }
}
