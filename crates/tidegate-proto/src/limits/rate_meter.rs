//! Points with refunds, counted in periods. The users decide what costs points, and what follows from too many.

use std::time::Duration;

use crate::time::Time;

/// The points of the current period.
///
/// A period begins with the first call of [`Self::begin_period`] after the one before is over, so that it may begin
/// late, but is never shorter than asked for. A meter for which this is never called keeps its points until they are
/// refunded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct RateMeter {
    since: Time,
    points: u64,
}

impl RateMeter {
    /// Begins a new period at `now`, with 0 points, if the current one has lasted for `period`.
    #[inline]
    pub(super) fn begin_period(&mut self, now: Time, period: Duration) {
        if now >= self.period_end(period) {
            (self.since, self.points) = (now, 0);
        }
    }

    /// Adds points, and then takes `refund` points off. A refund that is larger than the points is not kept for later
    /// ones. Returns the points of the period.
    #[inline]
    pub(super) fn count(&mut self, points: u64, refund: u64) -> u64 {
        self.points = (self.points + points).saturating_sub(refund);
        self.points
    }

    /// The end of the current period.
    #[inline]
    pub(super) fn period_end(&self, period: Duration) -> Time {
        self.since + period
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(1);

    #[test]
    fn points_are_counted_until_their_period_is_over() {
        let mut meter = RateMeter::default();
        let start = Time(5_000_000);
        meter.begin_period(start, PERIOD);
        assert_eq!((meter.count(3, 0), meter.period_end(PERIOD)), (3, start + PERIOD));
        meter.begin_period(start + (PERIOD - Duration::from_micros(1)), PERIOD);
        assert_eq!(meter.count(4, 0), 7, "the same period");
        meter.begin_period(start + PERIOD, PERIOD);
        assert_eq!(meter.count(1, 0), 1, "the next one");
    }

    #[test]
    fn a_period_begins_when_it_is_asked_for_and_not_at_the_end_of_the_one_before() {
        let mut meter = RateMeter::default();
        let late = Time(7_300_000);
        meter.begin_period(late, PERIOD);
        assert_eq!(meter.period_end(PERIOD), late + PERIOD);
    }

    #[test]
    fn a_refund_pays_for_the_points_so_far_and_the_rest_of_it_is_lost() {
        let mut meter = RateMeter::default();
        assert_eq!(meter.count(10, 4), 6);
        assert_eq!(meter.count(5, 11), 0, "new points are refunded too");
        assert_eq!(meter.count(2, u64::MAX), 0);
        assert_eq!(meter.count(3, 0), 3, "nothing of the last refund is left");
    }

    #[test]
    fn without_periods_points_stay_until_they_are_refunded() {
        let mut meter = RateMeter::default();
        (0..1_000).for_each(|_| _ = meter.count(1, 0));
        assert_eq!(meter.count(0, 1), 999);
    }
}
