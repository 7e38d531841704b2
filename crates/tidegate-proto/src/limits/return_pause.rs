//! The return pause: a link whose puller returns more messages than it settles is paused (OC-14).

use std::time::Duration;

use super::rate_meter::RateMeter;
use crate::time::Time;

/// The pause for each unsettled return.
const PAUSE_PER_RETURN: Duration = Duration::from_micros(1);
/// A shorter pause is left out: it would be over before a timer fires.
const MIN_PAUSE: Duration = Duration::from_millis(1);
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// Returns that one acked or rejected message makes up for.
const RETURNS_PER_SETTLED: u64 = 16;

/// The unsettled returns of a link, and the end of its pause.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ReturnPause {
    /// Messages released or nacked, minus 16 for each message acked or rejected. It has no periods.
    debt: RateMeter,
    until: Option<Time>,
}

impl ReturnPause {
    /// Counts an `Ack` that has released or nacked `again` messages, and acked or rejected `settled`.
    pub(crate) fn count(&mut self, now: Time, again: u64, settled: u64) {
        let debt = self.debt.count(again, settled.saturating_mul(RETURNS_PER_SETTLED));
        if again == 0 {
            return;
        }
        let debt = u32::try_from(debt).unwrap_or(u32::MAX);
        let pause = PAUSE_PER_RETURN.saturating_mul(debt).min(MAX_PAUSE);
        if pause >= MIN_PAUSE {
            self.until = Some(now + pause);
        }
    }

    /// Whether the link is paused.
    pub(crate) fn is_active(&self) -> bool {
        self.until.is_some()
    }

    pub(crate) fn until(&self) -> Option<Time> {
        self.until
    }

    /// Ends the pause if its time is over.
    pub(crate) fn handle_timeout(&mut self, now: Time) {
        self.until = self.until.filter(|until| now < *until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oc_14_a_link_that_returns_every_message_is_paused() {
        // OC-14
        let mut pause = ReturnPause::default();
        let mut now = Time(1);
        let mut cycles = 0;
        while now < Time(60_000_000) {
            pause.count(now, 1, 0);
            now = pause.until().unwrap_or(now) + Duration::from_micros(100);
            pause.handle_timeout(now);
            cycles += 1;
        }
        assert!((5_000..15_000).contains(&cycles), "{cycles} in a minute; without pauses 600,000");
    }

    #[test]
    fn oc_14_a_recalled_window_costs_a_short_pause_and_settled_messages_make_up_for_it() {
        // OC-14
        let mut pause = ReturnPause::default();
        pause.count(Time(1), 50_000, 0);
        assert_eq!(pause.until(), Some(Time(50_001)));
        pause.handle_timeout(Time(50_000));
        assert!(pause.is_active());
        pause.handle_timeout(Time(50_001));
        assert!(!pause.is_active());
        pause.count(Time(1), 0, 3_125);
        pause.count(Time(1), 999, 0);
        assert!(!pause.is_active(), "settled messages have made up for all returns");
    }
}
