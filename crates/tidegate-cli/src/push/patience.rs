//! How long a pusher waits for its dead letters when everything else is done.

use std::time::Duration;

use tokio::time::Instant;

use super::linger_text;
use crate::exit::Exit;
use crate::text;

/// The time for one write after the linger time has ended; also the interval of checks.
const MAX_WRITE_WAIT: Duration = Duration::from_secs(1);

/// How long to wait for dead letters when everything else is done.
pub(crate) struct Patience {
    /// When waiting ends even if each write makes progress.
    until: Option<Instant>,
    /// The time limit of one write.
    each: Option<Duration>,
    /// The time limit after a signal.
    after_signal: Duration,
    /// Whether the first signal has come already.
    signalled: bool,
    /// Whether to omit notices about signals.
    quiet: bool,
}

impl Patience {
    /// For a pusher that has ended with `exit`, and had to end by `deadline`.
    pub(crate) fn new(exit: Exit, deadline: Option<Instant>, after_signal: Duration) -> Self {
        let least = Instant::now().checked_add(MAX_WRITE_WAIT);
        let (until, each) = match deadline {
            // The linger time includes dead letters.
            Some(deadline) if exit == Exit::Success => (least.map(|least| deadline.max(least)), None),
            None if exit == Exit::Success => (None, Some(after_signal.max(MAX_WRITE_WAIT))),
            // The linger time has passed, and the sender of a signal may be about to kill this process.
            _ => (None, Some(MAX_WRITE_WAIT)),
        };
        Self { until, each, after_signal, signalled: false, quiet: false }
    }

    /// Sets whether the first signal has come already, and whether to omit a notice about the next one.
    pub(crate) fn after(self, signalled: bool, quiet: bool) -> Self {
        Self { signalled, quiet, ..self }
    }

    /// When waiting ends if the write in progress started at `since` and makes no progress.
    fn end(&self, since: Option<Instant>) -> Option<Instant> {
        let stalled = since.zip(self.each).and_then(|(since, each)| since.checked_add(each));
        [self.until, stalled].into_iter().flatten().min()
    }

    pub(super) fn is_over(&self, since: Option<Instant>) -> bool {
        self.end(since).is_some_and(|end| end <= Instant::now())
    }

    /// When to check [`Self::is_over`] again, as another write may have started by then.
    pub(super) fn next_look(&self, since: Option<Instant>) -> Option<Instant> {
        let soon = Instant::now().checked_add(MAX_WRITE_WAIT);
        [self.end(since), soon].into_iter().flatten().min()
    }

    /// Handles a signal. Returns whether waiting is over.
    pub(super) fn signal(&mut self, name: &str) -> bool {
        if self.signalled {
            return true;
        }
        self.signalled = true;
        self.until = Instant::now().checked_add(self.after_signal);
        text::note(
            self.quiet,
            format_args!(
                "{name}: waiting {} for --dead-letter (a second signal stops at once)",
                linger_text(self.after_signal)
            ),
        );
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waiting_for_dead_letters_ends_when_one_write_stalls_and_not_while_each_ends_in_time() {
        let after_signal = 9 * SECOND;
        for (exit, limit) in
            [(Exit::Success, after_signal), (Exit::Lingered, SECOND), (Exit::Aborted, SECOND)]
        {
            let patience = Patience::new(exit, None, after_signal);
            let now = Instant::now();
            assert!(!patience.is_over(None) && !patience.is_over(Some(now)));
            assert_eq!(patience.end(Some(now)), Some(now + limit));
            assert!(patience.is_over(now.checked_sub(limit)));
            assert!(patience.next_look(None) <= Some(Instant::now() + SECOND), "a write may start");
        }
    }

    #[test]
    fn the_linger_time_limits_all_dead_letters_together_but_leaves_them_a_second() {
        let deadline = Instant::now() + 5 * SECOND;
        let patience = Patience::new(Exit::Success, Some(deadline), 9 * SECOND);
        assert_eq!(
            (patience.end(None), patience.end(Some(Instant::now()))),
            (Some(deadline), Some(deadline))
        );
        let patience = Patience::new(Exit::Success, Instant::now().checked_sub(SECOND), 9 * SECOND);
        assert!(!patience.is_over(None));
    }

    #[test]
    fn the_first_signal_limits_the_wait_for_dead_letters_and_the_next_one_ends_it() {
        let mut patience = Patience::new(Exit::Success, None, 5 * SECOND);
        assert!(!patience.signal("SIGTERM") && !patience.is_over(None));
        assert!(patience.end(None).is_some_and(|end| end <= Instant::now() + 5 * SECOND));
        assert!(patience.signal("SIGTERM"));
        let mut patience = Patience::new(Exit::Success, None, SECOND).after(true, false);
        assert!(patience.signal("SIGINT"), "there was a signal before");
    }
}
