//! The message numbers of a batch, stored as runs. Consecutive messages usually have consecutive numbers, or, if
//! several pullers take turns, numbers at the same distance.

/// Message numbers, by their index in a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Numbers {
    first: u64,
    /// The distance of numbers in the first run.
    step: i64,
    count: u64,
    /// The other runs.
    more: Vec<NumberRun>,
}

/// Consecutive messages whose numbers have the same distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct NumberRun {
    /// The index of its first message.
    at: u64,
    number: u64,
    step: i64,
}

impl Numbers {
    /// The number of the message at index `place`.
    #[must_use]
    pub fn get(&self, place: u64) -> Option<u64> {
        if place >= self.count {
            return None;
        }
        let index = self.more.partition_point(|run| run.at <= place);
        let first = NumberRun { at: 0, number: self.first, step: self.step };
        let run = index.checked_sub(1).and_then(|index| self.more.get(index)).copied().unwrap_or(first);
        // The numbers at the ends of runs were checked (DL-2), so that those between them are in range.
        let ahead = i64::try_from(place - run.at).unwrap_or(i64::MAX);
        Some(run.number.wrapping_add_signed(run.step.wrapping_mul(ahead)))
    }

    /// The number of messages.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether there are no messages.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The number of runs, to which the memory is proportional.
    #[must_use]
    pub fn runs(&self) -> usize {
        1 + self.more.len()
    }
}

/// Collects the runs of a batch while it is read. Numbers are relative to `first_number`, which may come after the
/// messages.
#[derive(Default)]
pub(super) struct Steps {
    /// The beginning of the current run, and the gap within it, which its second message decides.
    at: u64,
    gap: i64,
    first_gap: i64,
    more: Vec<(u64, i128, i64)>,
}

impl Steps {
    /// The gap with which the current run continues; 0 at first.
    #[inline]
    pub(super) fn usual_gap(&self) -> i64 {
        self.gap
    }

    /// Adds the message at index `place`, with its relative number and its gap.
    pub(super) fn step(&mut self, place: u64, number: i128, gap: i64) {
        if gap == self.gap {
            return;
        }
        if place == self.at + 1 {
            // The second message of a run decides its distance.
            self.gap = gap;
            match self.more.last_mut() {
                Some(run) => run.2 = gap,
                None => self.first_gap = gap,
            }
            return;
        }
        (self.at, self.gap) = (place, 0);
        self.more.push((place, number, 0));
    }

    pub(super) fn numbers(self, first: u64, count: u64) -> Numbers {
        let whole = |relative: i128| u64::try_from(i128::from(first) + relative).unwrap_or(first);
        let run = |(at, number, gap): (u64, i128, i64)| NumberRun {
            at,
            number: whole(number),
            step: gap.wrapping_add(1),
        };
        let more = self.more.into_iter().map(run).collect();
        Numbers { first, step: self.first_gap.wrapping_add(1), count, more }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(all: &[u64]) -> Numbers {
        let mut steps = Steps::default();
        for (place, pair) in all.windows(2).enumerate() {
            let gap = pair[1] as i64 - pair[0] as i64 - 1;
            if gap | steps.usual_gap() != 0 {
                steps.step(place as u64 + 1, i128::from(pair[1]) - i128::from(all[0]), gap);
            }
        }
        steps.numbers(all[0], all.len() as u64)
    }

    #[test]
    fn dl_2_numbers_survive_the_round_trip() {
        for all in [
            &[7][..],
            &[7, 8, 9],
            &[7, 10, 13, 16],
            &[7, 8, 9, 20, 21, 22],
            &[7, 9, 10, 11, 3, 5, 7, 100],
            &[9, 8, 7, 6, 9, 9],
            &[1, 5, 6, 7, 8, 20, 40, 60, 61],
        ] {
            let kept = numbers(all);
            let back: Vec<_> = (0..kept.len()).filter_map(|place| kept.get(place)).collect();
            assert_eq!(back, all);
            assert_eq!(kept.get(kept.len()), None);
        }
    }

    #[test]
    fn numbers_at_the_same_distance_are_one_run() {
        let all: Vec<_> = (0..1_000).map(|n| 5 + 3 * n).collect();
        assert_eq!(numbers(&all).runs(), 1);
        assert_eq!(numbers(&(0..1_000).collect::<Vec<_>>()).runs(), 1);
    }
}
