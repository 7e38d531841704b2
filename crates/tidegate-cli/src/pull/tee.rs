//! The stderr of a command: it is passed on, and its last line is kept for the warning about a failure.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionread;
use tokio::io::AsyncReadExt as _;
use tokio::process::ChildStderr;

use crate::{stderr, text};

/// Maximum length of the last line, in bytes.
const MAX_LINE: usize = 300;
/// How much is read at a time, in bytes.
const CHUNK: usize = 8 << 10;
/// Maximum number of stderr pipes that are still read after their commands have ended, because each needs a
/// descriptor. Further ones are closed.
const MAX_LEFT_OPEN: usize = 64;

/// The last line of a text that is not empty.
#[derive(Default)]
pub(crate) struct LastLine {
    last: Vec<u8>,
    /// An incomplete line.
    begun: Vec<u8>,
}

impl LastLine {
    fn take(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = MAX_LINE.saturating_sub(self.begun.len());
            let line = part.strip_suffix(b"\n").unwrap_or(part);
            self.begun.extend_from_slice(line.get(..room).unwrap_or(line));
            if line.len() < part.len() {
                if self.begun.trim_ascii().is_empty() {
                    self.begun.clear();
                } else {
                    self.last = std::mem::take(&mut self.begun);
                }
            }
        }
    }

    /// `; the last line of its stderr: …`, for the end of a sentence. Empty if there is no line.
    pub(crate) fn describe(&self) -> String {
        let line = if self.begun.trim_ascii().is_empty() { &self.last } else { &self.begun };
        if line.is_empty() {
            return String::new();
        }
        let line = text::visible(String::from_utf8_lossy(line).trim());
        format!("; the last line of its stderr: {line}")
    }

    /// The last line of a file. Does not move the file's position, at which another process may write.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let mut end = vec![0; 4 * MAX_LINE];
        let from = length.saturating_sub(end.len() as u64);
        let n = file.read_at(&mut end, from)?;
        let mut last = Self::default();
        last.take(end.get(..n).unwrap_or_default());
        Ok(last)
    }
}

/// The stderr of a command while it runs.
pub(crate) struct Tee {
    /// `None` after its end.
    from: Option<ChildStderr>,
    last: LastLine,
    /// The number of pipes that are still read after the end of their commands.
    left_open: Arc<AtomicUsize>,
}

impl Tee {
    pub(crate) fn new(from: Option<ChildStderr>, left_open: Arc<AtomicUsize>) -> Self {
        Self { from, last: LastLine::default(), left_open }
    }

    /// Passes on all output. Never ends. Cancel safe.
    pub(crate) async fn run(&mut self) -> std::convert::Infallible {
        while self.next().await {}
        std::future::pending().await
    }

    /// Reads once and passes it on. `false` at the end.
    async fn next(&mut self) -> bool {
        let Some(from) = &mut self.from else { return false };
        let mut chunk = [0; CHUNK];
        match from.read(&mut chunk).await {
            Ok(n @ 1..) => self.pass(chunk.get(..n).unwrap_or_default()),
            _ => self.from = None,
        }
        self.from.is_some()
    }

    fn pass(&mut self, bytes: &[u8]) {
        self.last.take(bytes);
        stderr::log(bytes.to_vec());
    }

    /// Passes on the output that is left after the end of the command, and returns the last line. If another
    /// process still holds the pipe, its output is passed on until it ends.
    pub(crate) async fn finish(mut self) -> LastLine {
        // No more than is available now: a process that was left behind may write without end.
        let unread = self.from.as_ref().and_then(|from| ioctl_fionread(from).ok()).unwrap_or(0);
        // A chunk may be read in parts.
        let mut reads = unread.div_ceil(CHUNK as u64).saturating_add(1);
        while reads > 0 && self.from.as_ref().is_some_and(has_more) && self.next().await {
            reads -= 1;
        }
        let last = std::mem::take(&mut self.last);
        if self.from.is_some() {
            let before = self.left_open.fetch_add(1, Ordering::Relaxed);
            let open = LeftOpen(Arc::clone(&self.left_open));
            if before < MAX_LEFT_OPEN {
                tokio::spawn(async move {
                    let _open = open;
                    while self.next().await {}
                });
            }
        }
        last
    }
}

/// Whether something can be read now. After the end of a command, all its output is in the pipe.
pub(crate) fn has_more(pipe: &impl AsFd) -> bool {
    let mut files = [PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut files, Some(&now)).is_ok() && files.iter().any(|file| file.revents().contains(PollFlags::IN))
}

struct LeftOpen(Arc<AtomicUsize>);

impl Drop for LeftOpen {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn the_last_line_is_the_last_one_with_text_however_it_is_read() {
        for (parts, last) in [
            (&["a\nb\n"][..], "b"),
            (&["a\nb"], "b"),
            (&["a\n\n \n"], "a"),
            (&["a", "b", "\n"], "ab"),
            (&["a\n", "\u{1b}[2J\r\n"], "\\u{1b}[2J"),
        ] {
            let mut line = LastLine::default();
            parts.iter().for_each(|part| line.take(part.as_bytes()));
            assert_eq!(line.describe(), format!("; the last line of its stderr: {last}"), "{parts:?}");
            let mut file = tempfile::tempfile().unwrap();
            parts.iter().for_each(|part| file.write_all(part.as_bytes()).unwrap());
            assert_eq!(LastLine::of(&file).unwrap().describe(), line.describe());
        }
        assert_eq!(LastLine::default().describe(), "");
    }

    #[test]
    fn the_stored_part_of_a_line_is_bounded() {
        let mut line = LastLine::default();
        (0..1_000).for_each(|_| line.take(&[b'x'; 1_000]));
        assert_eq!((line.begun.len(), line.last.len()), (MAX_LINE, 0));
    }
}
