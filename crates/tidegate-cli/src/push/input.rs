//! Reading the input on a thread of its own, a bounded way ahead.
//!
//! Reading blocks, and the daemon must not. The thread reads only when asked, so that it never holds a batch that nobody will
//! take. Asked to stop, it gives back whatever it has read: whole records, and what there is of the last one.
//!
//! ```text
//!          requests ──►            ┌── poll ── input
//! daemon                 thread  ──┤
//!          ◄── reads, rest         └── poll ── stop
//! ```

use std::fs::{File, Metadata};
use std::io::{self, PipeReader, PipeWriter, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc as blocking};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use rustix::fs::OFlags;
use tokio::sync::{mpsc, oneshot};

use crate::append::{SOON, is_fifo, is_same_file};
use crate::args::Oversized;
use crate::ready::{self, First, For};
use crate::records::{Framing, PREFIX, ReadError, RecordReader};
use crate::text;

/// Batches asked for ahead of the one in use.
const AHEAD: usize = 2;

/// What to read, and how.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    /// None: stdin.
    pub(crate) files: Vec<PathBuf>,
    pub(crate) framing: Framing,
    /// The largest record, in bytes.
    pub(crate) limit: usize,
    pub(crate) oversized: Oversized,
    /// Whether a carriage return belongs to the end of a line.
    pub(crate) crlf: bool,
    /// Whether the only file is a named pipe that has no end.
    pub(crate) follow: bool,
    /// Whether to say nothing about what is waited for.
    pub(crate) quiet: bool,
}

/// What came from the input.
#[derive(Debug)]
pub(crate) enum Read {
    Records(Vec<Bytes>),
    /// A record that is too large, and has been left behind.
    Oversized(TooLong),
}

/// A record that is larger than a message may be.
#[derive(Debug)]
pub(crate) struct TooLong {
    pub(crate) input: String,
    pub(crate) record: u64,
    pub(crate) length: u64,
    /// All of it, for the dead letters.
    pub(crate) kept: Option<File>,
}

/// What has been read and was not given out when reading stopped.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    pub(crate) records: Vec<Bytes>,
    pub(crate) oversized: Vec<TooLong>,
    pub(crate) incomplete: Option<Incomplete>,
}

/// A record of which only the beginning has arrived.
#[derive(Debug)]
pub(crate) struct Incomplete {
    pub(crate) input: String,
    pub(crate) record: u64,
    /// How many bytes of it have been read.
    pub(crate) got: u64,
    /// How many bytes of its length have been read, if not even that is whole.
    pub(crate) prefix: usize,
    /// Those of them that are in memory, the last ones.
    pub(crate) bytes: Bytes,
    /// Those before them, in a file, because the record is too large; `None` if it was to be skipped.
    pub(crate) kept: Option<File>,
}

/// The records of all inputs, in order.
pub(crate) struct Input {
    /// `None` once reading has been stopped.
    requests: Option<blocking::Sender<()>>,
    reads: mpsc::Receiver<anyhow::Result<Read>>,
    /// Dropped, it lets the thread stop.
    stop: Option<PipeWriter>,
    rest: oneshot::Receiver<Rest>,
    /// Whether the thread has come to the end of the last input.
    ended: Arc<AtomicBool>,
}

impl Incomplete {
    /// Whether any of its bytes are left, beside its length.
    pub(crate) fn is_stored(&self) -> bool {
        !self.bytes.is_empty() || (self.kept.is_some() && self.got > 0)
    }
}

impl Reading {
    /// Looks at the inputs before the first message.
    ///
    /// # Errors
    /// Stdin is to be read and cannot be, or there is nothing to follow.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let stdin = io::stdin();
        if self.reads_stdin()
            && let Some(why) = ready::unusable(stdin.as_fd(), For::Reading)
        {
            bail!(
                "stdin is not readable: {why}; name the input as FILE (/dev/null for none), or redirect it"
            );
        }
        if self.follow {
            let path = self.files.first().map_or(Path::new("-"), PathBuf::as_path);
            if self.files.len() > 1 {
                bail!("--follow: only one FILE can be followed; {} were given", self.files.len());
            }
            if !is_fifo(real(path)) {
                bail!(
                    "--follow: {} is not a pipe; `tail -F FILE | tidegate push` follows a file",
                    name(path)
                );
            }
        }
        Ok(())
    }

    fn reads_stdin(&self) -> bool {
        self.files.is_empty() || self.files.iter().any(|file| is_stdin(file))
    }

    /// The input that is this file, if one is.
    pub(crate) fn is_read_from(&self, file: &Metadata) -> Option<String> {
        let stdin = [PathBuf::from("-")];
        let files = if self.files.is_empty() { &stdin[..] } else { &self.files };
        let is_it = |path: &Path| std::fs::metadata(real(path)).is_ok_and(|data| is_same_file(file, &data));
        files.iter().find(|path| is_it(path)).map(|path| name(path))
    }
}

