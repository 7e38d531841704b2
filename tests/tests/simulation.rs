//! The real library on a simulated network: see `tests/src/simulation`.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)] // a test may stop at once
use std::{env, fmt::Write as _, fs};

use tidegate_tests::{
    seeds,
    simulation::{
        check::check,
        scenario::Scenario,
        world::{Played, play},
    },
};

/// These take about 20 s in a debug build on an idle machine.
const SEEDS: u64 = 130;

#[test]
fn nothing_is_lost_and_every_rule_holds_whatever_the_network_does() {
    seeds::each("--test simulation nothing_is_lost", SEEDS, |seed| {
        let scenario = Scenario::new(seed);
        let played = play(&scenario);
        let faults = check(&scenario, &played);
        if !faults.is_empty() {
            trace(&scenario, &played);
            panic!("{} rules did not hold:\n{}", faults.len(), faults.join("\n"));
        }
    });
}

#[test]
fn a_seed_reproduces_its_history_so_that_a_failure_can_be_replayed() {
    seeds::each("--test simulation a_seed_reproduces", 8, |seed| {
        let scenario = Scenario::new(seed);
        let [one, other] = [play(&scenario), play(&scenario)].map(|played| played.history);
        let different =
            one.entries.iter().zip(&other.entries).position(|(a, b)| format!("{a:?}") != format!("{b:?}"));
        if let Some(at) = different {
            panic!(
                "the histories differ first at entry {at}:\n{:?}\n{:?}",
                one.entries[at], other.entries[at]
            );
        }
        assert_eq!(one.fingerprint(), other.fingerprint());
        assert!(!one.entries.is_empty(), "the history is empty");
    });
}

/// With `TIDEGATE_TRACE=FILE`, writes the history to this file when a seed fails.
fn trace(scenario: &Scenario, played: &Played) {
    let Some(path) = env::var_os("TIDEGATE_TRACE") else { return };
    let mut text = format!("{scenario:#?}\n");
    for entry in &played.history.entries {
        let who =
            entry.who.map_or_else(|| "the world".to_owned(), |who| format!("{}/{}", who.host, who.life));
        writeln!(text, "{:?} {who} {:?}", entry.at, entry.what).unwrap();
    }
    fs::write(path, text).unwrap();
}
