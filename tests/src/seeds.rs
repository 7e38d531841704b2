//! Randomised tests: so many seeds by default, one to replay, or fresh ones until a soak is over.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `TIDEGATE_SEED=n` | only this seed |
//! | `TIDEGATE_SOAK_SECONDS=n` | fresh seeds for so long, from a beginning that is drawn and printed |

// It stops a test at what it is told wrong, and its output is a test's.
#![allow(clippy::panic, clippy::print_stdout)]

use std::{
    env,
    hash::{BuildHasher, RandomState},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::{Duration, Instant},
};

/// The one seed that is asked for, if it is.
#[must_use]
pub fn replayed() -> Option<u64> {
    number("TIDEGATE_SEED")
}

/// How long a soak may take for one test, if this is one.
#[must_use]
pub fn soak() -> Option<Duration> {
    number("TIDEGATE_SOAK_SECONDS").map(Duration::from_secs)
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}, but must be a whole number")))
}

/// Runs `check` with the seeds 0 … `count` − 1, or as the environment says. `test` is what `cargo test` calls it:
/// `"--test simulation nothing_is_lost"`. What fails is told with its seed and the command that runs it again.
///
/// # Panics
/// As `check` does.
pub fn each(test: &str, count: u64, check: impl Fn(u64)) {
    if let Some(seed) = replayed() {
        return one(test, seed, &check);
    }
    let Some(time) = soak() else {
        (0..count).for_each(|seed| one(test, seed, &check));
        return println!("{test}: {count} seeds");
    };
    let (first, started) = (RandomState::new().hash_one(test) >> 16, Instant::now());
    // At once: a seed may bring down the process with it.
    println!("{test}: seeds from {first} on");
    let mut seeds = 0;
    while started.elapsed() < time {
        one(test, first + seeds, &check);
        seeds += 1;
    }
    println!("{test}: {seeds} seeds from {first} on, in {:.0} s", started.elapsed().as_secs_f64());
}

fn one(test: &str, seed: u64, check: &impl Fn(u64)) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(seed))) {
        println!("failed with seed {seed}; again: TIDEGATE_SEED={seed} cargo test -p tidegate-tests {test}");
        resume_unwind(panic);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn without_being_told_otherwise_it_runs_the_first_seeds() {
        let seen = RefCell::new(Vec::new());
        each("--lib seeds", 3, |seed| seen.borrow_mut().push(seed));
        if replayed().is_none() && soak().is_none() {
            assert_eq!(seen.into_inner(), [0, 1, 2]);
        }
    }

    #[test]
    fn a_failure_comes_through() {
        assert!(catch_unwind(|| each("--lib seeds", 3, |_| panic!("it broke"))).is_err());
    }
}
