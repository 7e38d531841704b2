//! Frames that bring nothing forward: how many of them a link may send (LM-3).

use std::time::Duration;

use crate::{
    time::Time,
    violation::{Code, Violation},
};

/// What such frames may weigh in a second. A puller that grants for each message by itself and asks back for each `recv` that it
/// gives up stays below it; ten times as many would still be a small part of a core.
const ALLOWANCE: u64 = 20_000;
const PERIOD: Duration = Duration::from_secs(1);
/// Bytes of a frame that weigh as much as one frame does: what reading it costs, roughly.
const UNIT: u64 = 256;
/// The same where a few bytes are something to look up or to skip: outcomes, ids of deliveries, unknown fields. With it, 10,000
/// frames and 1 MiB of them in a second are safe.
const DENSE_UNIT: u64 = 128;
/// Looks at frames in flight, of outcomes that settle nothing, that weigh as much as one frame does.
const LOOKS: u64 = 20;
/// What a settled message pays for: the frames around it were not for nothing.
const WORTH: u64 = 16;

/// What an Ack has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AckWork {
    /// Messages acked or rejected: settled for good.
    pub(crate) done: u64,
    /// Messages nacked or released.
    pub(crate) again: u64,
    /// The work of outcomes that settled nothing.
    pub(crate) idle: u64,
}

/// The weight of the frames of one link that brought nothing forward in this period.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Flood {
    since: Time,
    weight: u64,
}

impl Flood {
    /// A frame of so many bytes has come that settles nothing.
    ///
    /// # Errors
    /// It is one too many.
    pub(crate) fn weigh(&mut self, now: Time, bytes: usize) -> Result<(), Violation> {
        self.add(now, 1 + bytes as u64 / UNIT, 0)
    }

    /// The same of a frame in which each few bytes name a delivery.
    ///
    /// # Errors
    /// It is one too many.
    pub(crate) fn weigh_ids(&mut self, now: Time, bytes: usize) -> Result<(), Violation> {
        self.add(now, 1 + bytes as u64 / DENSE_UNIT, 0)
    }

    /// So many bytes of a Deliver were neither messages nor what frames them.
    ///
    /// # Errors
    /// They are too many.
    #[inline]
    pub(crate) fn weigh_junk(&mut self, now: Time, bytes: u64) -> Result<(), Violation> {
        if bytes < DENSE_UNIT { Ok(()) } else { self.add(now, bytes / DENSE_UNIT, 0) }
    }

    /// An Ack of so many bytes has come. Messages that it settles pay for it; those that come again pay for nothing else, or a
    /// puller that gives everything back could buy a flood with that.
    ///
    /// # Errors
    /// It is one too many.
    pub(crate) fn weigh_ack(&mut self, now: Time, bytes: usize, work: AckWork) -> Result<(), Violation> {
        let weight = 1 + (bytes as u64 / DENSE_UNIT).max(work.idle / LOOKS);
        let weight = weight.saturating_sub(work.again.saturating_mul(WORTH));
        self.add(now, weight, work.done)
    }

