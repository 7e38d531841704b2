//! Simulations of deterministic subsets, and the same checks of worse algorithms, which must fail.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};

use tidegate_proto::{Random, Subsets};

/// The names of the pushers that each puller connects to.
type Links = Vec<BTreeSet<String>>;
/// An algorithm: pushers, size of a subset, number of pullers.
type Algorithm = fn(&[String], usize, usize) -> Links;

fn named(pushers: &[String], positions: Vec<usize>) -> BTreeSet<String> {
    positions.into_iter().map(|position| pushers[position].clone()).collect()
}

fn subsets(pushers: &[String], size: usize, pullers: usize) -> Links {
    Subsets::new(pushers, size).take(pullers).map(|chosen| named(pushers, chosen)).collect()
}

/// Rendezvous hashing: each puller takes the pushers with the lowest hashes.
fn rendezvous(pushers: &[String], size: usize, pullers: usize) -> Links {
    let seeds: Vec<u64> = pushers.iter().map(|name| number(name)).collect();
    let one = |puller: usize| {
        let mut order: Vec<usize> = (0..pushers.len()).collect();
        let salt = Random::new(puller as u64).next_u64();
        order.sort_by_cached_key(|&at| Random::new(seeds[at] ^ salt).next_u64());
        order.truncate(size);
        named(pushers, order)
    };
    (0..pullers).map(one).collect()
}

/// Deals the sorted list in turn: perfectly even, and everything shifts when a pusher comes or goes.
fn dealt(pushers: &[String], size: usize, pullers: usize) -> Links {
    let mut sorted = pushers.to_vec();
    sorted.sort();
    let one =
        |puller: usize| (0..size).map(|link| sorted[(puller * size + link) % sorted.len()].clone()).collect();
    (0..pullers).map(one).collect()
}

fn number(name: &str) -> u64 {
    name.bytes().fold(7, |sum, byte| Random::new(sum ^ u64::from(byte)).next_u64())
}

fn names(seed: u64, count: usize) -> Vec<String> {
    let mut random = Random::new(seed);
    (0..count).map(|at| format!("tcp://pusher-{at}-{:x}.jobs.example:8433", random.next_u64())).collect()
}

/// What a simulation has measured.
#[derive(Debug)]
struct Measured {
    share: f64,
    least: usize,
    most: usize,
    /// The largest number of links that one change of the pushers closed or opened.
    changes: usize,
}

fn measure(
    algorithm: Algorithm,
    pushers: &[String],
    size: usize,
    pullers: usize,
    others: &[String],
) -> Measured {
    let links = algorithm(pushers, size, pullers);
    assert!(links.iter().all(|chosen| chosen.len() == size.min(pushers.len())));
    let mut loads: BTreeMap<&str, usize> = pushers.iter().map(|name| (name.as_str(), 0)).collect();
    for name in links.iter().flatten() {
        *loads.get_mut(name.as_str()).unwrap() += 1;
    }
    let mut changes = 0;
    for (at, other) in others.iter().enumerate() {
        let mut left = pushers.to_vec();
        left.remove(at * 97 % pushers.len());
        let mut joined = pushers.to_vec();
        joined.insert(at * 89 % pushers.len(), other.clone());
        for after in [left, joined] {
            let after = algorithm(&after, size, pullers);
            let count = |old: &Links, new: &Links| -> usize {
                old.iter().zip(new).map(|(old, new)| old.difference(new).count()).sum()
            };
            changes = changes.max(count(&links, &after)).max(count(&after, &links));
        }
    }
    let share = loads.values().sum::<usize>() as f64 / pushers.len() as f64;
    let (least, most) = (*loads.values().min().unwrap(), *loads.values().max().unwrap());
    Measured { share, least, most, changes }
}

/// The properties that `Subsets` documents. Returns those that do not hold.
fn broken(measured: &Measured, size: usize) -> Vec<&'static str> {
    let Measured { share, least, most, changes } = *measured;
    let even =
        if share < 20.0 { most as f64 <= share.ceil() + 4.0 } else { most as f64 <= (1.2 * share).ceil() };
    let within = [
        (share < 1.0 || least > 0, "every pusher has a puller"),
        (even, "links per pusher"),
        (share < 20.0 || least as f64 >= 0.7 * share, "fewest links of a pusher"),
        (changes as f64 <= 2.0 * share.max(size as f64), "changes"),
    ];
    within.into_iter().filter(|(ok, _)| !ok).map(|(_, property)| property).collect()
}

