//! Detects a `recv` that waits at the cap: the application already holds as many deliveries as the window allows.

use std::{
    hash::{Hash, Hasher},
    time::Duration,
};

use crate::time::Time;

/// The time for which a `recv` waits at the cap before it is reported.
const WARN_AFTER: Duration = Duration::from_secs(5);

/// Since when a `recv` has been waiting. It is reported once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stuck {
    /// The time of the next check, and the counter of work at the last one.
    since: Option<(Time, u64)>,
    told: bool,
}

impl Stuck {
    /// A `recv` begins to wait. `done` is a counter that changes with each delivery that is handed out or settled.
    pub(super) fn begin(&mut self, now: Time, done: u64) {
        self.since = (!self.told).then_some((now + WARN_AFTER, done));
    }

    /// No `recv` waits any more.
    pub(super) fn end(&mut self) {
        self.since = None;
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.since.map(|(at, _)| at)
    }

    /// Whether to report it: the application is at the cap, and has settled nothing since the last check.
    pub(super) fn advance(&mut self, now: Time, done: u64, at_cap: bool) -> bool {
        let Some((_, before)) = self.since.take_if(|(at, _)| *at <= now) else { return false };
        self.told = at_cap && done == before;
        if !self.told {
            self.since = Some((now + WARN_AFTER, done));
        }
        self.told
    }
}

// It only causes a warning, so that machines that differ in it behave the same.
impl Hash for Stuck {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time(seconds * 1_000_000)
    }

    #[test]
    fn cr_6_an_application_that_waits_at_the_cap_is_reported_once() {
        let mut stuck = Stuck::default();
        stuck.begin(at(0), 7);
        assert!(!stuck.advance(at(4), 7, true));
        assert!(!stuck.advance(at(5), 7, false), "it waits below the cap");
        assert!(!stuck.advance(at(10), 9, true), "something was settled meanwhile");
        assert!(stuck.advance(at(15), 9, true));
        assert_eq!(stuck.deadline(), None);
        stuck.begin(at(20), 9);
        assert!(!stuck.advance(at(99), 9, true), "once");
    }
}
