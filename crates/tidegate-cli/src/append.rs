//! Appending records to files that other processes rotate, remove or read: `--output`, `--dead-letter` and
//! `--unsent`.
//!
//! ```text
//! open ──► write ──► write ──► reopen (SIGHUP, SIGUSR1) ──► write
//!            └── the file was removed: it is created again, and the bytes are written to the new file
//! ```

use std::fs::{File, Metadata};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};

use crate::ready::{self, For};
use crate::records::Framing;
use crate::{stdio, text};

/// The mode of a new file: messages may be confidential. An existing file keeps its mode.
const MODE: u32 = 0o600;
/// The user is told about a named pipe that has no reader or writer for this long.
pub(crate) const WARN_AFTER: Duration = Duration::from_millis(500);
/// How many times a file may be removed during a write before that is an error.
const MAX_REMOVALS: usize = 3;

/// A file to which whole records are appended. It can be reopened by its name after it was moved away.
pub(crate) struct AppendFile {
    file: File,
    path: PathBuf,
    /// The option and the path, for errors.
    name: String,
    framing: Framing,
}

impl AppendFile {
    /// Opens `path` to append records. A file that does not exist is created with mode 0600. If the last
    /// record of the file is not terminated, it is terminated first; otherwise the next record would become a
    /// part of it.
    ///
    /// Blocks while `path` is a named pipe without a reader. [`Self::open_waiting`] does not block the
    /// caller.
    ///
    /// # Errors
    /// If the file cannot be opened, or the last record cannot be terminated. The error names `option`.
    pub(crate) fn open(option: &str, path: &Path, framing: Framing) -> anyhow::Result<Self> {
        let name = format!("{option} {}", path.display());
        if let Some(why) = unusable_stream(path) {
            bail!("{name}: {why}");
        }
        let file = open(path, framing).with_context(|| format!("{name}: cannot open it"))?;
        Ok(Self { file, path: path.to_owned(), name, framing })
    }

    /// Opens a file as [`Self::open`] does, on another thread. Tells the user if that waits for the reader of
    /// a named pipe.
    ///
    /// If the future is dropped, the thread continues. A runtime that is shut down in the background does not
    /// wait for it.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub(crate) async fn open_waiting(
        option: &'static str,
        path: &Path,
        framing: Framing,
        quiet: bool,
    ) -> anyhow::Result<Self> {
        let owned = path.to_owned();
        let mut opening = tokio::task::spawn_blocking(move || Self::open(option, &owned, framing));
        let opened = match tokio::time::timeout(WARN_AFTER, &mut opening).await {
            Ok(opened) => opened,
            Err(_) => {
                if is_fifo(path) {
                    text::note(
                        quiet,
                        format_args!(
                            "{option} {}: waiting for a reader of this named pipe",
                            text::visible(&path.display().to_string())
                        ),
                    );
                }
                opening.await
            }
        };
        opened.map_err(|error| anyhow!(error).context(option))?
    }

    /// Appends `bytes`, which are whole records. If the file has been removed, it is created again and gets
    /// the bytes. Blocks, and so must not run on the runtime's thread.
    ///
    /// # Errors
    /// If the bytes cannot be written. A regular file then has its old length, unless another process appends
    /// to it too.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.follow_name()?;
        for _ in 0..MAX_REMOVALS {
            write(&mut self.file, bytes)?;
            if !is_removed(&self.file) {
                return Ok(());
            }
            self.file = open(&self.path, self.framing)?;
        }
        Err(io::Error::other("the file was removed repeatedly during the write"))
    }

    /// Appends the first `length` bytes of `from`, followed by `more`, as one record. Blocks as
    /// [`Self::write`] does.
    ///
    /// # Errors
    /// As for [`Self::write`], and if `from` cannot be read.
    pub(crate) fn copy(&mut self, from: &File, length: u64, more: &[u8]) -> io::Result<()> {
        self.follow_name()?;
        for _ in 0..MAX_REMOVALS {
            copy(&mut self.file, self.framing, from, length, more)?;
            if !is_removed(&self.file) {
                return Ok(());
            }
            self.file = open(&self.path, self.framing)?;
        }
        Err(io::Error::other("the file was removed repeatedly during the write"))
    }

    /// Reopens the file by its name, as after a log rotation, and creates it if necessary. If that fails, the
    /// old file stays in use. Blocks as [`Self::open`] does.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub(crate) fn reopen(&mut self) -> anyhow::Result<()> {
        self.file =
            open(&self.path, self.framing).with_context(|| format!("{}: cannot reopen it", self.name))?;
        Ok(())
    }

    /// Reopens the file if another file has its name, as after a rotation that creates the next file itself.
    /// While no file has the name, the open file stays in use, because the rotation may be about to create
    /// the next one.
    fn follow_name(&mut self) -> io::Result<()> {
        let place = |data: Metadata| (data.dev(), data.ino());
        if let (Ok(open), Ok(named)) = (self.file.metadata(), std::fs::metadata(&self.path))
            && open.is_file()
            && place(open) != place(named)
        {
            self.file = self::open(&self.path, self.framing)?;
        }
        Ok(())
    }

    /// The open file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// The option and the path, for errors.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// How records are separated.
    pub(crate) fn framing(&self) -> Framing {
        self.framing
    }
}

