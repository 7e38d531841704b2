//! The properties that must hold, one file for each. The checkers see the history, and only the settings of the
//! scenario.

mod account;
mod bounds;
mod facts;
mod grants;
mod outcomes;
mod peace;
mod redelivery;
mod silence;

use std::time::Duration;

use self::facts::Facts;
use super::{history::Process, scenario::Scenario, world::Played};

/// The violations found.
#[derive(Debug, Default)]
pub struct Faults(Vec<String>);

impl Faults {
    fn add(&mut self, rule: &str, text: impl Into<String>) {
        self.0.push(format!("{rule}: {}", text.into()));
    }

    /// Returns a function that records violations by one process at one time.
    fn of(&mut self, who: Process, at: Duration) -> impl FnMut(&str, String) {
        move |rule, text| {
            self.0.push(format!("{rule}: host {}, life {}, at {at:?}: {text}", who.host, who.life));
        }
    }
}

/// All violations, each with its rule or invariant.
#[must_use]
pub fn check(scenario: &Scenario, played: &Played) -> Vec<String> {
    let mut faults = Faults::default();
    let facts = Facts::new(&played.history);
    account::check(scenario, &played.history, &mut faults);
    grants::check(scenario, &played.history, &mut faults);
    outcomes::check(scenario, &played.history, &facts, &mut faults);
    redelivery::check(scenario, &played.history, &facts, &mut faults);
    bounds::check(scenario, &played.history, &mut faults);
    peace::check(scenario, played, &facts, &mut faults);
    faults.0
}
