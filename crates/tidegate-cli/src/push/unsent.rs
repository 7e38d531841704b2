//! The file of `--unsent`: the messages that are left when a pusher stops.
//!
//! It is first written when the pusher begins to wait for its last outcomes, and again while they arrive, so
//! that a process that is killed meanwhile has saved its messages. Each write atomically replaces the whole
//! file by its original content and what is left now. A file that cannot be replaced (a pipe, a device, a
//! directory without write permission) is written once, at the end.

use std::fs::{File, Metadata};
use std::io::{self, BufWriter, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::input::{Incomplete, TooLong};
use crate::append::{AppendFile, FromStart, stream};
use crate::records::Framing;

/// Size of the write buffer, in bytes.
const MAX_BUFFER: usize = 64 * 1024;

/// What the file gets after its original content.
#[derive(Default)]
pub(crate) struct UnsentRecords {
    /// Complete records.
    pub(crate) records: Vec<Bytes>,
    /// Then the records that are in files, because they are too large.
    pub(crate) too_large: Vec<Arc<TooLong>>,
    /// Then the beginning of an incomplete record, as a separate record.
    pub(crate) incomplete: Option<Incomplete>,
}

/// The file. All methods block.
pub(crate) struct Unsent {
    /// Locked if it can be replaced.
    file: AppendFile,
    /// The path without symbolic links: a replacement would replace the link.
    path: PathBuf,
    /// The length of the original content, if the file can be replaced.
    base: Option<u64>,
}

impl Unsent {
    /// Uses an open file.
    ///
    /// # Errors
    /// If another pusher uses it for the same purpose.
    pub(crate) fn new(file: AppendFile, path: &Path) -> anyhow::Result<Self> {
        // Other processes may have a standard stream open, and would continue to write to the replaced file.
        let whole = |data: &Metadata| data.is_file() && data.nlink() == 1 && stream(path).is_none();
        let metadata = file.file().metadata().ok().filter(whole);
        let mut base = metadata.map(|data| data.len());
        if base.is_some() {
            match flock(file.file(), FlockOperation::NonBlockingLockExclusive) {
                // The file may have been replaced since it was opened.
                Ok(()) if is_at(file.file(), path) => {}
                Ok(()) | Err(Errno::WOULDBLOCK) => {
                    bail!("{}: another pusher uses it; each pusher needs its own file", file.name())
                }
                // Not every file system supports locks.
                Err(_) => base = None,
            }
        }
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        Ok(Self { file, path, base })
    }

    /// Whether [`Self::save`] may be called before the end.
    pub(crate) fn is_replaceable(&self) -> bool {
        self.base.is_some()
    }

    /// The option and the path, for messages.
    pub(crate) fn name(&self) -> &str {
        self.file.name()
    }

    /// Replaces what the last call has written by what is left now. A file that cannot be replaced is
    /// appended to, but only by the last call. Returns whether anything was written.
    ///
    /// # Errors
    /// If that fails. The file is then unchanged.
    pub(crate) fn save(&mut self, left: &UnsentRecords, last: bool) -> anyhow::Result<bool> {
        let replaced = match self.base {
            Some(base) => match self.replace(base, left) {
                Err(error) if is_refused(&error) => {
                    self.base = None;
                    Ok(false)
                }
                other => other.map(|()| true),
            },
            None => Ok(false),
        };
        let saved = match replaced {
            Ok(false) if last => self.append(left).map(|()| true),
            other => other,
        };
        saved.with_context(|| format!("{}: cannot write it", self.file.name()))
    }

    fn replace(&mut self, base: u64, left: &UnsentRecords) -> io::Result<()> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let temporary = tempfile::Builder::new().prefix(".tidegate-unsent-").tempfile_in(directory)?;
        let before = self.before(base)?;
        let mut out = BufWriter::with_capacity(MAX_BUFFER, temporary.as_file());
        let mut length = 0;
        if let Some((file, data, base)) = before {
            length = io::copy(&mut file.take(base), &mut out)?;
            // Keeps the owner if this process is root. Other users may not give files away, and do not need
            // to.
            let _ = std::os::unix::fs::fchown(out.get_ref(), Some(data.uid()), Some(data.gid()));
            out.get_ref().set_permissions(data.permissions())?;
        }
        write(&mut out, self.file.framing(), left)?;
        out.flush()?;
        drop(out);
        temporary.as_file().sync_all()?;
        temporary.persist(&self.path).map_err(|error| error.error)?;
        // The name is stored in the directory, which must be synced too. Not every system supports that.
        let _ = File::open(directory).and_then(|directory| directory.sync_all());
        self.base = Some(length);
        self.file.reopen().map_err(io::Error::other)?;
        // The lock belonged to the open file that was just closed.
        let _ = flock(self.file.file(), FlockOperation::NonBlockingLockExclusive);
        Ok(())
    }

    /// The file that has the name now, and how many of its bytes are kept.
    fn before(&self, base: u64) -> io::Result<Option<(File, Metadata, u64)>> {
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let (data, ours) = (file.metadata()?, self.file.file().metadata()?);
        let same = (data.dev(), data.ino()) == (ours.dev(), ours.ino());
        // Another process has put another file there: all of its content is kept.
        let base = if same { base } else { data.len() };
        Ok(Some((file, data, base)))
    }

    fn append(&mut self, left: &UnsentRecords) -> io::Result<()> {
        let mut buffer = Vec::new();
        for record in &left.records {
            self.file.framing().put(&mut buffer, record)?;
            if buffer.len() >= MAX_BUFFER {
                self.file.write(&buffer)?;
                buffer.clear();
            }
        }
        for record in &left.too_large {
            if let Some(kept) = &record.kept {
                self.file.write(&std::mem::take(&mut buffer))?;
                self.file.copy(kept, record.length, b"")?;
            }
        }
        match &left.incomplete {
            Some(Incomplete { kept: Some(kept), got, bytes, .. }) if *got > 0 => {
                self.file.write(&buffer)?;
                self.file.copy(kept, got.saturating_sub(bytes.len() as u64), bytes)
            }
            Some(Incomplete { bytes, .. }) if !bytes.is_empty() => {
                self.file.framing().put(&mut buffer, bytes)?;
                self.file.write(&buffer)
            }
            _ => self.file.write(&buffer),
        }
    }
}

