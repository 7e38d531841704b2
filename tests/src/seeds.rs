//! Randomized tests: a default number of seeds, a single seed to replay, or new seeds for the duration of a soak.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `TIDEGATE_SEED=n` | only this seed |
//! | `TIDEGATE_SOAK_SECONDS=n` | new seeds for `n` seconds, counting up from a random seed, which is printed |

// A wrong variable must fail the test, and this code prints on behalf of tests.
#![allow(clippy::panic, clippy::print_stdout)]

use std::{
    env,
    hash::{BuildHasher, RandomState},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::{Duration, Instant},
};

/// The seed to replay, if `TIDEGATE_SEED` is set.
#[must_use]
pub fn replayed() -> Option<u64> {
    number("TIDEGATE_SEED")
}

/// How long a soak runs each test, if `TIDEGATE_SOAK_SECONDS` is set.
#[must_use]
pub fn soak() -> Option<Duration> {
    number("TIDEGATE_SOAK_SECONDS").map(Duration::from_secs)
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}, but must be a whole number")))
}

/// Runs `check` with the seeds 0 … `count` − 1, or as the environment variables say. `test` is the filter that selects
/// the test in `cargo test`, such as `"--test simulation nothing_is_lost"`. A failure is printed with its seed and the
/// command that repeats it.
///
/// # Panics
/// When `check` panics.
pub fn each(test: &str, count: u64, check: impl Fn(u64)) {
    if let Some(seed) = replayed() {
        return one(test, seed, &check);
    }
    let Some(time) = soak() else {
        (0..count).for_each(|seed| one(test, seed, &check));
        return println!("{test}: {count} seeds");
    };
    let (first, started) = (RandomState::new().hash_one(test) >> 16, Instant::now());
    // Print this before the first seed: a seed may abort the process.
    println!("{test}: seeds from {first}");
    let mut seeds = 0;
    while started.elapsed() < time {
        one(test, first + seeds, &check);
        seeds += 1;
    }
    println!("{test}: {seeds} seeds from {first}, in {:.0} s", started.elapsed().as_secs_f64());
}

fn one(test: &str, seed: u64, check: &impl Fn(u64)) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(seed))) {
        println!(
            "failed with seed {seed}; to repeat: TIDEGATE_SEED={seed} cargo test -p tidegate-tests {test}"
        );
        resume_unwind(panic);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn by_default_the_first_seeds_run() {
        let seen = RefCell::new(Vec::new());
        each("--lib seeds", 3, |seed| seen.borrow_mut().push(seed));
        if replayed().is_none() && soak().is_none() {
            assert_eq!(seen.into_inner(), [0, 1, 2]);
        }
    }

    #[test]
    fn a_failed_check_fails_the_test() {
        assert!(catch_unwind(|| each("--lib seeds", 3, |_| panic!("it broke"))).is_err());
    }
}
