//! Files that keep messages: `--dead-letter` and `--unsent`.

use std::path::Path;

use anyhow::Context as _;

use crate::append::AppendFile;
use crate::records::Framing;

/// Collected bytes are written when there are as many.
const BUFFER: usize = 64 * 1024;

/// A file to which records are appended. Appended, so that a daemon that is started again destroys nothing.
pub(crate) struct Appended {
    file: AppendFile,
    buffer: Vec<u8>,
}

impl Appended {
    /// Opens the file, and makes it if it is not there.
    ///
    /// # Errors
    /// When that is not possible; the error names `flag`.
    pub(crate) fn open(flag: &str, path: &Path, framing: Framing) -> anyhow::Result<Self> {
        Ok(Self { file: AppendFile::open(flag, path, framing)?, buffer: Vec::new() })
    }

    /// Adds a record, which may stay in memory until [`Appended::finish`].
    ///
    /// # Errors
    /// When a write fails.
    pub(crate) fn append(&mut self, record: &[u8]) -> anyhow::Result<()> {
        self.file.framing().put(&mut self.buffer, record).with_context(|| self.file.name().to_owned())?;
        if self.buffer.len() >= BUFFER { self.finish() } else { Ok(()) }
    }

    /// Writes what is still in memory.
    ///
    /// # Errors
    /// When that fails; it is forgotten then.
    pub(crate) fn finish(&mut self) -> anyhow::Result<()> {
        let written = self.file.write(&self.buffer);
        self.buffer.clear();
        written.with_context(|| format!("{}: cannot write it", self.file.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_appended_to_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kept");
        for round in ["one", "two"] {
            let mut file = Appended::open("--unsent", &path, Framing::Newline).unwrap();
            file.append(round.as_bytes()).unwrap();
            file.append(b"").unwrap();
            file.finish().unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\n\ntwo\n\n");
    }

    #[test]
    fn a_path_that_cannot_be_opened_is_named_with_its_flag() {
        let dir = tempfile::tempdir().unwrap();
        let error =
            Appended::open("--dead-letter", &dir.path().join("no/such"), Framing::Null).err().unwrap();
        assert!(error.to_string().starts_with("--dead-letter "));
    }
}
