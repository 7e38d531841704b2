//! The payloads, a check of each, and the clock of a run.

use anyhow::{Result, ensure};
use tidegate_load::load::Pattern;
pub use tidegate_load::load::Ring;

/// Checks received payloads: length, first word and last word.
pub struct Check(Pattern);

impl Check {
    pub fn new(size: usize) -> Self {
        Self(Pattern::new(size))
    }

    /// # Errors
    /// The payload is not the one that comes next.
    pub fn next(&mut self, payload: &[u8]) -> Result<()> {
        ensure!(self.0.check(payload), "a received message differs from the message sent");
        Ok(())
    }
}

/// The time from the first message after the warm-up to the last one.
pub struct Clock {
    received: u64,
    count: u64,
    began: Option<std::time::Instant>,
}

impl Clock {
    pub fn new(count: u64) -> Self {
        Self { received: 0, count, began: None }
    }

    /// Counts one message. Returns the messages per second at the last one.
    #[inline]
    pub fn tick(&mut self) -> Option<f64> {
        self.received += 1;
        if self.received == self.count / 10 + 1 {
            self.began = Some(std::time::Instant::now());
        }
        let began = self.began.filter(|_| self.received == self.count)?;
        let measured = self.count - self.count / 10 - 1;
        Some(measured as f64 / began.elapsed().as_secs_f64())
    }
}