impl Input {
    /// Starts reading.
    ///
    /// # Errors
    /// When no thread or pipe can be made.
    pub(crate) fn start(reading: Reading) -> anyhow::Result<Self> {
        let (requests, asked) = blocking::channel();
        let (answers, reads) = mpsc::channel(AHEAD);
        let (rest_to, rest) = oneshot::channel();
        for _ in 0..AHEAD {
            requests.send(()).context("cannot start reading")?;
        }
        let (stopped, stop) = io::pipe().context("cannot make the pipe that stops reading")?;
        let ended = Arc::new(AtomicBool::new(false));
        let reached = Arc::clone(&ended);
        let mut thread = Thread { reading, asked, answers, stopped: Arc::new(stopped), wanted: false };
        std::thread::Builder::new()
            .name("input".into())
            .spawn(move || {
                let mut rest = Rest::default();
                if thread.run(&mut rest) {
                    reached.store(true, Ordering::Release);
                }
                let _ = rest_to.send(rest);
                // Last, for whoever sees the end of the channel finds all this.
                drop(thread);
            })
            .context("cannot start the thread that reads the input")?;
        Ok(Self { requests: Some(requests), reads, stop: Some(stop), rest, ended })
    }

    /// The next records; `None` at the end of the last input. Cancel safe.
    ///
    /// # Errors
    /// When an input cannot be read, or has a record that is too large or cut off.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Read>> {
        let read = self.reads.recv().await;
        if let (Some(_), Some(requests)) = (&read, &self.requests) {
            // The thread may have ended meanwhile; then it has nothing more to give.
            let _ = requests.send(());
        }
        read.transpose()
    }

    /// Whether everything has been read. Asked before the last [`Self::stop`], nothing comes after it.
    pub(crate) fn is_at_end(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Stops reading, and gives what has been read. A read that is stuck in the operating system, as on a file server that does
    /// not answer, is waited for no longer than `patience`; called again later, this gives what came of it.
    pub(crate) async fn stop(&mut self, patience: Duration) -> Rest {
        (self.requests, self.stop) = (None, None);
        let mut all = Rest::default();
        let (reads, rest) = (&mut self.reads, &mut self.rest);
        let collect = async {
            while let Some(read) = reads.recv().await {
                match read {
                    Ok(Read::Records(records)) => all.records.extend(records),
                    Ok(Read::Oversized(record)) => all.oversized.push(record),
                    // An input that fails now was not going to be read on anyway.
                    Err(error) => tracing::info!("{error:#}"),
                }
            }
            (!rest.is_terminated()).then_some(())?;
            rest.await.ok()
        };
        let last = tokio::time::timeout(patience, collect).await.ok().flatten();
        if let Some(last) = last {
            all.records.extend(last.records);
            all.incomplete = last.incomplete;
        }
        all
    }
}

/// What the thread works with.
struct Thread {
    reading: Reading,
    asked: blocking::Receiver<()>,
    answers: mpsc::Sender<anyhow::Result<Read>>,
    stopped: Arc<PipeReader>,
    /// Whether a batch has been asked for that has not been given yet.
    wanted: bool,
}

impl Thread {
    /// Whether it came to the end of the last file. If not, what has been read is in `rest`.
    fn run(&mut self, rest: &mut Rest) -> bool {
        let files = std::mem::take(&mut self.reading.files);
        let files = if files.is_empty() { vec![PathBuf::from("-")] } else { files };
        files.iter().all(|file| self.read(file, rest))
    }

    /// Whether it came to the end of the file.
    fn read(&mut self, file: &Path, rest: &mut Rest) -> bool {
        let Reading { framing, limit, crlf, .. } = self.reading;
        let name = name(file);
        let mut reader = match self.open(file) {
            Ok(input) => RecordReader::new(input, framing, limit).crlf(crlf),
            Err(error) => {
                self.fail(anyhow!(error).context(format!("input {name}: cannot open it")));
                return false;
            }
        };
        loop {
            if !self.wanted && self.asked.recv().is_err() {
                rest.take(&mut reader, &name);
                return false;
            }
            self.wanted = true;
            let read = match reader.next_batch() {
                Ok(Some(batch)) => Read::Records(batch),
                Ok(None) => return true,
                Err(ReadError::TooLarge { record, .. }) if self.reading.oversized != Oversized::Stop => {
                    match self.pass_over(&mut reader, &name, record) {
                        Ok(record) => Read::Oversized(record),
                        Err((error, incomplete)) => {
                            rest.take(&mut reader, &name);
                            rest.incomplete = incomplete.or(rest.incomplete.take());
                            self.fail(error);
                            return false;
                        }
                    }
                }
                Err(error) => {
                    rest.take(&mut reader, &name);
                    if !is_stop(&error) {
                        self.fail(anyhow!(error).context(format!("input {name}")));
                    }
                    return false;
                }
            };
            if self.answers.blocking_send(Ok(read)).is_err() {
                return false;
            }
            self.wanted = false;
        }
    }