    fn add(&mut self, now: Time, weight: u64, messages: u64) -> Result<(), Violation> {
        if now >= self.since + PERIOD {
            (self.since, self.weight) = (now, 0);
        }
        self.weight = (self.weight + weight).saturating_sub(messages.saturating_mul(WORTH));
        if self.weight > ALLOWANCE {
            let detail = format!(
                "frames that settle and deliver nothing weigh more than {ALLOWANCE} in {PERIOD:?} (1 each, and 1 for every {UNIT} bytes, {DENSE_UNIT} of outcomes, ids of deliveries and unknown fields of a Deliver)"
            );
            return Err(Violation::new(Code::Flood, "LM-3", detail));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lm_3_so_many_small_frames_pass_in_a_second_and_one_more_does_not() {
        // LM-3
        let mut flood = Flood::default();
        let start = Time(5_000_000);
        for _ in 0..ALLOWANCE {
            assert_eq!(flood.weigh(start, 15), Ok(()));
        }
        let violation = flood.clone().weigh(start, 15).unwrap_err();
        assert_eq!((violation.code, violation.rule), (Code::Flood, "LM-3"));
        assert_eq!(flood.weigh(start + PERIOD, 15), Ok(()), "the next second has its own");
    }

    #[test]
    fn lm_3_a_large_frame_weighs_as_much_as_reading_it_costs() {
        // LM-3
        let mut flood = Flood::default();
        let passed = (0..).take_while(|_| flood.weigh(Time(1), 65_536).is_ok()).count();
        assert_eq!(passed, 77, "5 MB in a second");
    }

    fn done(done: u64) -> AckWork {
        AckWork { done, ..AckWork::default() }
    }

    #[test]
    fn lm_3_what_settles_messages_pays_for_the_frames_around_it() {
        // LM-3
        let mut flood = Flood::default();
        for _ in 0..10 * ALLOWANCE {
            flood.weigh_ack(Time(1), 20, done(1)).unwrap();
            for _ in 0..10 {
                flood.weigh_ack(Time(1), 20, done(0)).unwrap();
            }
        }
        // One outcome in a frame full of repeated ones does not.
        let full = AckWork { done: 1, again: 0, idle: 10_000 };
        assert!((0..50).any(|_| flood.weigh_ack(Time(1), 60_000, full).is_err()));
    }

    #[test]
    fn lm_3_an_outcome_that_settles_a_delivery_is_never_charged() {
        // LM-3: whatever the verdict, and with the longest reason.
        let mut flood = Flood::default();
        for _ in 0..10 * ALLOWANCE {
            flood.weigh_ack(Time(1), 300, AckWork { again: 1, ..AckWork::default() }).unwrap();
            flood.weigh_ack(Time(1), 60_000, AckWork { again: 200, ..AckWork::default() }).unwrap();
            flood.weigh_ack(Time(1), 300, done(1)).unwrap();
        }
        assert_eq!(flood.weight, 0);
        // But what comes again pays for nothing else.
        (0..ALLOWANCE).for_each(|_| flood.weigh(Time(1), 1).unwrap());
        flood.weigh_ack(Time(1), 300, AckWork { again: 100_000, ..AckWork::default() }).unwrap();
        assert!(flood.weigh(Time(1), 1).is_err());
    }

    #[test]
    fn lm_3_ten_thousand_frames_and_a_mebibyte_of_them_are_safe_in_a_second() {
        // LM-3: of whatever kind. An outcome takes six bytes at least.
        type Weigh = fn(&mut Flood, usize) -> Result<(), Violation>;
        let kinds: [Weigh; 4] = [
            |flood, bytes| flood.weigh(Time(1), bytes),
            |flood, bytes| flood.weigh_ids(Time(1), bytes),
            |flood, bytes| flood.weigh_ack(Time(1), bytes, done(0)),
            |flood, bytes| {
                flood.weigh_ack(Time(1), bytes, AckWork { idle: bytes as u64 / 6, ..AckWork::default() })
            },
        ];
        for weigh in kinds {
            for (large, small) in [(16, 9_984), (0, 10_000)] {
                let mut flood = Flood::default();
                let rest = ((1 << 20) - large * 60_000) / small;
                (0..large).for_each(|_| weigh(&mut flood, 60_000).unwrap());
                (0..small).for_each(|_| weigh(&mut flood, rest).unwrap());
                assert!((0..3_000).any(|_| weigh(&mut flood, 60_000).is_err()), "and not without end");
            }
        }
    }

    #[test]
    fn lm_3_what_is_no_message_in_a_deliver_is_weighed_and_what_frames_it_is_not() {
        // LM-3
        let mut flood = Flood::default();
        (0..10 * ALLOWANCE).for_each(|_| flood.weigh_junk(Time(1), DENSE_UNIT - 1).unwrap());
        let passed = (0..).take_while(|_| flood.weigh_junk(Time(1), 200_000).is_ok()).count();
        assert_eq!(passed, 12, "2.5 MB in a second");
    }
}
