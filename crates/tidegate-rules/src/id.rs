//! The id of a rule, in documents and in Rust code.

use std::fmt;

/// The id of a rule: two capital letters, `-`, a number. Ids are ordered by letters, then by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    group: [char; 2],
    number: u32,
}

impl Id {
    /// Reads an id as documents write it: `CR-2`.
    #[must_use]
    pub fn from_text(word: &str) -> Option<Self> {
        let (letters, number) = word.split_once('-')?;
        let mut letters = letters.chars();
        let group = [letters.next()?, letters.next()?];
        let capital = letters.next().is_none() && group.iter().all(char::is_ascii_uppercase);
        Some(Self { group, number: read_number(number).filter(|_| capital)? })
    }

    /// Reads an id as the name of a variant of `Rule`: `Cr2`.
    #[must_use]
    pub fn from_variant(name: &str) -> Option<Self> {
        let mut rest = name.chars();
        let (first, second) = (rest.next()?, rest.next()?);
        let camel = first.is_ascii_uppercase() && second.is_ascii_lowercase();
        let number = read_number(rest.as_str()).filter(|_| camel)?;
        Some(Self { group: [first, second.to_ascii_uppercase()], number })
    }

    /// The name of the variant of `Rule`: `Cr2`.
    #[must_use]
    pub fn variant(self) -> String {
        let [first, second] = self.group;
        format!("{first}{}{}", second.to_ascii_lowercase(), self.number)
    }

    /// The ids with lower numbers in the same group.
    pub(crate) fn before(self) -> impl Iterator<Item = Self> {
        (1..self.number).map(move |number| Self { number, ..self })
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.group;
        write!(f, "{first}{second}-{}", self.number)
    }
}

/// A number from 1 in its usual form, so that two texts never name one id.
fn read_number(digits: &str) -> Option<u32> {
    let plain =
        digits.starts_with(|c| ('1'..='9').contains(&c)) && digits.chars().all(|c| c.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}
