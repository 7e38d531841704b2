//! The settings of a pusher.

use std::time::Duration;

use crate::{
    defaults::{
        DEFAULT_GRACE, DEFAULT_HEARTBEAT, DEFAULT_HIGH_WATER_MARK, DEFAULT_HIGH_WATER_MARK_BYTES,
        DEFAULT_MAX_MESSAGE, DEFAULT_RESTART_GRACE,
    },
    link::Timing,
    violation::SettingError,
    wire::MAX_MAX_MESSAGE,
};

/// The maximum of `grace` and `restart_grace`, because a puller may never return.
const MAX_GRACE: Duration = Duration::from_secs(3_600);
/// A shorter settle time-out would pass before an outcome can arrive.
const MIN_SETTLE_TIMEOUT: Duration = Duration::from_millis(1);

/// The settings of a [`crate::Pusher`]. docs/IMPLEMENTATION.md, section 8, lists the defaults.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PusherSettings {
    /// The number of messages that may wait in the queue before sends wait. With 0, a message is accepted only when a
    /// puller has granted credit for it.
    pub high_water_mark: usize,
    /// The bytes that may wait in the queue. If fewer are in it, one whole message is accepted. At least 1.
    pub high_water_mark_bytes: u64,
    /// Messages held in total: queued, in flight, waiting for a retry, rejected and not yet taken (CR-8). Otherwise a
    /// puller that nacks every message could fill the memory. At least 1.
    pub max_held: usize,
    /// Bytes of messages held in total. If fewer are held, one whole message is accepted, or one reservation for a
    /// message of any size. At least 1.
    pub max_held_bytes: u64,
    /// Un-acked messages on one link, whatever the puller grants (CR-8). At least 1.
    pub max_in_flight: usize,
    /// Un-acked bytes on one link, whatever the puller grants (CR-8). At least 1.
    pub max_in_flight_bytes: u64,
    /// Bytes that may wait to be written on one link (CR-8). Beyond them, messages go to other links. At least 1.
    pub max_unwritten: usize,
    /// The size of the largest message, in bytes (CR-4). A puller that accepts less is refused (HS-7).
    pub max_message: u64,
    /// The number of attempts, without lost links, after which a failed message is rejected; `None`: no limit (OC-11).
    pub max_attempts: Option<u32>,
    /// The delay after the first nack that requests none. It doubles with each failed attempt (OC-6).
    pub min_retry_delay: Duration,
    /// The maximum of this delay.
    pub max_retry_delay: Duration,
    /// The maximum of the delay that a nack may request (OC-6).
    pub max_nack_delay: Duration,
    /// The reconnect grace: how long to hold a disconnected puller's messages before they are redelivered to others. 0:
    /// redeliver at once (RD-8). At most 1 h.
    pub grace: Duration,
    /// The grace of a pusher that was restored: how long to hold the messages that the process before it may have sent,
    /// for their pullers. It is longer than `grace`, because pullers wait up to 10 s between connection attempts
    /// (RD-6). 0: redeliver at once (RD-11). At most 1 h.
    pub restart_grace: Duration,
    /// The settle time-out: the time without an outcome or a sign of work after which a delivery counts as failed, and
    /// its message is sent again; `None`: no time-out (OC-12). At least 1 ms.
    pub settle_timeout: Option<Duration>,
    /// The time without an outcome after which a delivery counts as failed, whatever signs of work arrive; `None`: no
    /// bound (OC-12, OC-13). At least `settle_timeout`.
    pub max_work_time: Option<Duration>,
    /// The maximum number of open links (HS-12). At least 1.
    pub max_links: usize,
    /// The heartbeat interval (LV-1). 100 ms to 60 s.
    pub heartbeat: Duration,
    /// The time without progress in writing after which a link is stalled and gets no messages (LV-6). After 30 times
    /// as long, it is closed (LV-8).
    pub write_stall: Duration,
    /// The time to wait for the answer to `Close`, and to read on after a failed write (ST-4, RD-2).
    pub close_wait: Duration,
}

impl Default for PusherSettings {
    fn default() -> Self {
        Self {
            high_water_mark: DEFAULT_HIGH_WATER_MARK,
            high_water_mark_bytes: DEFAULT_HIGH_WATER_MARK_BYTES as u64,
            max_held: 1_000_000,
            max_held_bytes: 256 << 20,
            max_in_flight: 100_000,
            max_in_flight_bytes: 64 << 20,
            max_unwritten: 1 << 20,
            max_message: DEFAULT_MAX_MESSAGE as u64,
            max_attempts: None,
            min_retry_delay: Duration::from_millis(100),
            max_retry_delay: Duration::from_secs(30),
            max_nack_delay: Duration::from_secs(300),
            grace: DEFAULT_GRACE,
            restart_grace: DEFAULT_RESTART_GRACE,
            settle_timeout: None,
            max_work_time: None,
            max_links: 10_000,
            heartbeat: DEFAULT_HEARTBEAT,
            write_stall: Duration::from_secs(1),
            close_wait: Duration::from_secs(1),
        }
    }
}