/// Why a standard stream that `path` names cannot be written. This uses the state at the start of the
/// process: /dev/null is open now in place of a closed stream, and would discard everything.
fn unusable_stream(path: &Path) -> Option<&'static str> {
    let fd = stream(path)?;
    if fd.as_raw_fd() == 0 {
        // A name of stdin opens the file again, for writing too.
        return stdio::was_closed(fd).then_some("it is closed");
    }
    ready::unusable(fd, For::Writing)
}

/// The standard stream that `path` names, if it names one.
pub(crate) fn stream(path: &Path) -> Option<BorrowedFd<'static>> {
    match path.to_str()? {
        "/dev/stdin" | "/dev/fd/0" | "/proc/self/fd/0" => Some(rustix::stdio::stdin()),
        "/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1" => Some(rustix::stdio::stdout()),
        "/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2" => Some(rustix::stdio::stderr()),
        _ => None,
    }
}

/// Whether both describe the same regular file.
pub(crate) fn is_same_file(one: &Metadata, other: &Metadata) -> bool {
    one.is_file() && (one.dev(), one.ino()) == (other.dev(), other.ino())
}

fn open(path: &Path, framing: Framing) -> io::Result<File> {
    let mut file = File::options().append(true).create(true).mode(MODE).open(path)?;
    if let Some(separator) = framing.separator()
        && last_byte(&file, path).is_some_and(|last| last != separator)
    {
        write(&mut file, &[separator])?;
    }
    Ok(file)
}

/// Writes all of `bytes`. If that fails, a regular file gets its old length, so that the next append follows
/// whole records.
fn write(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    undone_if_failed(file, |file| write_all(file, bytes))
}

fn copy(file: &mut File, framing: Framing, from: &File, length: u64, more: &[u8]) -> io::Result<()> {
    let (before, after) = framing.around(length + more.len() as u64)?;
    undone_if_failed(file, |file| {
        let mut written = write_all(file, &before)?;
        let mut chunk = vec![0; 64 * 1024];
        let mut from = FromStart::new(from).take(length);
        loop {
            match from.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => {
                    let some = chunk.get(..n).unwrap_or_default();
                    written +=
                        write_all(file, some).map_err(|Failed(error, n)| Failed(error, written + n))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Failed(error, written)),
            }
        }
        for last in [more, &after] {
            written += write_all(file, last).map_err(|Failed(error, n)| Failed(error, written + n))?;
        }
        Ok(written)
    })
}

/// Reads a file from its beginning, with a position of its own. All clones of a file share the file's own
/// position, and a write that was given up may still be reading the same file.
pub(crate) struct FromStart<'a> {
    file: &'a File,
    at: u64,
}

impl<'a> FromStart<'a> {
    pub(crate) fn new(file: &'a File) -> Self {
        Self { file, at: 0 }
    }
}

impl io::Read for FromStart<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(to, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// A write that failed, and how many bytes had been written by then.
struct Failed(io::Error, u64);

fn write_all(file: &mut File, bytes: &[u8]) -> Result<u64, Failed> {
    let mut rest = bytes;
    let error = loop {
        if rest.is_empty() {
            return Ok(bytes.len() as u64);
        }
        match file.write(rest) {
            Ok(0) => break io::ErrorKind::WriteZero.into(),
            Ok(n) => rest = rest.get(n..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                match ready::wait(&*file, For::Writing) {
                    Ok(()) => {}
                    Err(error) => break error,
                }
            }
            Err(error) => break error,
        }
    };
    Err(Failed(error, (bytes.len() - rest.len()) as u64))
}

fn undone_if_failed(file: &mut File, work: impl FnOnce(&mut File) -> Result<u64, Failed>) -> io::Result<()> {
    let length = |file: &File| file.metadata().ok().filter(Metadata::is_file).map(|data| data.len());
    let before = length(file);
    let Err(Failed(error, written)) = work(file) else { return Ok(()) };
    // If another process has appended meanwhile, the end of the file must not be cut off.
    if let Some(before) = before
        && length(file) == before.checked_add(written)
    {
        // The error of the write says more than an error of the truncation.
        let _ = file.set_len(before);
    }
    Err(error)
}

/// Whether the file has no name any more: what is written to it is lost when it is closed.
fn is_removed(file: &File) -> bool {
    file.metadata().is_ok_and(|data| data.is_file() && data.nlink() == 0)
}

/// Whether `path` is a named pipe.
pub(crate) fn is_fifo(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|data| data.file_type().is_fifo())
}

