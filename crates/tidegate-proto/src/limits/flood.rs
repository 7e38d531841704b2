//! The rate limit of frames that make no progress (LM-3), in points. docs/IMPLEMENTATION.md, section 8, describes the
//! costs.

use std::time::Duration;

use super::rate_meter::RateMeter;
use crate::{
    rule::Rule,
    time::Time,
    violation::{Code, Violation},
};

/// Points that the frames of a link may cost within one period. A puller that sends a grant for each message, and a
/// recall for each cancelled `recv`, stays below it. Ten times the limit would still need only a small part of a CPU
/// core.
const MAX_POINTS: u64 = 20_000;
const PERIOD: Duration = Duration::from_secs(1);
/// Bytes of a frame that cost 1 point, in proportion to the time that reading them takes.
const BYTES_PER_POINT: u64 = 256;
/// The same where every few bytes need a lookup or a skip: outcomes, delivery ids, unknown fields. With this value,
/// 10,000 frames and 1 MiB of them in a second are always allowed.
const DENSE_BYTES_PER_POINT: u64 = 128;
/// Outcomes that settle nothing, or lookups of frames in flight that such outcomes cause, that cost 1 point.
const LOOKUPS_PER_POINT: u64 = 20;
/// Points that a settled message refunds: the frames that led to it have made progress.
const POINTS_PER_SETTLED: u64 = 16;

/// What an `Ack` has settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AckWork {
    /// Messages acked or rejected, which will not be sent again.
    pub(crate) settled: u64,
    /// Messages nacked or released, which will be sent again.
    pub(crate) returned: u64,
    /// Lookups caused by outcomes that settled nothing, at least one for each of these outcomes.
    pub(crate) idle_lookups: u64,
}

/// The points of one link in the current period.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct FloodLimiter {
    meter: RateMeter,
}

impl FloodLimiter {
    /// Charges a frame of `bytes` bytes that settles nothing.
    ///
    /// # Errors
    /// The limit is exceeded.
    pub(crate) fn charge(&mut self, now: Time, bytes: usize) -> Result<(), Violation> {
        self.add(now, 1 + bytes as u64 / BYTES_PER_POINT, 0)
    }

    /// Charges a frame of `bytes` bytes in which every few bytes are a delivery id.
    ///
    /// # Errors
    /// The limit is exceeded.
    pub(crate) fn charge_ids(&mut self, now: Time, bytes: usize) -> Result<(), Violation> {
        self.add(now, 1 + bytes as u64 / DENSE_BYTES_PER_POINT, 0)
    }

    /// Charges the bytes of a `Deliver` that are neither messages nor their framing.
    ///
    /// # Errors
    /// The limit is exceeded.
    #[inline]
    pub(crate) fn charge_unknown(&mut self, now: Time, bytes: u64) -> Result<(), Violation> {
        if bytes < DENSE_BYTES_PER_POINT { Ok(()) } else { self.add(now, bytes / DENSE_BYTES_PER_POINT, 0) }
    }

    /// Charges an `Ack` of `bytes` bytes. Each message that it settles pays for 16 points of this `Ack`. Only messages
    /// that are acked or rejected also refund earlier points. Otherwise a puller that returns every message could pay
    /// for a flood with them.
    ///
    /// # Errors
    /// The limit is exceeded.
    pub(crate) fn charge_ack(&mut self, now: Time, bytes: usize, work: AckWork) -> Result<(), Violation> {
        let weight = 1 + (bytes as u64 / DENSE_BYTES_PER_POINT).max(work.idle_lookups / LOOKUPS_PER_POINT);
        let weight = weight.saturating_sub(work.returned.saturating_mul(POINTS_PER_SETTLED));
        self.add(now, weight, work.settled)
    }

