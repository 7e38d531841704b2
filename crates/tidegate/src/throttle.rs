//! Throttles warnings that peers can cause: a few each second, then only their number. A peer that can reach
//! a port must not be able to fill a disk with log lines.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{runtime::Handle, time::Instant};

/// Lines in each [`PERIOD`]: enough to see who connects and why, and less than a megabyte in ten minutes.
const MAX_LINES: u32 = 10;
const PERIOD: Duration = Duration::from_secs(1);

/// The warnings of one kind, of one socket or one address.
pub(crate) struct Throttled {
    /// Describes the warnings that are only counted.
    more: &'static str,
    origin: Instant,
    throttle: Mutex<LineThrottle>,
}

impl Throttled {
    pub(crate) fn new(more: &'static str) -> Arc<Self> {
        Arc::new(Self { more, origin: Instant::now(), throttle: Mutex::default() })
    }

    /// Logs a line, or counts it and logs the count at the end of the period.
    pub(crate) fn warn(self: &Arc<Self>, runtime: &Handle, text: fmt::Arguments<'_>) {
        match self.with(|throttle| throttle.next(self.origin.elapsed())) {
            LineAction::Write => tracing::warn!("{text}"),
            LineAction::Count => {}
            LineAction::CountAndSum(pause) => {
                let throttled = self.clone();
                runtime.spawn(async move {
                    tokio::time::sleep(pause).await;
                    let count = throttled.with(LineThrottle::sum);
                    tracing::warn!("{count} {}", throttled.more);
                });
            }
        }
    }

    fn with<R>(&self, f: impl FnOnce(&mut LineThrottle) -> R) -> R {
        f(&mut self.throttle.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What to do with a line.
#[derive(Debug, PartialEq, Eq)]
enum LineAction {
    Write,
    /// The line exceeds the limit, and only its number is logged.
    Count,
    /// The first line that exceeds the limit. After this pause, call [`LineThrottle::sum`].
    CountAndSum(Duration),
}

/// Counts the lines of a period.
#[derive(Default)]
struct LineThrottle {
    /// When the period began.
    since: Option<Duration>,
    written: u32,
    /// Lines that were not logged and whose number was not logged yet.
    held: u64,
}

impl LineThrottle {
    fn next(&mut self, now: Duration) -> LineAction {
        let elapsed = self.since.map(|since| now.saturating_sub(since));
        let left = match elapsed.and_then(|elapsed| PERIOD.checked_sub(elapsed)) {
            Some(left) if !left.is_zero() => left,
            _ => {
                (self.since, self.written) = (Some(now), 0);
                PERIOD
            }
        };
        if self.written < MAX_LINES {
            self.written += 1;
            return LineAction::Write;
        }
        self.held += 1;
        if self.held == 1 { LineAction::CountAndSum(left) } else { LineAction::Count }
    }

    /// Returns how many lines were held back since the last call.
    fn sum(&mut self) -> u64 {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn after_ten_lines_in_a_second_the_others_are_counted() {
        let mut throttle = LineThrottle::default();
        for n in 0..10 {
            assert_eq!(throttle.next(at(5_000 + n)), LineAction::Write);
        }
        assert_eq!(
            throttle.next(at(5_400)),
            LineAction::CountAndSum(at(600)),
            "logged when the second is over"
        );
        assert_eq!(throttle.next(at(5_400)), LineAction::Count);
        assert_eq!(throttle.next(at(5_999)), LineAction::Count);
        assert_eq!(throttle.sum(), 3);
        assert_eq!(throttle.sum(), 0);
    }

    #[test]
    fn the_next_second_has_its_own_lines_even_before_the_sum() {
        let mut throttle = LineThrottle::default();
        let written = |throttle: &mut LineThrottle, now| {
            (0..100).filter(|_| throttle.next(now) == LineAction::Write).count()
        };
        assert_eq!(written(&mut throttle, at(0)), 10);
        assert_eq!(written(&mut throttle, at(999)), 0);
        assert_eq!(written(&mut throttle, at(1_000)), 10);
        assert_eq!(throttle.sum(), 90 + 100 + 90, "one sum for all, however late it is");
        assert_eq!(throttle.next(at(1_500)), LineAction::CountAndSum(at(500)));
    }

    #[test]
    fn a_few_warnings_are_all_logged() {
        let mut throttle = LineThrottle::default();
        assert!(
            (0..1_000).all(|n| throttle.next(at(n * 100)) == LineAction::Write),
            "ten each second, for a long time"
        );
        assert_eq!(throttle.sum(), 0);
    }
}
