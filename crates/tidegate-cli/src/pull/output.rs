//! Writing on a separate thread: a slow reader of stdout must not delay the heartbeats to the pushers.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc as blocking;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tokio::sync::oneshot;

use crate::append::{AppendFile, FromStart};
use crate::ready::{self, For};
use crate::records::Framing;
use crate::reload::Reopen;

/// The names of stdout. If stdout was closed at the start of this process, opening one of these names would
/// open /dev/null.
const STDOUT: [&str; 4] = ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

/// Whether `path` names stdout.
pub(crate) fn is_stdout(path: &Path) -> bool {
    STDOUT.iter().any(|name| path == Path::new(name))
}

/// A file is copied in pieces of this size, in bytes.
const CHUNK: usize = 64 << 10;
/// If stderr accepts nothing for this time, it counts as not read.
const MAX_STALL: Duration = Duration::from_secs(1);

/// A destination for writes, which are done completely and in order.
pub(crate) struct Output {
    tasks: blocking::Sender<Task>,
    /// The name, for errors.
    name: String,
    /// Whether it is a file that was opened by its name.
    named: bool,
    /// Number of copies that have waited for a reader for a while, see [`Self::copy_if_read`].
    unread: Arc<AtomicU32>,
    /// Number of files that were dropped because of that.
    dropped: Arc<AtomicU64>,
}

/// Where the bytes go.
enum Target {
    /// Other processes may write to the same file, so it is never truncated.
    Standard(File),
    Appended(AppendFile),
}

impl Target {
    fn reopen(&mut self) -> anyhow::Result<()> {
        match self {
            Target::Standard(_) => Ok(()),
            Target::Appended(file) => file.reopen(),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Target::Standard(file) => write_all(file, bytes),
            Target::Appended(file) => file.write(bytes),
        }
    }

    /// Writes what `from` contains now. A process that the command has left behind may write to the same open
    /// file, at its position. That position is not moved here, and what is written meanwhile is not read.
    fn copy(&mut self, from: &File) -> io::Result<()> {
        let mut from = FromStart::new(from).take(from.metadata()?.len());
        match self {
            Target::Standard(file) => {
                let mut chunk = vec![0; CHUNK];
                loop {
                    match from.read(&mut chunk)? {
                        0 => return Ok(()),
                        n => write_all(file, chunk.get(..n).unwrap_or_default())?,
                    }
                }
            }
            Target::Appended(file) => {
                let mut bytes = Vec::new();
                from.read_to_end(&mut bytes)?;
                file.write(&bytes)
            }
        }
    }
}

/// A task of the thread, and where its result goes.
enum Task {
    /// Writes bytes, and returns the buffer.
    Bytes(Vec<u8>, oneshot::Sender<(Vec<u8>, io::Result<()>)>),
    /// Reopens the file by its name.
    Reopen(oneshot::Sender<anyhow::Result<()>>),
    /// Writes a whole file, from its beginning.
    Copy(File, oneshot::Sender<io::Result<()>>),
}

impl Output {
    /// Opens `path` for appending, so that a restarted daemon overwrites nothing. Without a path, uses
    /// stdout. Waits for the reader of a named pipe, and tells the user. Cancel safe.
    ///
    /// # Errors
    /// If the file cannot be opened, or stdout cannot be written.
    pub(crate) async fn open(path: Option<&Path>, framing: Framing, quiet: bool) -> anyhow::Result<Self> {
        match path {
            None => {
                if let Some(why) = ready::unusable(io::stdout().as_fd(), For::Writing) {
                    let what = why.strip_prefix("it ").unwrap_or(why);
                    bail!(
                        "stdout {what}; name a file with --output, or use >/dev/null to discard the messages"
                    );
                }
                Self::stdout()
            }
            Some(path) => {
                let file = AppendFile::open_waiting("--output", path, framing, quiet).await?;
                let name = file.name().to_owned();
                Self::start(Target::Appended(file), name)
            }
        }
    }

    /// Uses stdout without checking it.
    ///
    /// # Errors
    /// If stdout cannot be duplicated, or the thread cannot be started.
    pub(crate) fn stdout() -> anyhow::Result<Self> {
        Self::start(Target::Standard(duplicate(io::stdout().as_fd()).context("stdout")?), "stdout".to_owned())
    }

    /// Uses stderr.
    ///
    /// # Errors
    /// If stderr is closed, or the thread cannot be started.
    pub(crate) fn stderr() -> anyhow::Result<Self> {
        Self::start(Target::Standard(duplicate(io::stderr().as_fd()).context("stderr")?), "stderr".to_owned())
    }

    fn start(mut target: Target, name: String) -> anyhow::Result<Self> {
        let (tasks, todo) = blocking::channel();
        let named = matches!(target, Target::Appended(_));
        std::thread::Builder::new()
            .name("output".into())
            .spawn(move || {
                while let Ok(task) = todo.recv() {
                    // The caller may have given up by then.
                    match task {
                        Task::Bytes(bytes, done) => {
                            let written = target.write(&bytes);
                            let _ = done.send((bytes, written));
                        }
                        Task::Reopen(done) => {
                            let _ = done.send(target.reopen());
                        }
                        Task::Copy(from, done) => {
                            let _ = done.send(target.copy(&from));
                        }
                    }
                }
            })
            .with_context(|| format!("cannot start the thread that writes to {name}"))?;
        Ok(Self { tasks, name, named, unread: Arc::default(), dropped: Arc::default() })
    }