    fn fail(&self, error: anyhow::Error) {
        let _ = self.answers.blocking_send(Err(error));
    }

    fn open(&self, path: &Path) -> io::Result<Waiting> {
        let follow = self.reading.follow;
        let stopped = Arc::clone(&self.stopped);
        let plain = |file| Ok(Waiting { file, stopped: Arc::clone(&self.stopped), waits_for: None });
        // By no name: a pipe whose writers have gone would wait for new ones.
        if is_stdin(path) && !follow {
            return plain(File::from(io::stdin().as_fd().try_clone_to_owned()?));
        }
        let path = real(path);
        if !is_fifo(path) {
            return plain(File::open(path)?);
        }
        // Opened like this it does not block, and can be given up while nobody writes. A pipe that is open for writing here too
        // has no end.
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let file = File::options().read(true).write(follow).custom_flags(flags).open(path)?;
        let waits_for = (!self.reading.quiet).then(|| name(path));
        Ok(Waiting { file, stopped, waits_for })
    }

    /// Leaves a record behind that is too large, and keeps it in an unnamed file if it is a dead letter. When that fails, the
    /// beginning of it comes with the error, unless the reader still has it.
    fn pass_over(
        &self,
        reader: &mut RecordReader<Waiting>,
        input: &str,
        record: u64,
    ) -> Result<TooLong, (anyhow::Error, Option<Incomplete>)> {
        let mut length = 0;
        let mut last = None;
        let failed = |error: ReadError| {
            anyhow!(error)
                .context(format!("input {input}: record {record}, which is too large (--oversized)"))
        };
        let mut kept = self.spool().map_err(|error| (failed(error), None))?;
        // A piece for which the disk has no room.
        let mut bytes = Bytes::new();
        let sink = |piece: &[u8]| {
            last = piece.last().copied().or(last);
            let written = kept.as_mut().map_or(Ok(()), |file: &mut File| file.write_all(piece));
            if written.is_err() {
                bytes = Bytes::copy_from_slice(piece);
            }
            written
        };
        let result = reader.pass_over(&mut length, sink);
        let input = input.to_owned();
        if let Err(error) = result {
            let error = failed(error);
            let got = length + bytes.len() as u64;
            return Err((error, Some(Incomplete { input, record, got, prefix: 0, bytes, kept })));
        }
        if self.reading.crlf && last == Some(b'\r') {
            length -= 1;
        }
        Ok(TooLong { input, record, length, kept })
    }

    fn spool(&self) -> Result<Option<File>, ReadError> {
        if self.reading.oversized != Oversized::DeadLetter {
            return Ok(None);
        }
        let file = tempfile::tempfile().map_err(|error| {
            let what = format!("no temporary file for it (TMPDIR): {error}");
            ReadError::Io(io::Error::new(error.kind(), what))
        });
        file.map(Some)
    }
}

impl Rest {
    fn take(&mut self, reader: &mut RecordReader<Waiting>, input: &str) {
        let (records, partial) = reader.rest();
        self.records.extend(records);
        self.incomplete = partial.map(|partial| Incomplete {
            input: input.to_owned(),
            record: partial.record,
            got: partial.bytes.len() as u64,
            // The length alone is there.
            prefix: if partial.bytes.is_empty() && partial.of.is_some() { PREFIX } else { partial.prefix },
            bytes: partial.bytes,
            kept: None,
        });
    }
}

/// An input whose reads end when reading is to stop. It may be in non-blocking mode.
struct Waiting {
    file: File,
    stopped: Arc<PipeReader>,
    /// Whom to name if nobody writes to it for a while.
    waits_for: Option<String>,
}

/// Why a read ended without bytes.
#[derive(Debug)]
struct Stopped;

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("reading was stopped")
    }
}

impl std::error::Error for Stopped {}

impl io::Read for Waiting {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        loop {
            let soon = self.waits_for.as_ref().map(|_| SOON);
            match ready::first(&self.file, &*self.stopped, soon)? {
                First::Stop => return Err(io::Error::other(Stopped)),
                First::Time => {
                    if let Some(name) = self.waits_for.take() {
                        text::say(format_args!(
                            "input {}: waiting for somebody to write to this named pipe",
                            text::visible(&name)
                        ));
                    }
                }
                First::File => match self.file.read(room) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    other => {
                        self.waits_for = None;
                        return other;
                    }
                },
            }
        }
    }
}

fn is_stop(error: &ReadError) -> bool {
    let ReadError::Io(error) = error else { return false };
    error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<Stopped>)
}

fn is_stdin(path: &Path) -> bool {
    const NAMES: [&str; 4] = ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"];
    NAMES.iter().any(|name| path == Path::new(name))
}

/// Stdin by a name that can be opened again.
fn real(path: &Path) -> &Path {
    if path == Path::new("-") { Path::new("/dev/fd/0") } else { path }
}

fn name(path: &Path) -> String {
    if path == Path::new("-") { "stdin".to_owned() } else { path.display().to_string() }
}

#[cfg(test)]
mod tests;
