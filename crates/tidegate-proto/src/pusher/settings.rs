//! The settings of a pusher: every bound, with its reason.

use std::time::Duration;

use crate::{
    defaults::{
        DEFAULT_GRACE, DEFAULT_HEARTBEAT, DEFAULT_HIGH_WATER_MARK, DEFAULT_HIGH_WATER_MARK_BYTES,
        DEFAULT_MAX_MESSAGE,
    },
    handshake::HEARTBEAT,
    session::Timing,
    violation::SettingError,
    wire::MAX_MAX_MESSAGE,
};

/// Messages do not wait longer than this for a puller that may never come back.
const MAX_GRACE: Duration = Duration::from_secs(3_600);
/// A shorter time would be over before an outcome can be here.
const MIN_SETTLE_TIMEOUT: Duration = Duration::from_millis(1);

/// Bounds and times of a [`crate::Pusher`]. `Default` gives the values of docs/IMPLEMENTATION.md.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PusherSettings {
    /// Messages that have been accepted and not yet been given to a puller, beyond which sends wait. 0 is a
    /// rendezvous: a message is accepted when a puller has room for it.
    pub high_water_mark: usize,
    /// The same in bytes; any room left admits one whole message.
    pub high_water_mark_bytes: u64,
    /// Messages held in all: queued, in flight, waiting to be retried, rejected and not fetched. Without it a puller
    /// that nacks everything could fill the memory (CR-8).
    pub max_held: usize,
    /// The same in bytes; any room left admits one whole message, and a promise of room is for a message of any size.
    pub max_held_bytes: u64,
    /// Un-acked messages on one link, whatever the puller grants (CR-8).
    pub max_in_flight: usize,
    /// The same in bytes.
    pub max_in_flight_bytes: u64,
    /// Bytes that may wait to be written on one link, so that a slow network is noticed and others get the work.
    pub max_unwritten: usize,
    /// The largest message, in bytes as CR-4 counts them. Told to pullers, which must take as much (HS-7).
    pub max_message: u64,
    /// Attempts, lost links not counted, after which a nack rejects the message; `None`: no limit (OC-11).
    pub max_attempts: Option<u32>,
    /// The wait after the first nack without a delay; it doubles with each attempt (OC-6).
    pub retry_first: Duration,
    /// The longest such wait.
    pub retry_longest: Duration,
    /// The longest delay that a puller may ask for (OC-6).
    pub max_nack_delay: Duration,
    /// How long the messages of a lost link wait for the same puller to come back, before they go elsewhere. 0: not at
    /// all (RD-8).
    pub grace: Duration,
    /// Without an outcome or a sign of work for so long after it was sent, a delivery counts as failed, and its message
    /// is sent again; `None`: never (OC-12).
    pub settle_timeout: Option<Duration>,
    /// The same whatever sign of work comes: so long after it was sent, a delivery without an outcome counts as failed.
    /// At least `settle_timeout`; `None`: signs of work may hold a delivery for ever (OC-12, OC-13).
    pub max_work_time: Option<Duration>,
    /// Links open at once (HS-12).
    pub max_links: usize,
    /// We are heard from at least this often (LV-1). 100 ms to 60 s.
    pub heartbeat: Duration,
    /// Without progress in writing for so long a link gets no more messages (LV-6).
    pub write_stall: Duration,
    /// How long to wait for the answer to Close, and to read on after a failed write (ST-4, RD-2).
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
            retry_first: Duration::from_millis(100),
            retry_longest: Duration::from_secs(30),
            max_nack_delay: Duration::from_secs(300),
            grace: DEFAULT_GRACE,
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
    /// The first one outside its range.
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
        let longest = self.retry_longest;
        ok(self.retry_first <= longest, "retry_first", &self.retry_first, "at most retry_longest")?;
        ok(self.grace <= MAX_GRACE, "grace", &self.grace, "at most 1 h")?;
        let timeout = self.settle_timeout;
        let fits = timeout.is_none_or(|time| time >= MIN_SETTLE_TIMEOUT);
        ok(fits, "settle_timeout", &timeout, "at least 1 ms, or none")?;
        let most = self.max_work_time;
        let fits = most.is_none_or(|most| most >= timeout.unwrap_or(MIN_SETTLE_TIMEOUT));
        ok(fits, "max_work_time", &most, "at least settle_timeout and 1 ms, or none")?;
        ok(self.max_links > 0, "max_links", &self.max_links, "at least 1")?;
        check_times(self.heartbeat, self.close_wait)?;
        let stall = self.write_stall;
        ok(!stall.is_zero(), "write_stall", &stall, "more than 0")
    }

    /// How long a delivery may be without an outcome or a sign of work, and how long without an outcome in all, if that
    /// is bounded; `None` if neither is (OC-12).
    pub(crate) fn settle_times(&self) -> Option<(Duration, Option<Duration>)> {
        Some((self.settle_timeout.or(self.max_work_time)?, self.max_work_time))
    }

    pub(crate) fn timing(&self) -> Timing {
        let Self { heartbeat, close_wait, write_stall, .. } = *self;
        Timing { heartbeat, close_wait, write_stall, probing: false }
    }
}

/// The times that both roles have.
pub(crate) fn check_times(heartbeat: Duration, close_wait: Duration) -> Result<(), SettingError> {
    let (low, high) = HEARTBEAT;
    SettingError::unless((low..=high).contains(&heartbeat), "heartbeat", &heartbeat, "100 ms to 60 s")?;
    SettingError::unless(!close_wait.is_zero(), "close_wait", &close_wait, "more than 0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lm_1_a_setting_outside_its_range_is_named_with_its_value_and_what_is_valid() {
        // LM-1
        assert_eq!(PusherSettings::default().check(), Ok(()));
        let wrong = PusherSettings { heartbeat: Duration::from_millis(1), ..Default::default() };
        assert_eq!(wrong.check().unwrap_err().to_string(), "heartbeat is 1ms; it must be 100 ms to 60 s");
        let wrong = PusherSettings { max_attempts: Some(0), ..Default::default() };
        assert_eq!(wrong.check().unwrap_err().setting, "max_attempts");
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
