//! A puller that gives everything back, or fails at everything: what it is sent costs both sides, and brings nothing forward (OC-14).

use std::time::Duration;

use crate::time::Time;

/// The rest for each message that was released or nacked and is not made up for.
const EACH: Duration = Duration::from_micros(1);
/// A shorter rest is none: it would be over before a timer tells so.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(1);
/// Messages released or nacked that one outcome of another kind makes up for.
const WORTH: u64 = 16;

/// How much a link has given back, and until when it gets nothing for that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Rest {
    debt: u64,
    until: Option<Time>,
}

impl Rest {
    /// An Ack has released or nacked so many messages, and settled so many for good.
    pub(super) fn count(&mut self, now: Time, again: u64, settled: u64) {
        self.debt = (self.debt + again).saturating_sub(settled.saturating_mul(WORTH));
        if again == 0 {
            return;
        }
        let debt = u32::try_from(self.debt).unwrap_or(u32::MAX);
        let rest = EACH.saturating_mul(debt).min(LONGEST);
        if rest >= SHORTEST {
            self.until = Some(now + rest);
        }
    }

    /// Whether it gets nothing now.
    pub(super) fn is_on(&self) -> bool {
        self.until.is_some()
    }

    pub(super) fn until(&self) -> Option<Time> {
        self.until
    }

    /// Ends a rest whose time is over.
    pub(super) fn advance(&mut self, now: Time) {
        self.until = self.until.filter(|until| now < *until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oc_14_giving_back_without_doing_anything_slows_a_link_down() {
        // OC-14
        let mut rest = Rest::default();
        let mut now = Time(1);
        let mut cycles = 0;
        while now < Time(60_000_000) {
            rest.count(now, 1, 0);
            now = rest.until().unwrap_or(now) + Duration::from_micros(100);
            rest.advance(now);
            cycles += 1;
        }
        assert!((5_000..15_000).contains(&cycles), "{cycles} in a minute instead of 600,000");
    }

    #[test]
    fn oc_14_a_recalled_window_costs_a_moment_and_work_makes_up_for_it() {
        // OC-14
        let mut rest = Rest::default();
        rest.count(Time(1), 50_000, 0);
        assert_eq!(rest.until(), Some(Time(50_001)));
        rest.advance(Time(50_000));
        assert!(rest.is_on());
        rest.advance(Time(50_001));
        assert!(!rest.is_on());
        rest.count(Time(1), 0, 3_125);
        rest.count(Time(1), 999, 0);
        assert!(!rest.is_on(), "all of it is made up for");
    }
}
