//! Reading the input on a separate thread, with a bounded read-ahead.
//!
//! Reading blocks, and the daemon must not. The thread reads only on request, so that it never holds a batch
//! that will not be used. When it is stopped, it returns what it has read: complete records, and the
//! beginning of an incomplete one.
//!
//! ```text
//!          requests ──►            ┌── poll ── input
//! daemon                 thread  ──┤
//!          ◄── reads, rest         └── poll ── stop
//! ```

mod opened;

use std::fs::{File, Metadata};
use std::io::{self, PipeReader, PipeWriter, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc as blocking};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::append::{is_fifo, is_same_file};
use crate::args::Oversized;
use crate::ready::{self, For};
use crate::records::{Framing, PREFIX, ReadError, RecordReader};
use opened::{Waiting, is_stdin, is_stop, name, real};

/// Number of batches that are requested ahead of the one in use.
const MAX_AHEAD: usize = 2;

/// What to read, and how.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    /// Input files; empty: stdin.
    pub(crate) files: Vec<PathBuf>,
    pub(crate) framing: Framing,
    /// Maximum size of a record, in bytes.
    pub(crate) limit: usize,
    pub(crate) oversized: Oversized,
    /// Whether a carriage return before a newline belongs to the separator.
    pub(crate) crlf: bool,
    /// Whether the only file is a named pipe that stays open when its last writer closes it.
    pub(crate) follow: bool,
    /// Whether to omit the notice about waiting for a writer.
    pub(crate) quiet: bool,
}

/// What was read from the input.
#[derive(Debug)]
pub(crate) enum Read {
    Records(Vec<Bytes>),
    /// A record that was too large and has been skipped.
    Oversized(TooLong),
}

/// A record that is larger than the maximum size of a message.
#[derive(Debug)]
pub(crate) struct TooLong {
    pub(crate) input: String,
    pub(crate) record: u64,
    pub(crate) length: u64,
    /// The whole record, for the dead letters.
    pub(crate) kept: Option<File>,
}

/// What had been read and not returned when reading stopped.
#[derive(Debug, Default)]
pub(crate) struct UnsentInput {
    pub(crate) records: Vec<Bytes>,
    pub(crate) oversized: Vec<TooLong>,
    pub(crate) incomplete: Option<Incomplete>,
}

/// The beginning of a record that has not arrived completely.
#[derive(Debug)]
pub(crate) struct Incomplete {
    pub(crate) input: String,
    pub(crate) record: u64,
    /// The number of bytes that have been read.
    pub(crate) got: u64,
    /// How many bytes of the length prefix have been read, if the rest is missing.
    pub(crate) prefix: usize,
    /// The last of these bytes, in memory.
    pub(crate) bytes: Bytes,
    /// The bytes before them, in a file, because the record is too large. `None` if it was to be skipped.
    pub(crate) kept: Option<File>,
}

/// The records of all inputs, in order.
pub(crate) struct Input {
    /// `None` after reading was stopped.
    requests: Option<blocking::Sender<()>>,
    reads: mpsc::Receiver<anyhow::Result<Read>>,
    /// Dropping this stops the thread.
    stop: Option<PipeWriter>,
    rest: oneshot::Receiver<UnsentInput>,
    /// Whether the thread has reached the end of the last input.
    ended: Arc<AtomicBool>,
}

impl Incomplete {
    /// Whether any of its bytes are available, apart from its length prefix.
    pub(crate) fn is_stored(&self) -> bool {
        !self.bytes.is_empty() || (self.kept.is_some() && self.got > 0)
    }
}

impl Reading {
    /// Checks the inputs before the first message.
    ///
    /// # Errors
    /// If stdin is an input and cannot be read, or `--follow` does not apply.
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

    /// The name of the input that is this file, if one is.
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
    /// If the thread or its pipe cannot be created.
    pub(crate) fn start(reading: Reading) -> anyhow::Result<Self> {
        let (requests, asked) = blocking::channel();
        let (answers, reads) = mpsc::channel(MAX_AHEAD);
        let (rest_to, rest) = oneshot::channel();
        for _ in 0..MAX_AHEAD {
            requests.send(()).context("cannot start reading")?;
        }
        let (stopped, stop) = io::pipe().context("cannot create the pipe that stops reading")?;
        let ended = Arc::new(AtomicBool::new(false));
        let reached = Arc::clone(&ended);
        let mut thread = Thread { reading, asked, answers, stopped: Arc::new(stopped), wanted: false };
        std::thread::Builder::new()
            .name("input".into())
            .spawn(move || {
                let mut rest = UnsentInput::default();
                if thread.run(&mut rest) {
                    reached.store(true, Ordering::Release);
                }
                let _ = rest_to.send(rest);
                // Dropped last: after the end of the channel, the values above are available.
                drop(thread);
            })
            .context("cannot start the thread that reads the input")?;
        Ok(Self { requests: Some(requests), reads, stop: Some(stop), rest, ended })
    }

