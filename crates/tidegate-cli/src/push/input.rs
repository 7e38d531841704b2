//! Reading the input on a thread of its own, a bounded way ahead.
//!
//! Reading stdin blocks, and the daemon must not. The thread reads only when asked, so that it never holds a batch
//! that nobody will take: a read that has been given up loses nothing but what is under way in the operating system.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc as blocking};

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::records::{Framing, RecordReader};

/// Batches asked for ahead of the one in use.
const AHEAD: usize = 2;

type Batch = anyhow::Result<Vec<Bytes>>;

/// The records of all inputs, in order.
pub(crate) struct Input {
    /// `None` once reading has been stopped.
    requests: Option<blocking::Sender<()>>,
    batches: mpsc::Receiver<Batch>,
    /// Whether the thread has come to the end of the last input.
    ended: Arc<AtomicBool>,
}

impl Input {
    /// Starts reading `files` (none: stdin), records of at most `limit` bytes.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn start(files: Vec<PathBuf>, framing: Framing, limit: usize) -> anyhow::Result<Self> {
        let (requests, asked) = blocking::channel();
        let (answers, batches) = mpsc::channel(AHEAD);
        for _ in 0..AHEAD {
            requests.send(()).context("cannot start reading")?;
        }
        let ended = Arc::new(AtomicBool::new(false));
        let reached = Arc::clone(&ended);
        std::thread::Builder::new()
            .name("input".into())
            .spawn(move || {
                if read(files, framing, limit, &asked, &answers) {
                    reached.store(true, Ordering::Release);
                }
            })
            .context("cannot start the thread that reads the input")?;
        Ok(Self { requests: Some(requests), batches, ended })
    }

    /// The next records; `None` at the end of the last input. Cancel safe.
    ///
    /// # Errors
    /// When an input cannot be read, or has a record that is too large or cut off.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Vec<Bytes>>> {
        let batch = self.batches.recv().await;
        if let (Some(_), Some(requests)) = (&batch, &self.requests) {
            // The thread may have ended meanwhile; then it has nothing more to give.
            let _ = requests.send(());
        }
        batch.transpose()
    }

    /// Whether everything has been read. Asked before the last [`Self::stop`], nothing comes after it.
    pub(crate) fn is_at_end(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Asks for no more, and gives what has been read already. A read that is under way cannot be called back: called
    /// again later, this gives what came of it.
    pub(crate) fn stop(&mut self) -> Vec<Bytes> {
        self.requests = None;
        let mut records = Vec::new();
        while let Ok(batch) = self.batches.try_recv() {
            // An input that fails now was not going to be read on anyway.
            records.extend(batch.unwrap_or_default());
        }
        records
    }
}

/// Whether it came to the end of the last file.
fn read(
    files: Vec<PathBuf>,
    framing: Framing,
    limit: usize,
    asked: &blocking::Receiver<()>,
    answers: &mpsc::Sender<Batch>,
) -> bool {
    // Whether a batch has been asked for that has not been given yet.
    let mut wanted = false;
    let files = if files.is_empty() { vec![PathBuf::from("-")] } else { files };
    for file in files {
        let name = if file == Path::new("-") { "stdin".to_owned() } else { file.display().to_string() };
        let mut reader = match open(&file) {
            Ok(input) => RecordReader::new(input, framing, limit),
            Err(error) => {
                let _ = answers
                    .blocking_send(Err(anyhow!(error).context(format!("input {name}: cannot open it"))));
                return false;
            }
        };
        loop {
            if !wanted && asked.recv().is_err() {
                return false;
            }
            wanted = true;
            match reader.next_batch() {
                Ok(Some(batch)) => {
                    if answers.blocking_send(Ok(batch)).is_err() {
                        return false;
                    }
                    wanted = false;
                }
                Ok(None) => break,
                Err(error) => {
                    let _ = answers.blocking_send(Err(anyhow!(error).context(format!("input {name}"))));
                    return false;
                }
            }
        }
    }
    true
}

fn open(file: &Path) -> io::Result<Box<dyn Read>> {
    if file == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    Ok(Box::new(File::open(file)?))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;
    use std::time::{Duration, Instant};

    use super::*;

    fn on_runtime<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
    }

    #[test]
    fn files_follow_one_another_and_do_not_run_together() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b, c) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("c"));
        std::fs::write(&a, "1\n2").unwrap();
        std::fs::write(&b, "").unwrap();
        std::fs::write(&c, "3\n").unwrap();
        let mut input = Input::start(vec![a, b, c], Framing::Newline, 10).unwrap();
        let records = on_runtime(async {
            let mut records = Vec::new();
            while let Some(batch) = input.next().await.unwrap() {
                records.extend(batch);
            }
            records
        });
        assert_eq!(records, [&b"1"[..], b"2", b"3"]);
    }

    #[test]
    fn many_batches_arrive_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("numbers");
        let numbers: Vec<String> = (0..200_000).map(|n: u32| n.to_string()).collect();
        std::fs::write(&file, numbers.join("\n")).unwrap();
        let mut input = Input::start(vec![file], Framing::Newline, 10).unwrap();
        on_runtime(async {
            let mut at = 0;
            while let Some(batch) = input.next().await.unwrap() {
                for record in batch {
                    assert_eq!(record, numbers[at].as_bytes());
                    at += 1;
                }
            }
            assert_eq!(at, numbers.len());
        });
    }

    #[test]
    fn what_a_read_under_way_brings_after_the_stop_is_not_lost() {
        let (reader, mut writer) = io::pipe().unwrap();
        let path = PathBuf::from(format!("/dev/fd/{}", reader.as_raw_fd()));
        let mut input = Input::start(vec![path], Framing::Newline, 10).unwrap();
        writer.write_all(b"1\n").unwrap();
        assert_eq!(on_runtime(input.next()).unwrap().unwrap(), [&b"1"[..]]);
        assert!(input.stop().is_empty());
        writer.write_all(b"2\n").unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        let mut late = Vec::new();
        while late.is_empty() && Instant::now() < until {
            late = input.stop();
            std::thread::yield_now();
        }
        assert_eq!(late, [&b"2"[..]]);
    }

    #[test]
    fn an_error_names_its_input_and_comes_after_what_was_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "ok\ntoo long for this\n").unwrap();
        let missing = dir.path().join("missing");
        let mut input = Input::start(vec![file, missing.clone()], Framing::Newline, 5).unwrap();
        on_runtime(async {
            assert_eq!(input.next().await.unwrap().unwrap(), [&b"ok"[..]]);
            let error = format!("{:#}", input.next().await.unwrap_err());
            assert!(error.contains("file") && error.contains("record 2"), "{error}");
            let mut input = Input::start(vec![missing], Framing::Newline, 5).unwrap();
            assert!(format!("{:#}", input.next().await.unwrap_err()).contains("missing"));
        });
    }
}
