//! Slow start after losses: if lost links return many messages, the in-flight messages of each link are capped (RD-10).

use std::time::Duration;

use super::rate_meter::RateMeter;
use crate::time::Time;

/// Units that lost links may return within one period without a slow start: more than the usual window of one puller.
const MAX_UNITS: u64 = 10_000;
const PERIOD: Duration = Duration::from_secs(1);
/// Bytes of a message that count as one unit more.
const BYTES_PER_UNIT: u64 = 4_096;
/// The in-flight cap of a link that has settled nothing: enough for a working puller to settle some.
const MIN_IN_FLIGHT_CAP: u64 = 16;
/// A message that was lost more often is not exempt from the cap.
const MAX_EXEMPT_LOSSES: u32 = 2;

/// The units that lost links have returned in the current period.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct SlowStart {
    meter: RateMeter,
    /// The end of the slow start.
    until: Option<Time>,
}

impl SlowStart {
    /// Counts the messages that one lost link has returned. `sizes` are their sizes in bytes.
    pub(crate) fn count_lost(&mut self, now: Time, sizes: impl Iterator<Item = usize>) {
        self.meter.begin_period(now, PERIOD);
        let units = sizes.map(|size| 1 + size as u64 / BYTES_PER_UNIT).sum();
        if self.meter.count(units, 0) > MAX_UNITS {
            self.until = Some(self.meter.period_end(PERIOD));
        }
    }

    /// The end of the slow start, if there is one.
    pub(crate) fn until(&self) -> Option<Time> {
        self.until
    }

    /// Ends the slow start if its time is over, and returns whether it has ended now.
    pub(crate) fn handle_timeout(&mut self, now: Time) -> bool {
        self.until.take_if(|until| *until <= now).is_some()
    }

    /// The in-flight cap of a link on which `settled` messages were acked or rejected.
    #[inline]
    pub(crate) fn in_flight_cap(&self, settled: u64) -> u64 {
        if self.until.is_some() { MIN_IN_FLIGHT_CAP.saturating_add(settled) } else { u64::MAX }
    }

    /// Whether a held message that was lost `losses` times is exempt from the cap of the link on which its puller has
    /// returned (RD-8).
    pub(crate) fn exempts(&self, losses: u32) -> bool {
        losses <= MAX_EXEMPT_LOSSES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(count: usize, bytes: usize) -> Vec<usize> {
        vec![bytes; count]
    }

    #[test]
    fn rd_10_more_than_10_000_returns_in_a_second_cap_each_link() {
        // RD-10
        let mut slow_start = SlowStart::default();
        let start = Time(3_000_000);
        slow_start.count_lost(start, lost(10_000, 100).into_iter());
        assert_eq!((slow_start.in_flight_cap(0), slow_start.until()), (u64::MAX, None));
        slow_start.count_lost(start + PERIOD / 2, lost(1, 100).into_iter());
        assert_eq!((slow_start.in_flight_cap(0), slow_start.in_flight_cap(50)), (16, 66));
        assert!(!slow_start.handle_timeout(start + PERIOD / 2));
        assert!(slow_start.handle_timeout(start + PERIOD), "it ends with the second");
        assert!(!slow_start.handle_timeout(start + PERIOD), "once");
        slow_start.count_lost(start + PERIOD, lost(10_000, 100).into_iter());
        assert_eq!(slow_start.in_flight_cap(0), u64::MAX, "each second has its own count");
    }

    #[test]
    fn rd_10_large_messages_count_as_more_units() {
        // RD-10
        let mut slow_start = SlowStart::default();
        slow_start.count_lost(Time(1), lost(39, 1 << 20).into_iter());
        assert_eq!(slow_start.in_flight_cap(0), 16);
    }
}
