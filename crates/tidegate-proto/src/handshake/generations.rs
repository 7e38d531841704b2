//! The generations of a connector: the numbers of its connection attempts (HS-9).

use crate::{violation::SettingError, wire::MAX_COUNTER};

/// The bits of a generation that number the attempts of an epoch.
const ATTEMPT_BITS: u32 = 24;
const MAX_EPOCH: u64 = MAX_COUNTER >> ATTEMPT_BITS;

/// Draws the generations of one slot.
///
/// The generations of an instance that outlives its process are `epoch << 24 | attempt` (RD-11). Its store syncs a
/// higher epoch at each opening, so that every generation is above all that were used before. Otherwise the acceptor
/// would refuse the connector because of its own old link, if that still looks alive.
///
/// ```
/// use tidegate_proto::{Generations, NoGeneration};
///
/// let mut generations = Generations::in_epoch(3).unwrap();
/// assert_eq!(generations.draw(), Ok((3 << 24) + 1));
/// let mut generations = Generations::default();
/// assert_eq!(generations.draw(), Ok(1));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Generations {
    last: u64,
    /// The last generation that may be drawn.
    max: u64,
}

/// Why there is no generation for another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NoGeneration {
    /// The attempts of the epoch are used up. Sync this epoch in the store, and then call [`Generations::raise`].
    #[error("the attempts of the epoch are used up; sync epoch {0} in the store, and raise the epoch to it")]
    Epoch(u64),
    /// All generations up to 2^53 - 1 are used up. Draw a new [`Resume`](crate::Resume), and start again.
    #[error("all generations up to 2^53 - 1 are used up; draw a new resume, and start again at generation 1")]
    UsedUp,
}

impl Default for Generations {
    /// The generations of an instance that does not outlive its process: 1 to 2^53 - 1.
    fn default() -> Self {
        Self { last: 0, max: MAX_COUNTER }
    }
}

impl Generations {
    /// The generations of an epoch that the store has synced at this opening.
    ///
    /// # Errors
    /// The epoch is above 2^29 - 1, so that its generations would be above 2^53 - 1.
    pub fn in_epoch(epoch: u64) -> Result<Self, SettingError> {
        let valid =
            "at most 2^29 - 1; when it is used up, draw a new resume for each slot, and start at epoch 0";
        SettingError::unless(epoch <= MAX_EPOCH, "epoch", &epoch, valid)?;
        let last = epoch << ATTEMPT_BITS;
        Ok(Self { last, max: last | ((1 << ATTEMPT_BITS) - 1) })
    }

    /// The generation of the next attempt.
    ///
    /// # Errors
    /// The attempts of the epoch, or all generations, are used up.
    pub fn draw(&mut self) -> Result<u64, NoGeneration> {
        if self.last < self.max {
            self.last += 1;
            return Ok(self.last);
        }
        let next = (self.max >> ATTEMPT_BITS) + 1;
        Err(if next > MAX_EPOCH { NoGeneration::UsedUp } else { NoGeneration::Epoch(next) })
    }

    /// The store has synced this epoch. A lower one than before has no effect.
    ///
    /// # Errors
    /// As for [`Self::in_epoch`].
    pub fn raise(&mut self, epoch: u64) -> Result<(), SettingError> {
        let raised = Self::in_epoch(epoch)?;
        if raised.last >= self.last {
            *self = raised;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hs_9_generations_start_at_1_and_grow_to_2_53_minus_1() {
        // HS-9
        let mut generations = Generations::default();
        assert_eq!([generations.draw(), generations.draw()], [Ok(1), Ok(2)]);
        generations.last = MAX_COUNTER - 1;
        assert_eq!(generations.draw(), Ok(MAX_COUNTER));
        assert_eq!(generations.draw(), Err(NoGeneration::UsedUp));
    }

    #[test]
    fn rd_11_generations_of_a_later_epoch_are_above_all_earlier_ones() {
        // RD-11, HS-9
        let mut generations = Generations::in_epoch(5).unwrap();
        assert_eq!(generations.draw(), Ok((5 << 24) + 1));
        generations.last = (6 << 24) - 2;
        assert_eq!(generations.draw(), Ok((6 << 24) - 1));
        assert_eq!(generations.draw(), Err(NoGeneration::Epoch(6)), "until the store has synced it");
        generations.raise(6).unwrap();
        assert_eq!(generations.draw(), Ok((6 << 24) + 1));
        generations.raise(6).unwrap();
        generations.raise(2).unwrap();
        assert_eq!(generations.draw(), Ok((6 << 24) + 2), "no generation is drawn twice");
    }

    #[test]
    fn rd_11_the_last_epoch_ends_at_2_53_minus_1() {
        // RD-11
        let mut generations = Generations::in_epoch((1 << 29) - 1).unwrap();
        generations.last = MAX_COUNTER - 1;
        assert_eq!(generations.draw(), Ok(MAX_COUNTER));
        assert_eq!(generations.draw(), Err(NoGeneration::UsedUp));
        let error = Generations::in_epoch(1 << 29).unwrap_err();
        assert_eq!((error.setting, error.value.as_str()), ("epoch", "536870912"));
        assert_eq!(Generations::default().raise(1 << 29), Err(error));
    }
}
