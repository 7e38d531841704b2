//! What the sink counts: which worker has hashed each file, and how often.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::bail;
use tidegate::Delivery;

use super::outcome::{FileResults, Report};
use super::processes::WORKERS;

/// The results that have arrived.
pub(crate) struct Tally {
    expected: BTreeSet<PathBuf>,
    outcomes: FileResults,
    rows: Vec<Row>,
}

/// The results of one worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) speed: u32,
    /// Files whose first result came from this worker.
    pub(crate) files: u64,
    /// Results for paths that the worker received with an attempt above 1.
    pub(crate) redeliveries: u64,
    /// Results for files that had a result already; they are dropped.
    pub(crate) repeats: u64,
    pub(crate) killed: bool,
}

impl Tally {
    /// Expects one result for each file.
    pub(crate) fn new(files: &[PathBuf]) -> Self {
        let rows =
            WORKERS.iter().map(|(name, speed)| Row { name: (*name).into(), speed: *speed, ..Row::default() });
        Self {
            expected: files.iter().cloned().collect(),
            outcomes: FileResults::default(),
            rows: rows.collect(),
        }
    }

    /// Counts a result.
    ///
    /// # Errors
    /// If it is not a valid result, or contradicts an earlier one.
    pub(crate) fn add(&mut self, delivery: &Delivery) -> anyhow::Result<()> {
        self.count(Report::read(delivery.payload(), &delivery.headers())?)
    }

    fn count(&mut self, report: Report) -> anyhow::Result<()> {
        let Some(row) = self.rows.iter_mut().find(|row| row.name == report.worker) else {
            bail!("a result from a worker that does not exist: {}", report.worker);
        };
        if !self.expected.contains(&report.path) {
            bail!("a result for a file that was not sent: {}", report.path.display());
        }
        row.redeliveries += u64::from(report.attempt > 1);
        match self.outcomes.insert(&report.path, report.outcome.clone()) {
            None => row.files += 1,
            Some(first) if *first == report.outcome => row.repeats += 1,
            Some(_) => {
                bail!("two different results for {} (was the file changed meanwhile?)", report.path.display())
            }
        }
        Ok(())
    }

    /// Marks a worker as killed.
    pub(crate) fn killed(&mut self, name: &str) {
        self.rows.iter_mut().filter(|row| row.name == name).for_each(|row| row.killed = true);
    }

    /// Checks that no file is missing.
    ///
    /// # Errors
    /// If a file is missing.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let lost: Vec<_> = self.expected.iter().filter(|path| !self.outcomes.has(path)).collect();
        match lost.first() {
            None => Ok(()),
            Some(first) => bail!(
                "{} of {} results were lost, such as that of {}",
                lost.len(),
                self.expected.len(),
                first.display()
            ),
        }
    }

    /// The result for each file.
    pub(crate) fn outcomes(&self) -> &FileResults {
        &self.outcomes
    }

    /// The results of each worker.
    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::super::outcome::FileResult;
    use super::*;

    fn report(path: &str, worker: &str, attempt: u32, hash: &str) -> Report {
        Report { path: path.into(), worker: worker.into(), attempt, outcome: FileResult::Hash(hash.into()) }
    }

    fn tally() -> Tally {
        Tally::new(&["/a".into(), "/b".into()])
    }

    #[test]
    fn each_file_counts_once_and_duplicates_are_counted() {
        let mut tally = tally();
        tally.count(report("/a", "worker-1", 1, "1")).unwrap();
        assert!(tally.check().unwrap_err().to_string().contains("/b"));
        tally.count(report("/a", "worker-4", 2, "1")).unwrap();
        tally.count(report("/b", "worker-4", 1, "2")).unwrap();
        tally.check().unwrap();
        tally.killed("worker-1");
        let of = |name: &str| tally.rows().iter().find(|row| row.name == name).unwrap().clone();
        assert_eq!((of("worker-1").files, of("worker-1").killed), (1, true));
        let last = of("worker-4");
        assert_eq!((last.files, last.redeliveries, last.repeats, last.killed), (1, 1, 1, false));
        assert_eq!(of("worker-2").files, 0);
    }

    #[test]
    fn an_impossible_result_is_an_error() {
        let mut tally = tally();
        assert!(tally.count(report("/c", "worker-1", 1, "1")).is_err());
        assert!(tally.count(report("/a", "stranger", 1, "1")).is_err());
        tally.count(report("/a", "worker-1", 1, "1")).unwrap();
        assert!(tally.count(report("/a", "worker-1", 2, "other")).is_err());
    }
}