fn write(out: &mut impl io::Write, framing: Framing, left: &UnsentRecords) -> io::Result<()> {
    let mut framed = Vec::new();
    let mut put = |out: &mut dyn io::Write, record: &[u8]| {
        framed.clear();
        framing.put(&mut framed, record)?;
        out.write_all(&framed)
    };
    for record in &left.records {
        put(out, record)?;
    }
    for record in &left.too_large {
        if let Some(kept) = &record.kept {
            copy(out, framing, kept, record.length, b"")?;
        }
    }
    match &left.incomplete {
        Some(Incomplete { kept: Some(kept), got, bytes, .. }) if *got > 0 => {
            copy(out, framing, kept, got.saturating_sub(bytes.len() as u64), bytes)
        }
        Some(Incomplete { bytes, .. }) if !bytes.is_empty() => put(out, bytes),
        _ => Ok(()),
    }
}

/// Writes the first `length` bytes of `from`, followed by `more`, as one record.
fn copy(out: &mut impl io::Write, framing: Framing, from: &File, length: u64, more: &[u8]) -> io::Result<()> {
    let (before, after) = framing.around(length + more.len() as u64)?;
    out.write_all(&before)?;
    io::copy(&mut FromStart::new(from).take(length), out)?;
    out.write_all(more)?;
    out.write_all(&after)
}

/// Whether `path` names the open file.
fn is_at(file: &File, path: &Path) -> bool {
    let Ok(there) = std::fs::metadata(path) else { return false };
    file.metadata().is_ok_and(|data| (data.dev(), data.ino()) == (there.dev(), there.ino()))
}

