//! The `Skip` frames that are due: one for each `Ack` with `recall` or `leaving`, within 5 s (RC-1).

use std::{
    hash::{Hash, Hasher},
    time::Duration,
};

use crate::{
    rule::Rule,
    time::Time,
    violation::{Code, Violation},
    wire::FrameProgress,
};

/// The time is counted in steps. A step counts only if everything that had arrived was read at its end. A time in which
/// this process did not run counts as at most one step.
const MAX_SILENT_STEPS: u8 = 10;
const STEP: Duration = Duration::from_millis(500);
/// Bytes that restart the time, because the `Skip` may be behind messages (RC-1).
const MIN_PROGRESS: u64 = 16 * 1_024;

/// The `Skip` frames that are due on one link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Skips {
    due: u8,
    next: Time,
    /// Steps that count, since the last progress.
    silent_steps: u8,
    /// Bytes received since a `Skip` is due, and those received until the last progress.
    bytes: u64,
    before: u64,
}

impl Skips {
    pub(super) fn are_due(&self) -> bool {
        self.due > 0
    }

    /// An `Ack` with `recall` or `leaving` was sent.
    pub(super) fn expect(&mut self, now: Time) {
        if self.due == 0 {
            *self = Self { next: now + STEP, ..Self::default() };
        }
        self.due += 1;
    }

    /// A `Skip` has arrived.
    pub(super) fn handle_skip(&mut self, now: Time) {
        let due = self.due.saturating_sub(1);
        *self = if due > 0 { Self { due, next: now + STEP, ..Self::default() } } else { Self::default() };
    }

    /// No `Skip` is due any more, because `End` has arrived.
    pub(super) fn cancel(&mut self) {
        *self = Self::default();
    }

    /// A frame of `bytes` bytes has arrived.
    #[inline]
    pub(super) fn handle_bytes(&mut self, bytes: usize) {
        if self.due > 0 {
            self.bytes += bytes as u64;
        }
    }

    /// The end of the current step.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        (self.due > 0).then_some(self.next)
    }

    /// Ends the current step if it is over. `empty`: everything that had arrived was read.
    ///
    /// # Errors
    /// The `Skip` did not arrive in time.
    pub(super) fn handle_timeout(
        &mut self,
        now: Time,
        progress: FrameProgress,
        empty: bool,
    ) -> Result<(), Violation> {
        if self.due == 0 || now < self.next {
            return Ok(());
        }
        self.next = now + STEP;
        let bytes = self.bytes + progress.partial as u64;
        if bytes >= self.before + MIN_PROGRESS {
            (self.before, self.silent_steps) = (bytes, 0);
        } else if empty {
            self.silent_steps += 1;
        }
        if self.silent_steps < MAX_SILENT_STEPS {
            return Ok(());
        }
        let detail = format!(
            "no Skip for a recall or leaving arrived within {:?}",
            STEP * u32::from(MAX_SILENT_STEPS)
        );
        Err(Violation::new(Code::TooSlow, Rule::Rc1, detail))
    }
}

// The time is not hashed, because a model of the machine has no silent peers.
impl Hash for Skips {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.due.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected() -> Skips {
        let mut skips = Skips::default();
        skips.expect(Time(0));
        skips
    }

    /// Whether the pusher's time is over after these steps of half a second.
    fn ends(skips: &mut Skips, steps: impl IntoIterator<Item = (bool, usize)>) -> bool {
        steps.into_iter().any(|(empty, partial)| {
            skips.handle_timeout(skips.next, FrameProgress { frames: 0, partial }, empty).is_err()
        })
    }

    #[test]
    fn rc_1_five_seconds_without_a_skip_close_the_link() {
        // RC-1
        assert!(!ends(&mut expected(), [(true, 0); 9]));
        assert!(ends(&mut expected(), [(true, 0); 10]));
        assert!(!ends(&mut Skips::default(), [(true, 0); 50]), "no Skip is due");
    }

    #[test]
    fn rc_1_only_time_in_which_everything_was_read_counts() {
        // RC-1
        assert!(!ends(&mut expected(), [(false, 0); 50]));
        assert!(!ends(&mut expected(), (1..50).map(|step| (true, step * 16_384))), "enough progress");
        assert!(ends(&mut expected(), (1..50).map(|step| (true, step * 1_000))), "not enough progress");
        let mut slept = expected();
        assert!(
            slept.handle_timeout(Time(60_000_000), FrameProgress::default(), true).is_ok(),
            "one step, for any length of time"
        );
    }

    #[test]
    fn rc_1_two_requests_need_two_skips_and_an_end_cancels_both() {
        // RC-1
        let mut skips = expected();
        skips.expect(Time(1));
        skips.handle_skip(Time(2));
        assert!(skips.are_due());
        skips.handle_skip(Time(3));
        assert!(!skips.are_due() && skips.poll_timeout().is_none());
        skips.expect(Time(4));
        skips.expect(Time(5));
        skips.cancel();
        assert!(!skips.are_due());
    }
}
