//! Rate limit for log lines that could occur once per message: a few lines are written per period, with the
//! number of suppressed ones.

use std::time::{Duration, Instant};

/// Allows a number of lines per period.
#[derive(Debug)]
pub(crate) struct Throttle {
    every: Duration,
    /// Number of lines per period.
    burst: u32,
    left: u32,
    /// When the next period begins.
    next: Option<Instant>,
    kept_back: u64,
}

impl Throttle {
    /// Allows `burst` lines in each period.
    pub(crate) const fn new(burst: u32, every: Duration) -> Self {
        Self { every, burst, left: burst, next: None, kept_back: 0 }
    }

    /// Whether to write a line now. If so, returns the number of lines suppressed since the last one.
    pub(crate) fn admit(&mut self) -> Option<u64> {
        self.admit_at(Instant::now())
    }

    fn admit_at(&mut self, now: Instant) -> Option<u64> {
        if self.next.is_none_or(|next| now >= next) {
            self.next = now.checked_add(self.every);
            self.left = self.burst;
        }
        if self.left == 0 {
            self.kept_back += 1;
            return None;
        }
        self.left -= 1;
        Some(self.take_kept_back())
    }

    /// The number of lines suppressed since the last line that was written.
    pub(crate) fn take_kept_back(&mut self) -> u64 {
        std::mem::take(&mut self.kept_back)
    }
}

/// The end of a line: the number of lines that were suppressed before it.
pub(crate) fn more(kept_back: u64) -> String {
    if kept_back == 0 {
        String::new()
    } else {
        format!(" ({} more suppressed before this one)", crate::text::thousands(kept_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_in_each_period_is_let_through_and_the_others_are_counted() {
        let mut throttle = Throttle::new(2, Duration::from_secs(10));
        let start = Instant::now();
        let said: Vec<_> = (0..100).filter_map(|_| throttle.admit_at(start)).collect();
        assert_eq!(said, [0, 0]);
        assert_eq!(throttle.admit_at(start + Duration::from_secs(10)), Some(98));
        assert_eq!(throttle.admit_at(start + Duration::from_secs(11)), Some(0));
        assert_eq!(throttle.admit_at(start + Duration::from_secs(12)), None);
        assert_eq!((throttle.take_kept_back(), throttle.take_kept_back()), (1, 0));
        assert_eq!(
            (more(0), more(1_000)),
            (String::new(), " (1,000 more suppressed before this one)".to_owned())
        );
    }
}