    /// Writes all of `bytes` and returns the buffer, empty.
    ///
    /// # Errors
    /// If the write fails. Some of the bytes may have been written, except to a file that was opened by its
    /// name.
    pub(crate) async fn write(&self, bytes: Vec<u8>) -> anyhow::Result<Vec<u8>> {
        let (done, result) = oneshot::channel();
        let _ = self.tasks.send(Task::Bytes(bytes, done));
        let (mut bytes, written) = result.await.map_err(|_| self.gone())?;
        written.with_context(|| format!("cannot write to {}", self.name))?;
        bytes.clear();
        Ok(bytes)
    }

    /// Writes a whole file.
    ///
    /// # Errors
    /// If reading or writing fails. Some of it may have been written.
    pub(crate) async fn copy(&self, from: File) -> anyhow::Result<()> {
        let (done, result) = oneshot::channel();
        let _ = self.tasks.send(Task::Copy(from, done));
        result.await.map_err(|_| self.gone())?.with_context(|| format!("cannot write to {}", self.name))
    }

    /// Writes a whole file, if the destination is read. Without a reader, the first file is dropped after a
    /// while, and further files at once.
    pub(crate) async fn copy_if_read(&self, from: File) {
        if self.unread.load(Ordering::Relaxed) > 0 {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let (done, result) = oneshot::channel();
        let _ = self.tasks.send(Task::Copy(from, done));
        let mut result = result;
        if tokio::time::timeout(MAX_STALL, &mut result).await.is_ok() {
            return;
        }
        let (unread, dropped) = (Arc::clone(&self.unread), Arc::clone(&self.dropped));
        unread.fetch_add(1, Ordering::Relaxed);
        let name = self.name.clone();
        tokio::spawn(async move {
            let _ = result.await;
            unread.fetch_sub(1, Ordering::Relaxed);
            let dropped = dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                tracing::warn!(
                    "{name} was not read for a while; the output of {dropped} commands to it was dropped"
                );
            }
        });
    }

    /// How to reopen the file. `None` for stdout.
    pub(crate) fn reopen(&self) -> Option<Reopen> {
        if !self.named {
            return None;
        }
        let tasks = self.tasks.clone();
        Some(Reopen::new(&self.name, move || {
            let (done, result) = oneshot::channel();
            let _ = tasks.send(Task::Reopen(done));
            result.blocking_recv().context("the thread that writes to the file has ended")?
        }))
    }

    fn gone(&self) -> anyhow::Error {
        anyhow!("the thread that writes to {} has ended", self.name)
    }
}

/// Writes all of `bytes`. Waits if another process has put the pipe into non-blocking mode.
fn write_all(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match file.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => rest = rest.get(n..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready::wait(&*file, For::Writing)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The same open file, without the line buffer of the standard library.
fn duplicate(fd: BorrowedFd<'_>) -> io::Result<File> {
    Ok(File::from(fd.try_clone_to_owned()?))
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn on_runtime<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
    }

    #[test]
    fn writes_are_appended_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        std::fs::write(&path, "before\n").unwrap();
        let output = on_runtime(Output::open(Some(&path), Framing::Newline, true)).unwrap();
        let mut captured = tempfile::tempfile().unwrap();
        captured.write_all(b"copied\n").unwrap();
        on_runtime(async {
            let memory = output.write(b"one\n".to_vec()).await.unwrap();
            assert!(memory.is_empty() && memory.capacity() >= 4);
            output.copy(captured).await.unwrap();
            output.write(b"two\n".to_vec()).await.unwrap();
        });
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "before\none\ncopied\ntwo\n");
    }

    #[test]
    fn writing_to_a_file_while_it_is_copied_overwrites_nothing() {
        let captured = vec![b'a'; 4_000_000];
        let mut left_behind = tempfile::tempfile().unwrap();
        left_behind.write_all(&captured).unwrap();
        let from = left_behind.try_clone().unwrap();
        let (to, mut reader) = UnixStream::pair().unwrap();
        std::thread::scope(|scope| {
            let copy = scope.spawn(move || Target::Standard(OwnedFd::from(to).into()).copy(&from));
            let mut copied = vec![0];
            reader.read_exact(&mut copied).unwrap();
            // As another process with the same open file would, at the end of what it has written.
            left_behind.write_all(b"late").unwrap();
            reader.read_to_end(&mut copied).unwrap();
            copy.join().unwrap().unwrap();
            assert!(copied == captured, "{} bytes", copied.len());
        });
        assert_eq!(
            left_behind.metadata().unwrap().len(),
            4_000_004,
            "it is after all that was written before"
        );
    }

    #[test]
    fn a_failed_write_names_the_file() {
        let full = Path::new("/dev/full");
        if !full.exists() {
            return;
        }
        let output = on_runtime(Output::open(Some(full), Framing::Newline, true)).unwrap();
        let error = on_runtime(output.write(b"x".to_vec())).unwrap_err();
        assert!(error.to_string().contains("--output /dev/full"), "{error}");
    }
}