    /// The next records; `None` at the end of the last input. Cancel safe.
    ///
    /// # Errors
    /// If an input cannot be read, or has a record that is too large or truncated.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Read>> {
        let read = self.reads.recv().await;
        if let (Some(_), Some(requests)) = (&read, &self.requests) {
            // This fails if the thread has ended, which then has nothing more to send.
            let _ = requests.send(());
        }
        read.transpose()
    }

    /// Whether everything has been read. If this is true before the last [`Self::stop`], nothing follows.
    pub(crate) fn is_at_end(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Stops reading, and returns what has been read. A read that is stuck in the operating system, for
    /// example because a file server does not answer, is awaited for at most `patience`. A later call returns
    /// its result.
    pub(crate) async fn stop(&mut self, patience: Duration) -> UnsentInput {
        (self.requests, self.stop) = (None, None);
        let mut all = UnsentInput::default();
        let (reads, rest) = (&mut self.reads, &mut self.rest);
        let collect = async {
            while let Some(read) = reads.recv().await {
                match read {
                    Ok(Read::Records(records)) => all.records.extend(records),
                    Ok(Read::Oversized(record)) => all.oversized.push(record),
                    // A failure does not matter now, because the input would not be read any further.
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

/// The state of the thread.
struct Thread {
    reading: Reading,
    asked: blocking::Receiver<()>,
    answers: mpsc::Sender<anyhow::Result<Read>>,
    stopped: Arc<PipeReader>,
    /// Whether a batch was requested and has not been sent yet.
    wanted: bool,
}

impl Thread {
    /// Reads all files. Returns whether it reached the end of the last one; if not, `rest` has what was read.
    fn run(&mut self, rest: &mut UnsentInput) -> bool {
        let files = std::mem::take(&mut self.reading.files);
        let files = if files.is_empty() { vec![PathBuf::from("-")] } else { files };
        files.iter().all(|file| self.read(file, rest))
    }

    /// Reads one file. Returns whether it reached the end.
    fn read(&mut self, file: &Path, rest: &mut UnsentInput) -> bool {
        let Reading { framing, limit, crlf, follow, quiet, .. } = self.reading;
        let name = name(file);
        let opened = Waiting::open(file, follow, quiet, &self.stopped);
        let mut reader = match opened {
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

    /// Skips a record that is too large, and copies it to an unnamed file if it is a dead letter. If that
    /// fails, returns the beginning of the record with the error, unless the reader still has it.
    fn pass_over(
        &self,
        reader: &mut RecordReader<Waiting>,
        input: &str,
        record: u64,
    ) -> Result<TooLong, (anyhow::Error, Option<Incomplete>)> {
        let mut length = 0;
        let mut last = None;
        let failed = |error: ReadError| {
            anyhow!(error).context(format!(
                "input {input}: cannot skip record {record}, which is too large (--oversized)"
            ))
        };
        let mut kept = self.spool().map_err(|error| (failed(error), None))?;
        // The piece that could not be written to the disk.
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
            let what = format!("cannot create a temporary file for it in TMPDIR: {error}");
            ReadError::Io(io::Error::new(error.kind(), what))
        });
        file.map(Some)
    }
}

impl UnsentInput {
    fn take(&mut self, reader: &mut RecordReader<Waiting>, input: &str) {
        let (records, partial) = reader.rest();
        self.records.extend(records);
        self.incomplete = partial.map(|partial| Incomplete {
            input: input.to_owned(),
            record: partial.record,
            got: partial.bytes.len() as u64,
            // Only the length prefix has arrived.
            prefix: if partial.bytes.is_empty() && partial.of.is_some() { PREFIX } else { partial.prefix },
            bytes: partial.bytes,
            kept: None,
        });
    }
}

#[cfg(test)]
mod tests;
