//! The result for a file, and its form as a message.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};
use tidegate::{Headers, Message};

/// How much is read between two yields, in bytes.
const CHUNK: usize = 256 * 1024;

/// The result for one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileResult {
    /// Its SHA-256, in hexadecimal.
    Hash(String),
    /// The file is gone or unreadable; this is a valid result.
    Unreadable,
}

impl FileResult {
    /// Hashes a file.
    pub(crate) async fn of(path: &Path) -> Self {
        match hash(path).await {
            Ok(hash) => FileResult::Hash(hash),
            Err(_) => FileResult::Unreadable,
        }
    }

    fn text(&self) -> &str {
        match self {
            FileResult::Hash(hash) => hash,
            FileResult::Unreadable => "unreadable",
        }
    }
}

async fn hash(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; CHUNK];
    let mut digest = Sha256::new();
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(hex(&digest.finalize()));
        }
        digest.update(buffer.get(..n).unwrap_or_default());
        tokio::task::yield_now().await;
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A result on its way to the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) path: PathBuf,
    pub(crate) worker: String,
    /// The attempt of the delivery that the worker received.
    pub(crate) attempt: u32,
    pub(crate) outcome: FileResult,
}

impl Report {
    /// The message: the path, with the rest in headers.
    pub(crate) fn to_message(&self) -> Message {
        let message = Message::new(self.path.as_os_str().as_bytes().to_vec())
            .with_header("worker", self.worker.clone())
            .with_header("attempt", self.attempt.to_string());
        match &self.outcome {
            FileResult::Hash(hash) => message.with_header("sha256", hash.clone()),
            FileResult::Unreadable => message.with_header("unreadable", ""),
        }
    }

    /// Parses a message of [`Report::to_message`].
    ///
    /// # Errors
    /// If it is another kind of message.
    pub(crate) fn read(payload: &[u8], headers: &Headers) -> anyhow::Result<Self> {
        let text = |name: &str| -> anyhow::Result<String> {
            let value = headers.get(name).with_context(|| format!("a result without the header {name}"))?;
            Ok(String::from_utf8(value.to_vec())?)
        };
        let outcome = match (headers.get("sha256"), headers.get("unreadable")) {
            (Some(_), None) => FileResult::Hash(text("sha256")?),
            (None, Some(_)) => FileResult::Unreadable,
            _ => bail!("a result that is neither a hash nor `unreadable`"),
        };
        Ok(Self {
            path: PathBuf::from(OsStr::from_bytes(payload)),
            worker: text("worker")?,
            attempt: text("attempt")?.parse().context("a result whose attempt is not a number")?,
            outcome,
        })
    }
}

/// The result for each file, once.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileResults(BTreeMap<PathBuf, FileResult>);

impl FileResults {
    /// Adds the result for a file. If there is one already, it is kept and returned.
    pub(crate) fn insert(&mut self, path: &Path, outcome: FileResult) -> Option<&FileResult> {
        if self.0.contains_key(path) {
            return self.0.get(path);
        }
        self.0.insert(path.to_owned(), outcome);
        None
    }

    /// The number of results.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is a result for this file.
    pub(crate) fn has(&self, path: &Path) -> bool {
        self.0.contains_key(path)
    }

    /// One digest of all results, in the order of the paths.
    pub(crate) fn digest(&self) -> String {
        let mut digest = Sha256::new();
        for (path, outcome) in &self.0 {
            // No path contains NUL, so different lists give different bytes.
            digest.update(path.as_os_str().as_bytes());
            digest.update([0]);
            digest.update(outcome.text());
            digest.update([0]);
        }
        hex(&digest.finalize())
    }

    /// Names up to three files with different results.
    pub(crate) fn differences(&self, other: &Self) -> String {
        let differing = self.0.iter().filter(|(path, outcome)| other.0.get(*path) != Some(*outcome));
        let named: Vec<String> = differing.map(|(path, _)| path.display().to_string()).take(3).collect();
        named.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &Path) -> FileResult {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(FileResult::of(path))
    }

    #[test]
    fn a_file_gives_its_sha_256_and_a_missing_file_a_result_too() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("abc");
        std::fs::write(&file, "abc").unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of(&file), FileResult::Hash(expected.into()));
        assert_eq!(of(&dir.path().join("gone")), FileResult::Unreadable);
        assert_eq!(of(dir.path()), FileResult::Unreadable);
    }

    #[test]
    fn a_report_is_parsed_from_its_message() {
        for outcome in [FileResult::Hash("ab".into()), FileResult::Unreadable] {
            let path = PathBuf::from(OsStr::from_bytes(b"/not/\xffutf8\n"));
            let report = Report { path, worker: "worker-2".into(), attempt: 3, outcome };
            let message = report.to_message();
            assert_eq!(Report::read(message.payload(), message.headers()).unwrap(), report);
        }
        let message = Message::new("/path").with_header("worker", "w").with_header("attempt", "1");
        assert!(Report::read(message.payload(), message.headers()).is_err());
    }

    #[test]
    fn the_digest_depends_on_every_path_and_outcome_and_not_on_the_order() {
        let hash = |text: &str| FileResult::Hash(text.into());
        let build = |list: &[(&str, FileResult)]| {
            let mut outcomes = FileResults::default();
            for (path, outcome) in list {
                assert!(outcomes.insert(Path::new(path), outcome.clone()).is_none());
            }
            outcomes
        };
        let base = build(&[("a", hash("1")), ("b", hash("2"))]);
        assert_eq!(base.digest(), build(&[("b", hash("2")), ("a", hash("1"))]).digest());
        for other in [
            build(&[("a", hash("1"))]),
            build(&[("a", hash("1")), ("b", hash("3"))]),
            build(&[("a", hash("1")), ("c", hash("2"))]),
            build(&[("a", hash("1")), ("b", FileResult::Unreadable)]),
        ] {
            assert_ne!(base.digest(), other.digest());
            assert!(!base.differences(&other).is_empty());
        }
        assert_eq!(base.differences(&base), "");
    }

    #[test]
    fn the_first_outcome_of_a_file_stays() {
        let mut outcomes = FileResults::default();
        assert_eq!(outcomes.insert(Path::new("a"), FileResult::Hash("1".into())), None);
        assert_eq!(
            outcomes.insert(Path::new("a"), FileResult::Unreadable),
            Some(&FileResult::Hash("1".into()))
        );
        assert_eq!(outcomes.len(), 1);
    }
}
