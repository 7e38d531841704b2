//! Records which puller saw which number, how often, and as which attempt.

use std::collections::BTreeSet;

/// One message in the output of a puller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The index of the puller.
    pub by: usize,
    /// One of the numbers 0 … count − 1.
    pub number: usize,
    /// 1 for the first delivery.
    pub attempt: u64,
    /// The message id.
    pub id: String,
}

impl Sighting {
    /// Parses a line of `tidegate pull --json`; `None` if the line is incomplete.
    #[must_use]
    pub fn read(by: usize, line: &str) -> Option<Self> {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(Self {
            by,
            number: value["payload"].as_str()?.parse().ok()?,
            attempt: value["attempt"].as_u64()?,
            id: value["id"].as_str()?.to_owned(),
        })
    }
}

/// All sightings by number, in the order in which they were read.
#[derive(Debug, Default)]
pub struct Account {
    numbers: Vec<Vec<Sighting>>,
    distinct: usize,
}

impl Account {
    /// Adds a sighting. Checks that a message keeps its id and that each of its deliveries has a different attempt
    /// number.
    pub fn note(&mut self, sighting: Sighting) {
        if self.numbers.len() <= sighting.number {
            self.numbers.resize_with(sighting.number + 1, Vec::new);
        }
        let earlier = &mut self.numbers[sighting.number];
        self.distinct += usize::from(earlier.is_empty());
        for other in &*earlier {
            assert_eq!(other.id, sighting.id, "message {} has changed its id", sighting.number);
            assert_ne!(
                other.attempt, sighting.attempt,
                "two deliveries with the same attempt: {other:?}, {sighting:?}"
            );
        }
        earlier.push(sighting);
    }

    /// How many different numbers have been seen.
    #[must_use]
    pub const fn distinct(&self) -> usize {
        self.distinct
    }

    /// The numbers below `count` that no puller has seen.
    #[must_use]
    pub fn missing(&self, count: usize) -> Vec<usize> {
        (0..count).filter(|&number| self.of(number).is_empty()).collect()
    }

    /// The sightings of this number.
    #[must_use]
    pub fn of(&self, number: usize) -> &[Sighting] {
        self.numbers.get(number).map_or(&[], Vec::as_slice)
    }

    /// The numbers that were seen more than once.
    #[must_use]
    pub fn repeated(&self) -> BTreeSet<usize> {
        (0..self.numbers.len()).filter(|&number| self.of(number).len() > 1).collect()
    }

    /// The sightings of this puller.
    pub fn by(&self, puller: usize) -> impl Iterator<Item = &Sighting> {
        self.numbers.iter().flatten().filter(move |sighting| sighting.by == puller)
    }

    /// All sightings with an attempt above 1.
    pub fn again(&self) -> impl Iterator<Item = &Sighting> {
        self.numbers.iter().flatten().filter(|sighting| sighting.attempt > 1)
    }

    /// Panics unless exactly the numbers below `count` were seen.
    pub fn complete(&self, count: usize) {
        let missing = self.missing(count);
        assert!(missing.is_empty(), "{} of {count} are lost: {missing:?}", missing.len());
        assert_eq!(self.distinct, count, "more numbers were seen than sent");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sighting(number: usize, attempt: u64) -> Sighting {
        Sighting { by: 0, number, attempt, id: format!("id-{number}") }
    }

    #[test]
    fn lost_and_repeated_messages_are_found() {
        let mut account = Account::default();
        for (number, attempt) in [(0, 1), (3, 1), (3, 2)] {
            account.note(sighting(number, attempt));
        }
        assert_eq!(account.missing(5), [1, 2, 4]);
        assert_eq!(account.distinct(), 2);
        assert_eq!(account.repeated(), BTreeSet::from([3]));
        assert!(std::panic::catch_unwind(|| account.complete(4)).is_err());
    }

    #[test]
    #[should_panic(expected = "two deliveries with the same attempt")]
    fn a_second_delivery_must_have_another_attempt_number() {
        let mut account = Account::default();
        account.note(sighting(3, 1));
        account.note(sighting(3, 1));
    }

    #[test]
    fn an_incomplete_line_is_no_sighting() {
        let line = r#"{"id":"a-7","attempt":2,"headers":[],"payload":"0012"}"#;
        assert_eq!(
            Sighting::read(4, line),
            Some(Sighting { by: 4, number: 12, attempt: 2, id: "a-7".into() })
        );
        assert_eq!(Sighting::read(4, &line[..line.len() - 2]), None);
    }
}
