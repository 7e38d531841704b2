//! The rules of SPEC.md and docs/IMPLEMENTATION.md as values, so that an id that does not exist does not compile.
//!
//! `list.rs` is generated from the documents, by `cargo xtask rules`. It has the variants and their facts; the rest is
//! here.

use std::{fmt, str::FromStr};

pub use self::list::Rule;
use crate::{shown, v1::Role};

mod list;

const SPEC: &str = "SPEC.md";
const IMPLEMENTATION: &str = "docs/IMPLEMENTATION.md";
const PUSHER: &[Role] = &[Role::Pusher];
const PULLER: &[Role] = &[Role::Puller];
const BOTH: &[Role] = &[Role::Pusher, Role::Puller];

/// How binding a rule is, as RFC 2119 defines the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// MAY: optional.
    May,
    /// SHOULD: required, unless there is a good reason.
    Should,
    /// MUST: required.
    Must,
}

impl Rule {
    /// The id, as the documents write it: `OC-10`.
    #[must_use]
    pub const fn id(self) -> &'static str {
        self.facts().0
    }

    /// The path of the document that defines the rule: `SPEC.md` (what is on the wire) or `docs/IMPLEMENTATION.md`
    /// (rules of this implementation, on which no peer depends).
    #[must_use]
    pub const fn document(self) -> &'static str {
        self.facts().1
    }

    /// How binding the rule is.
    #[must_use]
    pub const fn level(self) -> Level {
        self.facts().2
    }

    /// Whether a peer with this role needs the rule.
    #[must_use]
    pub fn is_needed_by(self, role: Role) -> bool {
        self.facts().3.contains(&role)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::May => "MAY",
            Self::Should => "SHOULD",
            Self::Must => "MUST",
        })
    }
}

/// A text that is not the id of a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no rule has the id `{}`; ids are written as in `{}`", shown(text).at_most(32), Rule::Cr1)]
pub struct UnknownRule {
    text: String,
}

impl FromStr for Rule {
    type Err = UnknownRule;

    /// Finds a rule by its id, such as `CR-1`.
    fn from_str(text: &str) -> Result<Self, UnknownRule> {
        Self::try_from(text)
    }
}

impl TryFrom<&str> for Rule {
    type Error = UnknownRule;

    fn try_from(text: &str) -> Result<Self, UnknownRule> {
        let found = Self::ALL.iter().find(|rule| rule.id() == text);
        found.copied().ok_or_else(|| UnknownRule { text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_found_by_its_id_and_they_are_in_order() {
        for rule in Rule::ALL {
            assert_eq!(rule.id().parse(), Ok(*rule));
            assert_eq!(format!("{rule:?}").to_uppercase(), rule.to_string().replace('-', ""));
            assert!(rule.is_needed_by(Role::Pusher) || rule.is_needed_by(Role::Puller));
            assert!(!rule.is_needed_by(Role::Unspecified));
        }
        assert!(Rule::ALL.is_sorted_by(|a, b| a < b));
        assert!(Rule::Cr9 < Rule::Cr10 && Rule::Cr10 < Rule::Dl1);
    }

    #[test]
    fn a_rule_has_the_facts_of_its_definition() {
        let facts = |rule: Rule| (rule.document(), rule.level(), rule.is_needed_by(Role::Pusher));
        assert_eq!(facts(Rule::Cr3), ("SPEC.md", Level::Must, false));
        assert_eq!(facts(Rule::Rc4), ("SPEC.md", Level::May, false));
        assert_eq!(facts(Rule::Rd10), ("docs/IMPLEMENTATION.md", Level::Should, true));
        assert!(!Rule::Rd10.is_needed_by(Role::Puller));
        assert_eq!(format!("{:>7} {:<7}|", Rule::Oc10, Level::Should), "  OC-10 SHOULD |");
    }

    #[test]
    fn a_text_that_is_not_an_id_is_named() {
        for text in ["", "cr-1", "Cr1", "CR-0", "CR-01", "CR-1 ", "CRX-1"] {
            let error = Rule::try_from(text).unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")) && error.contains("`CR-1`"), "{error}");
        }
        let long = "x\n".repeat(1_000).parse::<Rule>().unwrap_err().to_string();
        assert!(long.len() < 200 && !long.contains('\n'), "{long}");
    }
}
