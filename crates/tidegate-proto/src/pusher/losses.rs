//! What comes back with lost links: while that is much, links that have settled little are trusted with little (RD-10).

use std::time::Duration;

use super::backlog::Pending;
use crate::time::Time;

/// What may come back within a period before that is much: more than one puller's usual window.
const ALLOWANCE: u64 = 10_000;
const PERIOD: Duration = Duration::from_secs(1);
/// Bytes of messages that weigh as much as one message does.
const UNIT: u64 = 4_096;
/// What a link that has settled nothing may have un-acked then: enough for one that works to show it.
const FIRST: u64 = 16;
/// A message that was lost more often gets no exception for the return of its puller.
const EXCUSED: u32 = 2;

/// The weight of what has come back in this period.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Losses {
    since: Time,
    weight: u64,
    /// When links are trusted again.
    until: Option<Time>,
}

impl Losses {
    /// These have come back with one link.
    pub(super) fn count<'a>(&mut self, now: Time, lost: impl Iterator<Item = &'a Pending>) {
        if now >= self.since + PERIOD {
            (self.since, self.weight) = (now, 0);
        }
        self.weight += lost.map(|pending| 1 + pending.message.size() as u64 / UNIT).sum::<u64>();
        if self.weight > ALLOWANCE {
            self.until = Some(self.since + PERIOD);
        }
    }

    /// Until when links are not trusted.
    pub(super) fn until(&self) -> Option<Time> {
        self.until
    }

    /// Trusts them again if it is time. Whether it has just become so.
    pub(super) fn advance(&mut self, now: Time) -> bool {
        self.until.take_if(|until| *until <= now).is_some()
    }

    /// How many messages a link may have un-acked that has settled so many for good.
    #[inline]
    pub(super) fn trust(&self, settled: u64) -> u64 {
        if self.until.is_some() { FIRST.saturating_add(settled) } else { u64::MAX }
    }

    /// Whether a message goes to the puller that had it before and is back, trusted or not (RD-8).
    pub(super) fn excuses(&self, pending: &Pending) -> bool {
        pending.losses <= EXCUSED
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
    fn rd_10_as_much_may_come_back_in_a_second_and_no_more() {
        // RD-10
        let mut losses = Losses::default();
        let start = Time(3_000_000);
        losses.count(start, lost(10_000, 100).iter());
        assert_eq!((losses.trust(0), losses.until()), (u64::MAX, None));
        losses.count(start + PERIOD / 2, lost(1, 100).iter());
        assert_eq!((losses.trust(0), losses.trust(50)), (16, 66));
        assert!(!losses.advance(start + PERIOD / 2));
        assert!(losses.advance(start + PERIOD), "trusted again");
        assert!(!losses.advance(start + PERIOD), "once");
        losses.count(start + PERIOD, lost(10_000, 100).iter());
        assert_eq!(losses.trust(0), u64::MAX, "each second has its own");
    }

    #[test]
    fn rd_10_large_messages_weigh_more() {
        // RD-10
        let mut losses = Losses::default();
        losses.count(Time(1), lost(39, 1 << 20).iter());
        assert_eq!(losses.trust(0), 16);
    }
}