fn check(pushers: usize, pullers: usize, size: usize, seed: u64, changes: usize) -> Measured {
    let all = names(seed, pushers + changes);
    let (given, others) = all.split_at(pushers);
    let measured = measure(subsets, given, size, pullers, others);
    println!("seed {seed}: {pushers} pushers, {pullers} pullers, {size} each: {measured:?}");
    assert_eq!(broken(&measured, size), [""; 0], "{measured:?}");
    measured
}

#[test]
fn a_thousand_pullers_link_to_twenty_of_a_thousand_pushers_evenly_and_few_links_change() {
    for seed in [1, 2, 3] {
        let measured = check(1_000, 1_000, 20, seed, 20);
        assert!(measured.most <= 24, "more than 1.2 x 20: {measured:?}");
        assert!(measured.changes <= 40, "more than 2 x 20: {measured:?}");
    }
}

#[test]
fn subsets_are_even_and_stable_for_other_numbers_of_pushers_and_pullers() {
    for (pushers, pullers, size) in [
        (30, 500, 20),
        (500, 30, 20),
        (500, 25, 20), // just enough
        (7, 3, 20),
        (7, 3, 2),
        (1, 5, 20),
        (21, 100, 20),
        (200, 1_000, 20),
        (300, 100, 5),
        (100, 100, 5),
    ] {
        check(pushers, pullers, size, 3, 6);
    }
}

#[test]
fn the_checks_reject_rendezvous_hashing_and_dealing_in_turn() {
    let all = names(4, 302);
    let (given, others) = all.split_at(300);
    let measured = measure(rendezvous, given, 20, 300, others);
    println!("rendezvous: {measured:?}");
    let expected = ["links per pusher", "fewest links of a pusher"];
    assert_eq!(broken(&measured, 20), expected);
    let measured = measure(rendezvous, given, 20, 18, &[]);
    assert_eq!(broken(&measured, 20), ["every pusher has a puller"]);
    let measured = measure(dealt, given, 20, 300, others);
    println!("dealt in turn: {measured:?}");
    assert_eq!(broken(&measured, 20), ["changes"]);
}

#[test]
fn a_puller_that_joins_or_leaves_changes_only_its_own_links() {
    let given = names(5, 300);
    let few = subsets(&given, 20, 50);
    let more = subsets(&given, 20, 51);
    assert_eq!(few[..], more[..50]);
    let alone = Subsets::new(&given, 20).nth(50).map(|chosen| named(&given, chosen));
    assert_eq!(alone.as_ref(), more.get(50), "it does not need the others");
}

#[test]
fn neither_the_order_of_the_list_nor_repeated_names_matter() {
    let given = names(6, 100);
    let mut mixed: Vec<String> = given.iter().rev().cloned().collect();
    mixed.extend_from_slice(&given[..30]);
    mixed.rotate_left(17);
    assert_eq!(subsets(&given, 20, 40), subsets(&mixed, 20, 40));
    let chosen = Subsets::new(&["b", "a", "b", "a"], 3).nth(9).unwrap();
    assert_eq!(chosen, [0, 1], "the first position of each name");
}

#[test]
fn few_pushers_are_all_chosen_and_none_gives_empty_subsets() {
    assert_eq!(Subsets::new(&["a", "b", "c"], 3).nth(2), Some(vec![0, 1, 2]));
    assert_eq!(Subsets::new(&["a"], 20).next(), Some(vec![0]));
    assert_eq!(Subsets::new::<&str>(&[], 20).nth(3), Some(vec![]));
    assert_eq!(Subsets::new(&["a", "b"], 0).next(), Some(vec![]));
}

#[test]
fn a_subset_is_the_same_in_every_version_of_the_crate() {
    // During an update of the crate, processes with the old and the new version must choose alike.
    let given: Vec<String> = (0..40).map(|at| format!("tcp://pusher-{at}:8433")).collect();
    let chosen: Vec<Vec<usize>> = Subsets::new(&given, 4).take(12).collect();
    assert_eq!((&chosen[0], &chosen[11]), (&vec![16, 25, 27, 39], &vec![7, 22, 25, 34]));
}
