//! The settings of a puller.

use std::time::Duration;

use crate::{
    defaults::{DEFAULT_HEARTBEAT, DEFAULT_MAX_MESSAGE, DEFAULT_MEMORY},
    link::Timing,
    violation::SettingError,
    wire::MAX_MAX_MESSAGE,
};

/// The window of a puller: the un-acked messages and bytes that it wants on all links together (CR-5).
///
/// Its messages are also a hard cap on the deliveries that are handed out and not settled: at the cap, `recv` waits.
/// With [`Window::Auto`], the cap is the message budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Window {
    /// The puller sizes the window by the rate at which deliveries are settled and by the round-trip time. For a worker
    /// that settles a million deliveries per second it is thousands of messages; for one that needs ten seconds for
    /// each, it is one message. This is the default. `docs/WINDOW.md` has the formula.
    #[default]
    Auto,
    /// A fixed window, which the links share by need.
    Fixed {
        /// Messages. At most this many deliveries are handed out and not settled, including those of lost links. With
        /// 0, credit exists only while the application waits for a message, and there is no cap (CR-7).
        messages: u64,
        /// Bytes, at least 1. Any byte of credit lets one whole message pass (CR-2). They are not a cap: while the
        /// application waits and fewer than `messages` are un-acked, it gets one more message.
        bytes: u64,
    },
}

impl Window {
    /// A fixed window of `messages` messages and 8 MiB.
    #[must_use]
    pub fn messages(messages: u64) -> Self {
        Self::fixed(messages, 8 << 20)
    }

    /// A fixed window of `messages` messages and `bytes` bytes.
    #[must_use]
    pub fn fixed(messages: u64, bytes: u64) -> Self {
        Self::Fixed { messages, bytes }
    }
}

/// The settings of a [`crate::Puller`]. docs/IMPLEMENTATION.md, section 8, lists the defaults.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PullerSettings {
    /// The window of all links together.
    pub window: Window,
    /// The message budget: unused credit and un-acked deliveries of all links together (CR-9). With an automatic
    /// window, it is also the cap on deliveries that are handed out and not settled. At least 1.
    pub budget: u64,
    /// The byte budget (CR-9). It bounds the memory that all pushers together can take. At least 1.
    pub budget_bytes: u64,
    /// The size of the largest message, in bytes (CR-4). A pusher whose `max_message` is larger is refused (HS-7).
    pub max_message: u64,
    /// Bytes of deliveries that may be queued on a link before reading pauses (LV-5). More makes nothing faster: the
    /// bytes leave the CPU cache, and TCP buffers the others. At least 1.
    pub read_ahead: u64,
    /// The longest time for which an outcome is held back (OC-5).
    pub ack_delay: Duration,
    /// The size of the dedup table, in entries: outcomes, and runs of message ids, on each link and of all lost links
    /// together. 0 disables duplicate suppression (RD-9).
    pub memory: usize,
    /// The maximum number of open links (HS-12). At least 1.
    pub max_links: usize,
    /// The heartbeat interval (LV-1). 100 ms to 60 s.
    pub heartbeat: Duration,
    /// The time to wait for the answer to `Close` (ST-4).
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
    /// The first setting outside its range.
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
        self.timing().check()
    }

    pub(super) fn timing(&self) -> Timing {
        // A puller writes little, and does not choose links by their writing. So it has no write stall.
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
