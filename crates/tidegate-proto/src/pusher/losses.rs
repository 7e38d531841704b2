//! Slow start after losses: if lost links return many messages, the in-flight messages of each link are capped (RD-10).

use std::time::Duration;

use super::backlog::Pending;
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
pub(super) struct SlowStart {
    since: Time,
    weight: u64,
    /// The end of the slow start.
    until: Option<Time>,
}

impl SlowStart {
    /// Counts the messages that one lost link has returned.
    pub(super) fn count<'a>(&mut self, now: Time, lost: impl Iterator<Item = &'a Pending>) {
        if now >= self.since + PERIOD {
            (self.since, self.weight) = (now, 0);
        }
        self.weight += lost.map(|pending| 1 + pending.message.size() as u64 / BYTES_PER_UNIT).sum::<u64>();
        if self.weight > MAX_UNITS {
            self.until = Some(self.since + PERIOD);
        }
    }

    /// The end of the slow start, if there is one.
    pub(super) fn until(&self) -> Option<Time> {
        self.until
    }

    /// Ends the slow start if its time is over, and returns whether it has ended now.
    pub(super) fn advance(&mut self, now: Time) -> bool {
        self.until.take_if(|until| *until <= now).is_some()
    }

    /// The in-flight cap of a link on which `settled` messages were acked or rejected.
    #[inline]
    pub(super) fn trust(&self, settled: u64) -> u64 {
        if self.until.is_some() { MIN_IN_FLIGHT_CAP.saturating_add(settled) } else { u64::MAX }
    }

    /// Whether a held message is exempt from the cap of the link on which its puller has returned (RD-8).
    pub(super) fn excuses(&self, pending: &Pending) -> bool {
        pending.losses <= MAX_EXEMPT_LOSSES
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn lost(count: usize, bytes: usize) -> Vec<Pending> {
        let message = Bytes::from(vec![0; bytes]).into();
        vec![Pending::fresh(0, false, message); count]
    }

    #[test]
    fn rd_10_more_than_10_000_returns_in_a_second_cap_each_link() {
        // RD-10
        let mut losses = SlowStart::default();
        let start = Time(3_000_000);
        losses.count(start, lost(10_000, 100).iter());
        assert_eq!((losses.trust(0), losses.until()), (u64::MAX, None));
        losses.count(start + PERIOD / 2, lost(1, 100).iter());
        assert_eq!((losses.trust(0), losses.trust(50)), (16, 66));
        assert!(!losses.advance(start + PERIOD / 2));
        assert!(losses.advance(start + PERIOD), "it ends with the second");
        assert!(!losses.advance(start + PERIOD), "once");
        losses.count(start + PERIOD, lost(10_000, 100).iter());
        assert_eq!(losses.trust(0), u64::MAX, "each second has its own count");
    }

    #[test]
    fn rd_10_large_messages_count_as_more_units() {
        // RD-10
        let mut losses = SlowStart::default();
        losses.count(Time(1), lost(39, 1 << 20).iter());
        assert_eq!(losses.trust(0), 16);
    }
}
