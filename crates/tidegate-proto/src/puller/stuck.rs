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
    warned: bool,
}

impl Stuck {
    /// A `recv` begins to wait. `done` is a counter that changes with each delivery that is handed out or settled.
    pub(super) fn begin(&mut self, now: Time, done: u64) {
        self.since = (!self.warned).then_some((now + WARN_AFTER, done));
    }

    /// No `recv` waits any more.
    pub(super) fn end(&mut self) {
        self.since = None;
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.since.map(|(at, _)| at)
    }

    /// Whether to report it: the application is at the cap, and has settled nothing since the last check.
    pub(super) fn handle_timeout(&mut self, now: Time, done: u64, at_cap: bool) -> bool {
        let Some((_, before)) = self.since.take_if(|(at, _)| *at <= now) else { return false };
        self.warned = at_cap && done == before;
        if !self.warned {
            self.since = Some((now + WARN_AFTER, done));
        }
        self.warned
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
        assert!(!stuck.handle_timeout(at(4), 7, true));
        assert!(!stuck.handle_timeout(at(5), 7, false), "it waits below the cap");
        assert!(!stuck.handle_timeout(at(10), 9, true), "something was settled meanwhile");
        assert!(stuck.handle_timeout(at(15), 9, true));
        assert_eq!(stuck.poll_timeout(), None);
        stuck.begin(at(20), 9);
        assert!(!stuck.handle_timeout(at(99), 9, true), "once");
    }
}
