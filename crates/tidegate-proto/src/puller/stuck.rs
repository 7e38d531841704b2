//! A `recv` that waits for long although it may not have anything: the application holds all that the window allows.

use std::{
    hash::{Hash, Hasher},
    time::Duration,
};

use crate::time::Time;

/// How long a `recv` waits at the hard cap before its application is warned.
const LONG: Duration = Duration::from_secs(5);

/// Since when a `recv` has been waiting. It tells once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stuck {
    /// When to look, and what had been done when it was last looked.
    since: Option<(Time, u64)>,
    told: bool,
}

impl Stuck {
    /// A `recv` begins to wait. `done` changes with each delivery that is handed out or settled.
    pub(super) fn begin(&mut self, now: Time, done: u64) {
        self.since = (!self.told).then_some((now + LONG, done));
    }

    /// None waits any more.
    pub(super) fn end(&mut self) {
        self.since = None;
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.since.map(|(at, _)| at)
    }

    /// Whether the application is to be told: it is at the cap, and has been all the time.
    pub(super) fn advance(&mut self, now: Time, done: u64, at_cap: bool) -> bool {
        let Some((_, before)) = self.since.take_if(|(at, _)| *at <= now) else { return false };
        self.told = at_cap && done == before;
        if !self.told {
            self.since = Some((now + LONG, done));
        }
        self.told
    }
}

// Nothing but a warning comes of it, so that machines which differ in it only do the same.
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
    fn an_application_that_waits_at_the_cap_is_told_once() {
        let mut stuck = Stuck::default();
        stuck.begin(at(0), 7);
        assert!(!stuck.advance(at(4), 7, true));
        assert!(!stuck.advance(at(5), 7, false), "it waits for a message");
        assert!(!stuck.advance(at(10), 9, true), "something was done meanwhile");
        assert!(stuck.advance(at(15), 9, true));
        assert_eq!(stuck.deadline(), None);
        stuck.begin(at(20), 9);
        assert!(!stuck.advance(at(99), 9, true), "once");
    }
}