/// Whether the directory, and not the disk, prevents replacing the file.
fn is_refused(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::ResourceBusy
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unsent(path: &Path) -> Unsent {
        Unsent::new(AppendFile::open("--unsent", path, Framing::Newline).unwrap(), path).unwrap()
    }

    fn left(records: &[&'static str]) -> UnsentRecords {
        let records = records.iter().map(|record| Bytes::from_static(record.as_bytes())).collect();
        UnsentRecords { records, ..UnsentRecords::default() }
    }

    #[test]
    fn each_save_replaces_the_one_before_and_keeps_the_original_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("unsent");
        std::fs::write(&path, "from\nbefore").unwrap();
        let mut file = unsent(&path);
        for (records, content) in [
            (&["1", "2", "3"][..], "from\nbefore\n1\n2\n3\n"),
            (&["2"], "from\nbefore\n2\n"),
            (&[], "from\nbefore\n"),
        ] {
            file.save(&left(records), false).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        }
        let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "no temporary file stays: {names:?}");
    }

    #[test]
    fn the_beginning_of_a_record_is_written_as_the_last_record() {
        let incomplete = |bytes: &'static [u8], prefix, kept: Option<&[u8]>| {
            let kept = kept.map(|bytes| {
                let mut file = tempfile::tempfile().unwrap();
                file.write_all(bytes).unwrap();
                file
            });
            let got = kept.as_ref().map_or(bytes.len() as u64, |_| 3);
            Some(Incomplete {
                input: String::new(),
                record: 2,
                got,
                prefix,
                bytes: Bytes::from_static(bytes),
                kept,
            })
        };
        for (framing, incomplete, content) in [
            (Framing::Newline, incomplete(b"hal", 0, None), &b"1\nhal\n"[..]),
            (Framing::Null, incomplete(b"hal", 0, None), b"1\0hal\0"),
            (Framing::LengthPrefixed, incomplete(b"hal", 0, None), b"\0\0\0\x011\0\0\0\x03hal"),
            (Framing::LengthPrefixed, incomplete(b"", 2, None), b"\0\0\0\x011"),
            (Framing::LengthPrefixed, incomplete(b"", 0, Some(b"halx")), b"\0\0\0\x011\0\0\0\x03hal"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("unsent");
            let file = AppendFile::open("--unsent", &path, framing).unwrap();
            let mut unsent = Unsent::new(file, &path).unwrap();
            let left = UnsentRecords { incomplete, ..left(&["1"]) };
            unsent.save(&left, false).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), content);
            std::fs::write(&path, "").unwrap();
            unsent.base = None;
            unsent.save(&left, false).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"", "only the last one is appended");
            unsent.save(&left, true).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), content);
        }
    }

    #[test]
    fn a_file_that_another_pusher_uses_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("unsent");
        let mut first = unsent(&path);
        first.save(&left(&["1"]), false).unwrap();
        let again = AppendFile::open("--unsent", &path, Framing::Newline).unwrap();
        let error = Unsent::new(again, &path).err().unwrap().to_string();
        assert!(error.contains("--unsent") && error.contains("another pusher"), "{error}");
        drop(first);
        unsent(&path);
    }

    #[test]
    fn a_symbolic_link_and_the_mode_are_kept() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("unsent"), dir.path().join("link"));
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        unsent(&link).save(&left(&["1"]), true).unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(std::fs::read(&path).unwrap(), b"1\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn a_file_that_cannot_be_replaced_is_appended_to_at_the_end() {
        let path = Path::new("/dev/null");
        let mut file = unsent(path);
        assert!(!file.is_replaceable());
        assert!(!file.save(&left(&["1"]), false).unwrap(), "nothing is written yet");
        assert!(file.save(&left(&["1"]), true).unwrap());
        let error = unsent(Path::new("/dev/full")).save(&left(&["1"]), true).unwrap_err();
        assert!(error.to_string().contains("--unsent /dev/full"), "{error}");
    }
}
