//! The queue in front of stderr: no other thread waits for the reader of stderr.
//!
//! ```text
//! log, notices, errors ──► queue (1 MiB) ──► a thread ──► stderr
//!                            └── full: lines are dropped and counted; the count is written when there is room
//! ```

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::ready::{self, For};

/// Size of the queue for log lines, in bytes: some seconds of a log that is too detailed for its reader.
const MAX_LOG_BYTES: usize = 1 << 20;
/// Additional room for errors, notices and the summary. They are few, and a flood of log lines should not
/// displace them.
const RESERVED_BYTES: usize = 64 << 10;
/// How long the end of the process waits for each line; [`MAX_TOTAL_WAIT`] limits the whole wait.
const MAX_LINE_WAIT: Duration = Duration::from_millis(500);
/// See [`MAX_LINE_WAIT`].
const MAX_TOTAL_WAIT: Duration = Duration::from_secs(5);

static STDERR: Queue = Queue::new();

/// Queues one log line. It is dropped and counted if the queue is full.
pub(crate) fn log(line: Vec<u8>) {
    STDERR.put(line, MAX_LOG_BYTES);
}

/// Queues one line that is more important than the log.
pub(crate) fn tell(line: Vec<u8>) {
    STDERR.put(line, MAX_LOG_BYTES + RESERVED_BYTES);
}

/// Waits until everything has been written, but not for a reader that reads nothing. Blocks, and so is only
/// for the end of the process.
pub(crate) fn finish() {
    STDERR.finish(MAX_LINE_WAIT, MAX_TOTAL_WAIT);
}

/// Queues panic messages too: the default hook writes to stderr itself, and could block for ever.
pub(crate) fn take_over_panics() {
    std::panic::set_hook(Box::new(|info| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("?");
        let backtrace = std::backtrace::Backtrace::capture();
        let mut line = format!("error: thread {name} {info}\n");
        if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
            line += &format!("{backtrace}\n");
        }
        tell(line.into_bytes());
        finish();
    }));
}

/// The writer of the log.
pub(crate) struct Log;

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        log(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Queue {
    state: Mutex<QueueState>,
    /// Lines were queued.
    filled: Condvar,
    /// A line has been written.
    written: Condvar,
}

#[derive(Default)]
struct QueueState {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Lines that were dropped and not yet reported.
    dropped: u64,
    /// Whether the writing thread runs.
    started: bool,
    /// Whether the thread is writing a line, which is no longer in `lines`.
    writing: bool,
    /// Lines written so far.
    done: u64,
}

impl Queue {
    const fn new() -> Self {
        let state = QueueState {
            lines: VecDeque::new(),
            bytes: 0,
            dropped: 0,
            started: false,
            writing: false,
            done: 0,
        };
        Self { state: Mutex::new(state), filled: Condvar::new(), written: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&'static self, line: Vec<u8>, room: usize) {
        let mut state = self.lock();
        state.add(line, room);
        if !state.started {
            // If that fails, the lines wait for the next attempt.
            let thread = std::thread::Builder::new().name("stderr".into());
            state.started = thread.spawn(|| self.run(&io::stderr())).is_ok();
        }
        self.filled.notify_one();
    }

    /// Writes lines for ever.
    fn run(&self, to: &impl AsFd) {
        let mut state = self.lock();
        loop {
            if let Some(line) = state.next() {
                state.writing = true;
                drop(state);
                write(to, &line);
                state = self.lock();
                state.writing = false;
                state.done += 1;
                self.written.notify_all();
            } else {
                state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Waits until the queue is empty, for at most `stalled` per line and `end` in all.
    fn finish(&self, stalled: Duration, end: Duration) {
        let end = Instant::now() + end;
        let mut state = self.lock();
        while state.started && !state.is_empty() {
            let done = state.done;
            let wait = stalled.min(end.saturating_duration_since(Instant::now()));
            state = self
                .written
                .wait_timeout_while(state, wait, |state| state.done == done)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            if state.done == done {
                return;
            }
        }
    }
}

impl QueueState {
    fn add(&mut self, line: Vec<u8>, room: usize) {
        if self.bytes.saturating_add(line.len()) > room {
            self.dropped += 1;
            return;
        }
        // Reported at the place where the lines are missing.
        if let Some(gap) = self.gap() {
            self.push(gap);
        }
        self.push(line);
    }

    fn push(&mut self, line: Vec<u8>) {
        self.bytes += line.len();
        self.lines.push_back(line);
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        let line = self.lines.pop_front();
        if let Some(line) = &line {
            self.bytes -= line.len();
        }
        line.or_else(|| self.gap())
    }

    fn gap(&mut self) -> Option<Vec<u8>> {
        let dropped = std::mem::take(&mut self.dropped);
        (dropped > 0).then(|| {
            let lines = crate::numbers::count(dropped, "line");
            format!("warning: {lines} dropped here because stderr was not read\n").into_bytes()
        })
    }

    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.dropped == 0 && !self.writing
    }
}

/// Writes a line at once, so that the lines of several processes do not mix. If that fails, the line is lost,
/// because there is no way to report it.
fn write(to: &impl AsFd, line: &[u8]) {
    let mut rest = line;
    while !rest.is_empty() {
        match rustix::io::write(to, rest) {
            Ok(0) => return,
            Ok(n) => rest = rest.get(n..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if ready::wait(to, For::Writing).is_ok() => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};

    use super::*;

    #[test]
    fn dropped_lines_are_counted_and_reported_where_they_are_missing() {
        let mut state = QueueState::default();
        state.add(b"1\n".to_vec(), 4);
        state.add(b"2\n".to_vec(), 4);
        state.add(b"3\n".to_vec(), 4);
        state.add(b"4\n".to_vec(), 4);
        state.add(b"important\n".to_vec(), 20);
        let all: Vec<_> =
            std::iter::from_fn(|| state.next()).map(|line| String::from_utf8(line).unwrap()).collect();
        let gap = "warning: 2 lines dropped here because stderr was not read\n";
        assert_eq!(all, ["1\n", "2\n", gap, "important\n"]);
        assert_eq!((state.bytes, state.dropped), (0, 0));
        state.add(b"5\n".to_vec(), 1);
        assert_eq!(state.next().unwrap(), gap.replace("2 lines", "1 line").into_bytes(), "also at the end");
        assert!(state.is_empty());
    }

    #[test]
    fn the_end_does_not_wait_for_a_stalled_reader_which_gets_everything_once_it_reads() {
        let queue: &'static Queue = Box::leak(Box::new(Queue::new()));
        let (reader, writer) = io::pipe().unwrap();
        // Otherwise `put` would start a thread that writes to stderr.
        queue.lock().started = true;
        std::thread::spawn(move || queue.run(&writer));
        for n in 0..20_000 {
            queue.put(format!("line {n:060}\n").into_bytes(), MAX_LOG_BYTES);
        }
        queue.finish(Duration::from_millis(1), MAX_TOTAL_WAIT);
        let dropped = queue.lock().dropped;
        assert!(dropped > 0, "more than there is room for");
        let mut lines = BufReader::new(reader).lines().map(Result::unwrap);
        for n in 0..20_000 - dropped {
            assert_eq!(lines.next().unwrap(), format!("line {n:060}"));
        }
        assert!(lines.next().unwrap().contains("lines dropped here"));
        queue.finish(Duration::from_secs(60), Duration::from_secs(60));
        assert!(queue.lock().is_empty());
    }
}
