//! How many tests passed and failed, parsed from the output of the test programs.

use std::fmt;

/// Numbers of tests. Displayed as `N passed, N failed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Counts {
    /// Adds the numbers of a line of `cargo test`, if it is the last line of a test program: `test result:
    /// ok. 3 passed; 0 failed; 1 ignored; …`.
    pub(crate) fn read_rust(&mut self, line: &str) {
        let Some((_, numbers)) =
            line.strip_prefix("test result: ").and_then(|result| result.split_once(". "))
        else {
            return;
        };
        for part in numbers.split("; ") {
            let Some((number, word)) = part.split_once(' ') else { continue };
            let number = number.parse::<u64>().unwrap_or(0);
            match word {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {}
            }
        }
    }

    /// Adds the numbers of `other`.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// Parses the output of `python -m unittest`: `Ran 12 tests in 0.5s`, and then `OK (skipped=1)` or `FAILED
/// (failures=1, errors=2)`.
#[derive(Debug, Default)]
pub(crate) struct PythonCounts {
    ran: u64,
}

impl PythonCounts {
    /// The counts, if `line` is the last line of the output.
    pub(crate) fn read(&mut self, line: &str) -> Option<Counts> {
        if let Some((number, _)) = line.strip_prefix("Ran ").and_then(|rest| rest.split_once(" test")) {
            self.ran = number.parse().unwrap_or(0);
            return None;
        }
        let (word, details) = line.split_once(' ').unwrap_or((line, ""));
        if !matches!(word, "OK" | "FAILED") || (!details.is_empty() && !details.starts_with('(')) {
            return None;
        }
        let mut counts = Counts::default();
        for part in details.trim_matches(['(', ')']).split(", ") {
            let Some((what, number)) = part.split_once('=') else { continue };
            let number = number.parse::<u64>().unwrap_or(0);
            match what {
                "failures" | "errors" | "unexpected successes" => counts.failed += number,
                "skipped" | "expected failures" => counts.skipped += number,
                _ => {}
            }
        }
        counts.passed = self.ran.saturating_sub(counts.failed + counts.skipped);
        Some(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_rust_tests_are_added() {
        let mut counts = Counts::default();
        for line in [
            "running 4 tests",
            "test a ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.00s",
            "test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s",
            "error: test failed, to rerun pass `-p x`",
        ] {
            counts.read_rust(line);
        }
        assert_eq!(counts, Counts { passed: 13, failed: 2, skipped: 1 });
        assert_eq!(counts.to_string(), "13 passed, 2 failed");
    }

    #[test]
    fn results_of_python_tests_are_parsed() {
        let read = |lines: [&str; 2]| {
            let mut python = PythonCounts::default();
            lines.into_iter().filter_map(|line| python.read(line)).last()
        };
        for (status, passed, failed, skipped) in [
            ("OK", 12, 0, 0),
            ("OK (skipped=2)", 10, 0, 2),
            ("FAILED (failures=1)", 11, 1, 0),
            ("FAILED (failures=1, errors=2, skipped=3, expected failures=1)", 5, 3, 4),
        ] {
            let expected = Counts { passed, failed, skipped };
            assert_eq!(read(["Ran 12 tests in 0.512s", status]), Some(expected), "{status}");
        }
        assert_eq!(read(["Ran 1 test in 0.001s", "OK"]), Some(Counts { passed: 1, failed: 0, skipped: 0 }));
        assert_eq!(read(["OK then, on we go", "FAILED to be a status"]), None);
        assert_eq!(read(["Ran 0 tests in 0.000s", "NO TESTS RAN"]), None);
    }
}