/// The last byte of a file, if it is a regular, readable file that is not empty.
fn last_byte(file: &File, path: &Path) -> Option<u8> {
    file.metadata().ok().filter(|data| data.is_file() && data.len() > 0)?;
    let mut reading = File::open(path).ok()?;
    reading.seek(SeekFrom::End(-1)).ok()?;
    let mut last = [0];
    reading.read_exact(&mut last).ok()?;
    Some(last[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(path: &Path, framing: Framing) -> AppendFile {
        AppendFile::open("--output", path, framing).unwrap()
    }

    #[test]
    fn the_last_record_of_a_file_is_terminated_before_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for (framing, before, after) in [
            (Framing::Newline, &b"a\nb"[..], &b"a\nb\nc"[..]),
            (Framing::Newline, b"a\n", b"a\nc"),
            (Framing::Newline, b"", b"c"),
            (Framing::Null, b"a\n", b"a\n\0c"),
            (Framing::Null, b"a\0", b"a\0c"),
            (Framing::LengthPrefixed, b"a", b"ac"),
        ] {
            std::fs::write(&path, before).unwrap();
            opened(&path, framing).write(b"c").unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), after);
        }
    }

    #[test]
    fn a_file_that_was_moved_stays_in_use_until_it_is_reopened() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("log"), dir.path().join("log.1"));
        let mut file = opened(&path, Framing::Newline);
        file.write(b"1\n").unwrap();
        std::fs::rename(&path, &moved).unwrap();
        file.write(b"2\n").unwrap();
        file.reopen().unwrap();
        file.write(b"3\n").unwrap();
        assert_eq!(std::fs::read(&moved).unwrap(), b"1\n2\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"3\n");
    }

    #[test]
    fn writes_go_to_the_file_that_replaced_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("log"), dir.path().join("log.1"));
        let mut file = opened(&path, Framing::Newline);
        std::fs::rename(&path, &moved).unwrap();
        std::fs::write(&path, "").unwrap();
        file.write(b"1\n").unwrap();
        let mut from = tempfile::tempfile().unwrap();
        from.write_all(b"two").unwrap();
        std::fs::rename(&path, &moved).unwrap();
        std::fs::write(&path, "").unwrap();
        file.copy(&from, 3, b"").unwrap();
        assert_eq!(std::fs::read(&moved).unwrap(), b"1\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"two\n");
    }

    #[test]
    fn a_file_that_was_removed_is_created_again_and_gets_the_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut file = opened(&path, Framing::Newline);
        std::fs::remove_file(&path).unwrap();
        file.write(b"1\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"1\n");
        std::fs::remove_file(&path).unwrap();
        let mut from = tempfile::tempfile().unwrap();
        from.write_all(b"two").unwrap();
        file.copy(&from, 3, b"").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two\n");
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        file.write(b"3\n").unwrap_err();
        assert!(file.reopen().unwrap_err().to_string().contains("--output"));
    }

    #[test]
    fn a_record_is_copied_whole_while_another_copy_of_it_to_a_pipe_is_stalled() {
        let dir = tempfile::tempdir().unwrap();
        let (path, fifo) = (dir.path().join("file"), dir.path().join("fifo"));
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let record = vec![b'x'; 300_000];
        let mut from = tempfile::tempfile().unwrap();
        from.write_all(&record).unwrap();
        let clone = from.try_clone().unwrap();
        let end = [&record[..], b"\n"].concat();
        std::thread::scope(|scope| {
            scope.spawn(|| opened(&fifo, Framing::Newline).copy(&clone, 300_000, b"").unwrap());
            let mut reader = File::open(&fifo).unwrap();
            let mut piped = vec![0];
            reader.read_exact(&mut piped).unwrap();
            opened(&path, Framing::Newline).copy(&from, 300_000, b"").unwrap();
            assert!(std::fs::read(&path).unwrap() == end);
            reader.read_to_end(&mut piped).unwrap();
            assert!(piped == end, "{} bytes", piped.len());
        });
    }

    #[test]
    fn only_the_owner_can_read_a_new_file_and_an_existing_file_keeps_its_mode() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let path = dir.path().join("made");
        opened(&path, Framing::Newline);
        assert_eq!(mode(&path), 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        opened(&path, Framing::Newline);
        assert_eq!(mode(&path), 0o640);
    }
}
