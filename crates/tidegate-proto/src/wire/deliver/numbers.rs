//! The numbers of the messages of a batch, in little room: they mostly follow on one by one, or, when several pullers take
//! turns, at the same distance.

/// Message numbers, by their place in a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Numbers {
    first: u64,
    /// The distance of the first run.
    step: i64,
    count: u64,
    /// The other runs, if there are any.
    more: Vec<Run>,
}

/// Messages whose numbers are at the same distance from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Run {
    /// The place of the first one.
    at: u64,
    number: u64,
    step: i64,
}

impl Numbers {
    /// The number at a place.
    #[must_use]
    pub fn get(&self, place: u64) -> Option<u64> {
        if place >= self.count {
            return None;
        }
        let index = self.more.partition_point(|run| run.at <= place);
        let first = Run { at: 0, number: self.first, step: self.step };
        let run = index.checked_sub(1).and_then(|index| self.more.get(index)).copied().unwrap_or(first);
        // Numbers were checked to be within range (DL-2), and so are those between them.
        let ahead = i64::try_from(place - run.at).unwrap_or(i64::MAX);
        Some(run.number.wrapping_add_signed(run.step.wrapping_mul(ahead)))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// In how many runs they are kept: what they take in memory.
    #[must_use]
    pub fn runs(&self) -> usize {
        1 + self.more.len()
    }
}

/// Gathers the runs of a batch while it is read: numbers are relative to the first one, which may come last.
#[derive(Default)]
pub(super) struct Steps {
    /// Of the run that is being read: where it began, and the gap within it once it has two messages.
    at: u64,
    gap: i64,
    first_gap: i64,
    more: Vec<(u64, i128, i64)>,
}

impl Steps {
    /// With this gap, the run goes on. 0 until something else was seen.
    #[inline]
    pub(super) fn usual_gap(&self) -> i64 {
        self.gap
    }

    /// The message at this place has this number, relative to the first, and this gap to the one before.
    pub(super) fn step(&mut self, place: u64, number: i128, gap: i64) {
        if gap == self.gap {
            return;
        }
        if place == self.at + 1 {
            // The second one of a run tells its distance.
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
        let run = |(at, number, gap): (u64, i128, i64)| Run {
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
    fn numbers_come_back_as_they_were() {
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
    fn turns_of_several_pullers_take_one_run() {
        let all: Vec<_> = (0..1_000).map(|n| 5 + 3 * n).collect();
        assert_eq!(numbers(&all).runs(), 1);
        assert_eq!(numbers(&(0..1_000).collect::<Vec<_>>()).runs(), 1);
    }
}
