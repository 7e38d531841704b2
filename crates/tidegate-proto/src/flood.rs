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
/// Octets of a frame that weigh as much as one frame does: what reading it costs, roughly.
const UNIT: u64 = 256;
/// The same of an Ack, in which a few octets are an outcome that is looked up.
const ACK_UNIT: u64 = 32;
/// What a message that is settled for good takes off again: the frames around it were not for nothing.
const WORTH: u64 = 16;

/// The weight of the frames of one link that brought nothing forward in this period.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Flood {
    since: Time,
    weight: u64,
}

impl Flood {
    /// A frame of so many octets has come that settles nothing.
    ///
    /// # Errors
    /// It is one too many.
    pub(crate) fn weigh(&mut self, now: Time, octets: usize) -> Result<(), Violation> {
        self.add(now, 1 + octets as u64 / UNIT, 0)
    }

    /// An Ack of so many octets has come, by which so many messages have been settled for good.
    ///
    /// # Errors
    /// It is one too many.
    pub(crate) fn weigh_ack(&mut self, now: Time, octets: usize, messages: u64) -> Result<(), Violation> {
        self.add(now, 1 + octets as u64 / ACK_UNIT, messages)
    }

    fn add(&mut self, now: Time, weight: u64, messages: u64) -> Result<(), Violation> {
        if now >= self.since + PERIOD {
            (self.since, self.weight) = (now, 0);
        }
        self.weight = (self.weight + weight).saturating_sub(messages.saturating_mul(WORTH));
        if self.weight > ALLOWANCE {
            let detail = format!(
                "frames that settle and deliver nothing weigh more than {ALLOWANCE} in {PERIOD:?} (1 each, and 1 for every {UNIT} octets, {ACK_UNIT} of an Ack)"
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

    #[test]
    fn lm_3_what_settles_messages_pays_for_the_frames_around_it() {
        // LM-3
        let mut flood = Flood::default();
        for _ in 0..10 * ALLOWANCE {
            flood.weigh_ack(Time(1), 20, 1).unwrap();
            for _ in 0..10 {
                flood.weigh_ack(Time(1), 20, 0).unwrap();
            }
        }
        // One outcome in a frame full of repeated ones does not.
        assert!((0..20).any(|_| flood.weigh_ack(Time(1), 60_000, 1).is_err()));
    }
}