    fn add(&mut self, now: Time, weight: u64, messages: u64) -> Result<(), Violation> {
        self.meter.begin_period(now, PERIOD);
        let points = self.meter.count(weight, messages.saturating_mul(POINTS_PER_SETTLED));
        if points > MAX_POINTS {
            let detail = format!(
                "frames that make no progress cost {points} points within {PERIOD:?}; the limit is {MAX_POINTS}"
            );
            return Err(Violation::new(Code::Flood, Rule::Lm3, detail));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lm_3_the_limit_of_small_frames_is_per_second() {
        // LM-3
        let mut flood = FloodLimiter::default();
        let start = Time(5_000_000);
        for _ in 0..MAX_POINTS {
            assert_eq!(flood.charge(start, 15), Ok(()));
        }
        let violation = flood.clone().charge(start, 15).unwrap_err();
        assert_eq!((violation.code, violation.rule), (Code::Flood, Rule::Lm3));
        assert_eq!(flood.charge(start + PERIOD, 15), Ok(()), "the next second starts at 0");
    }

    #[test]
    fn lm_3_a_large_frame_costs_points_in_proportion_to_its_bytes() {
        // LM-3
        let mut flood = FloodLimiter::default();
        let passed = (0..).take_while(|_| flood.charge(Time(1), 65_536).is_ok()).count();
        assert_eq!(passed, 77, "5 MB in a second");
    }

    fn done(done: u64) -> AckWork {
        AckWork { settled: done, ..AckWork::default() }
    }

    #[test]
    fn lm_3_settled_messages_pay_for_the_frames_around_them() {
        // LM-3
        let mut flood = FloodLimiter::default();
        for _ in 0..10 * MAX_POINTS {
            flood.charge_ack(Time(1), 20, done(1)).unwrap();
            for _ in 0..10 {
                flood.charge_ack(Time(1), 20, done(0)).unwrap();
            }
        }
        // One settled message does not pay for a frame full of repeated outcomes.
        let full = AckWork { settled: 1, returned: 0, idle_lookups: 10_000 };
        assert!((0..50).any(|_| flood.charge_ack(Time(1), 60_000, full).is_err()));
    }

    #[test]
    fn lm_3_an_outcome_that_settles_a_delivery_is_never_charged() {
        // LM-3: whatever the verdict, and with the longest reason.
        let mut flood = FloodLimiter::default();
        for _ in 0..10 * MAX_POINTS {
            flood.charge_ack(Time(1), 300, AckWork { returned: 1, ..AckWork::default() }).unwrap();
            flood.charge_ack(Time(1), 60_000, AckWork { returned: 200, ..AckWork::default() }).unwrap();
            flood.charge_ack(Time(1), 300, done(1)).unwrap();
        }
        assert_eq!(flood.meter.count(0, 0), 0);
        // But returned messages do not refund earlier points.
        (0..MAX_POINTS).for_each(|_| flood.charge(Time(1), 1).unwrap());
        flood.charge_ack(Time(1), 300, AckWork { returned: 100_000, ..AckWork::default() }).unwrap();
        assert!(flood.charge(Time(1), 1).is_err());
    }

    #[test]
    fn lm_3_ten_thousand_frames_and_a_mebibyte_of_them_are_allowed_in_a_second() {
        // LM-3: for each kind of frame. An outcome has at least six bytes.
        type Weigh = fn(&mut FloodLimiter, usize) -> Result<(), Violation>;
        let kinds: [Weigh; 4] = [
            |flood, bytes| flood.charge(Time(1), bytes),
            |flood, bytes| flood.charge_ids(Time(1), bytes),
            |flood, bytes| flood.charge_ack(Time(1), bytes, done(0)),
            |flood, bytes| {
                flood.charge_ack(
                    Time(1),
                    bytes,
                    AckWork { idle_lookups: bytes as u64 / 6, ..AckWork::default() },
                )
            },
        ];
        for weigh in kinds {
            for (large, small) in [(16, 9_984), (0, 10_000)] {
                let mut flood = FloodLimiter::default();
                let rest = ((1 << 20) - large * 60_000) / small;
                (0..large).for_each(|_| weigh(&mut flood, 60_000).unwrap());
                (0..small).for_each(|_| weigh(&mut flood, rest).unwrap());
                assert!((0..3_000).any(|_| weigh(&mut flood, 60_000).is_err()), "but not without a limit");
            }
        }
    }

    #[test]
    fn lm_3_unknown_fields_of_a_deliver_are_charged_and_framing_is_not() {
        // LM-3
        let mut flood = FloodLimiter::default();
        (0..10 * MAX_POINTS).for_each(|_| flood.charge_unknown(Time(1), DENSE_BYTES_PER_POINT - 1).unwrap());
        let passed = (0..).take_while(|_| flood.charge_unknown(Time(1), 200_000).is_ok()).count();
        assert_eq!(passed, 12, "2.5 MB in a second");
    }
}
