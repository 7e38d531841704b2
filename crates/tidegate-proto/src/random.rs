//! Jitter from a seed that the driver provides. A machine with the same seed and the same inputs behaves the same.

use std::time::Duration;

/// `SplitMix64`, a small random number generator, good enough to spread retries. Not for secrets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Random(u64);

impl Random {
    /// Makes a generator. The same seed gives the same numbers.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// `wait` plus up to a quarter of it (OC-6).
    pub(crate) fn stretch(&mut self, wait: Duration) -> Duration {
        self.at_most(wait / 4).saturating_add(wait)
    }

    /// A random duration of at most `time`, in steps of 1/1,024 of it.
    #[must_use]
    pub fn at_most(&mut self, time: Duration) -> Duration {
        let parts = u32::try_from(self.next_u64() % 1_025).unwrap_or(0);
        time.saturating_mul(parts) / 1_024
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_adds_at_most_a_quarter_and_never_shortens() {
        let mut random = Random::new(7);
        let wait = Duration::from_secs(1);
        let all: Vec<_> = (0..1_000).map(|_| random.stretch(wait)).collect();
        assert!(all.iter().all(|w| *w >= wait && *w <= wait + wait / 4));
        assert!(all.iter().max() > all.iter().min());
    }
}