impl PusherSettings {
    /// Checks every setting (LM-1).
    ///
    /// # Errors
    /// The first setting outside its range.
    pub fn check(&self) -> Result<(), SettingError> {
        let ok = SettingError::unless;
        ok(
            self.high_water_mark_bytes > 0,
            "high_water_mark_bytes",
            &self.high_water_mark_bytes,
            "at least 1",
        )?;
        ok(self.max_held > 0, "max_held", &self.max_held, "at least 1 message")?;
        ok(self.max_held_bytes > 0, "max_held_bytes", &self.max_held_bytes, "at least 1")?;
        ok(self.max_in_flight > 0, "max_in_flight", &self.max_in_flight, "at least 1 message")?;
        ok(self.max_in_flight_bytes > 0, "max_in_flight_bytes", &self.max_in_flight_bytes, "at least 1")?;
        ok(self.max_unwritten > 0, "max_unwritten", &self.max_unwritten, "at least 1")?;
        let fits = (1..=MAX_MAX_MESSAGE).contains(&self.max_message);
        ok(fits, "max_message", &self.max_message, "1 to 2147418112 bytes")?;
        ok(self.max_attempts != Some(0), "max_attempts", &self.max_attempts, "at least 1, or no limit")?;
        let max_delay = self.max_retry_delay;
        ok(
            self.min_retry_delay <= max_delay,
            "min_retry_delay",
            &self.min_retry_delay,
            "at most max_retry_delay",
        )?;
        ok(self.grace <= MAX_GRACE, "grace", &self.grace, "at most 1 h")?;
        ok(self.restart_grace <= MAX_GRACE, "restart_grace", &self.restart_grace, "at most 1 h")?;
        let timeout = self.settle_timeout;
        let fits = timeout.is_none_or(|time| time >= MIN_SETTLE_TIMEOUT);
        ok(fits, "settle_timeout", &timeout, "at least 1 ms, or none")?;
        let max_work_time = self.max_work_time;
        let fits = max_work_time.is_none_or(|time| time >= timeout.unwrap_or(MIN_SETTLE_TIMEOUT));
        ok(fits, "max_work_time", &max_work_time, "at least settle_timeout and 1 ms, or none")?;
        ok(self.max_links > 0, "max_links", &self.max_links, "at least 1")?;
        self.timing().check()?;
        let stall = self.write_stall;
        ok(!stall.is_zero(), "write_stall", &stall, "more than 0")
    }

    /// The settle time-out, and the bound on the whole time, if there is one; `None` if there is neither (OC-12).
    pub(crate) fn settle_times(&self) -> Option<(Duration, Option<Duration>)> {
        Some((self.settle_timeout.or(self.max_work_time)?, self.max_work_time))
    }

    pub(crate) fn timing(&self) -> Timing {
        let Self { heartbeat, close_wait, write_stall, .. } = *self;
        Timing { heartbeat, close_wait, write_stall, probing: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lm_1_a_setting_outside_its_range_is_reported_with_value_and_valid_range() {
        // LM-1
        assert_eq!(PusherSettings::default().check(), Ok(()));
        let wrong = PusherSettings { heartbeat: Duration::from_millis(1), ..Default::default() };
        assert_eq!(wrong.check().unwrap_err().to_string(), "heartbeat is 1ms; it must be 100 ms to 60 s");
        let wrong = PusherSettings { max_attempts: Some(0), ..Default::default() };
        assert_eq!(wrong.check().unwrap_err().setting, "max_attempts");
        let wrong = PusherSettings { restart_grace: Duration::from_secs(3_601), ..Default::default() };
        assert_eq!(wrong.check().unwrap_err().to_string(), "restart_grace is 3601s; it must be at most 1 h");
        let second = Some(Duration::from_secs(1));
        let wrong = PusherSettings {
            settle_timeout: second,
            max_work_time: Some(Duration::from_millis(999)),
            ..Default::default()
        };
        let text = wrong.check().unwrap_err().to_string();
        assert_eq!(
            text,
            "max_work_time is Some(999ms); it must be at least settle_timeout and 1 ms, or none"
        );
        let right = PusherSettings { settle_timeout: second, max_work_time: second, ..Default::default() };
        assert_eq!(right.check(), Ok(()));
        let wrong = PusherSettings { max_message: 1 << 31, ..Default::default() };
        assert_eq!(wrong.check().unwrap_err().setting, "max_message");
    }
}
