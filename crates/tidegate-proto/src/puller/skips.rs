//! The Skips that a pusher owes: one for each Ack that recalls or leaves, and not for ever (RC-1).

use std::{
    hash::{Hash, Hasher},
    time::Duration,
};

use crate::{
    time::Time,
    violation::{Code, Violation},
    wire::Progress,
};

/// In how many steps the time of a pusher is counted, and how long each takes. A step in which this process did not run, or
/// in which something was left to read, does not count: the Skip may be behind it.
const STEPS: u8 = 10;
const STEP: Duration = Duration::from_millis(500);
/// So many bytes are progress: the Skip waits behind messages.
const PROGRESS: u64 = 16 * 1_024;

/// Answers to a recall and to leaving that have not come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Skips {
    owed: u8,
    next: Time,
    /// Steps in which the socket was found empty, since there has last been progress.
    silent: u8,
    /// Bytes that have come since an answer is owed, and those up to the last progress.
    bytes: u64,
    before: u64,
}

impl Skips {
    pub(super) fn are_owed(&self) -> bool {
        self.owed > 0
    }

    /// An Ack has gone out that is to be answered.
    pub(super) fn owe(&mut self, now: Time) {
        if self.owed == 0 {
            *self = Self { next: now + STEP, ..Self::default() };
        }
        self.owed += 1;
    }

    /// One has come.
    pub(super) fn come(&mut self, now: Time) {
        let owed = self.owed.saturating_sub(1);
        *self = if owed > 0 { Self { owed, next: now + STEP, ..Self::default() } } else { Self::default() };
    }

    /// None will come: the stream is over.
    pub(super) fn cancel(&mut self) {
        *self = Self::default();
    }

    /// A frame has come.
    #[inline]
    pub(super) fn received(&mut self, bytes: usize) {
        if self.owed > 0 {
            self.bytes += bytes as u64;
        }
    }

    /// When [`Self::advance`] is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        (self.owed > 0).then_some(self.next)
    }

    /// `empty`: everything that has come has been read.
    ///
    /// # Errors
    /// The pusher has had its time.
    pub(super) fn advance(&mut self, now: Time, progress: Progress, empty: bool) -> Result<(), Violation> {
        if self.owed == 0 || now < self.next {
            return Ok(());
        }
        self.next = now + STEP;
        let bytes = self.bytes + progress.partial as u64;
        if bytes >= self.before + PROGRESS {
            (self.before, self.silent) = (bytes, 0);
        } else if empty {
            self.silent += 1;
        }
        if self.silent < STEPS {
            return Ok(());
        }
        let detail = format!("no Skip for a recall or leaving within {:?}", STEP * u32::from(STEPS));
        Err(Violation::new(Code::TooSlow, "RC-1", detail))
    }
}

// When a link is given up is no part of what is compared: a model of the machine has no silent peers.
impl Hash for Skips {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.owed.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owed() -> Skips {
        let mut skips = Skips::default();
        skips.owe(Time(0));
        skips
    }

    /// Whether the pusher's time is up after so many half seconds, of which `empty` says how each was.
    fn ends(skips: &mut Skips, steps: impl IntoIterator<Item = (bool, usize)>) -> bool {
        steps.into_iter().any(|(empty, partial)| {
            skips.advance(skips.next, Progress { frames: 0, partial }, empty).is_err()
        })
    }

    #[test]
    fn rc_1_five_seconds_without_a_skip_end_a_link() {
        // RC-1
        assert!(!ends(&mut owed(), [(true, 0); 9]));
        assert!(ends(&mut owed(), [(true, 0); 10]));
        assert!(!ends(&mut Skips::default(), [(true, 0); 50]), "nothing is owed");
    }

    #[test]
    fn rc_1_only_time_counts_in_which_there_was_nothing_to_read() {
        // RC-1
        assert!(!ends(&mut owed(), [(false, 0); 50]));
        assert!(!ends(&mut owed(), (1..50).map(|step| (true, step * 16_384))), "it comes forward");
        assert!(ends(&mut owed(), (1..50).map(|step| (true, step * 1_000))), "it hardly does");
        let mut slept = owed();
        assert!(slept.advance(Time(60_000_000), Progress::default(), true).is_ok(), "one step, however long");
    }

    #[test]
    fn rc_1_two_requests_have_two_answers_and_an_end_cancels_both() {
        // RC-1
        let mut skips = owed();
        skips.owe(Time(1));
        skips.come(Time(2));
        assert!(skips.are_owed());
        skips.come(Time(3));
        assert!(!skips.are_owed() && skips.deadline().is_none());
        skips.owe(Time(4));
        skips.owe(Time(5));
        skips.cancel();
        assert!(!skips.are_owed());
    }
}
