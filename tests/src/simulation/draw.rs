//! Random choices, all drawn from one seed.

use std::time::Duration;

use tidegate_proto::Random;

/// A source of choices: the same seed gives the same choices.
#[derive(Clone, Debug)]
pub struct Draw(Random);

impl Draw {
    /// A source for one part of a scenario: the parts do not affect each other when one of them draws more.
    #[must_use]
    pub fn new(seed: u64, part: u64) -> Self {
        let mut random = Random::new(seed);
        Self(Random::new(random.next_u64() ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// 0 … `count` − 1.
    pub fn below(&mut self, count: usize) -> usize {
        (self.number() % count.max(1) as u64) as usize
    }

    /// `low` … `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.number() % (high - low + 1)
    }

    /// True with a probability of `percent` %.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.number() % 100 < percent
    }

    /// One of the choices.
    pub fn one<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// A duration from `low` to `high` milliseconds.
    pub fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }
}
