//! The lines of a worker's stdout.

use rustix::io::Errno;
use tokio::io::AsyncReadExt as _;
use tokio::process::ChildStdout;

use super::tee::has_more;

/// Maximum length of an answer, in bytes, without its newline.
pub(super) const MAX_ANSWER: usize = 4096;

/// The lines of a worker's stdout.
pub(super) struct Lines {
    stdout: ChildStdout,
    /// An incomplete line, at most [`MAX_ANSWER`] bytes and one read long.
    pub(super) buffer: Vec<u8>,
    /// Nothing more will be read.
    pub(super) ended: bool,
}

impl Lines {
    pub(super) fn new(stdout: ChildStdout) -> Self {
        Self { stdout, buffer: Vec::new(), ended: false }
    }

    /// Whether the worker has written something that has not been read.
    pub(super) fn has_more(&self) -> bool {
        has_more(&self.stdout)
    }

    /// The part of a line that has been read. Empties it.
    pub(super) fn take_rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    /// The next complete line other than `working`. A line that is too long is cut off.
    pub(super) fn next_answer(&mut self, working: impl Fn()) -> Option<Vec<u8>> {
        loop {
            let Some(end) = memchr::memchr(b'\n', &self.buffer) else {
                return (self.buffer.len() > MAX_ANSWER).then(|| std::mem::take(&mut self.buffer));
            };
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            if line.trim_ascii() != b"working" {
                return Some(line.strip_suffix(b"\n").unwrap_or(&line).to_vec());
            }
            working();
        }
    }

    /// Reads once. Cancel safe.
    pub(super) async fn read(&mut self) {
        if self.ended {
            return std::future::pending().await;
        }
        match self.stdout.read_buf(&mut self.buffer).await {
            Ok(1..) => {}
            _ => self.ended = true,
        }
    }

    /// Reads what is available, up to the first complete line. More stays in the pipe.
    pub(super) fn take_what_is_there(&mut self) {
        let mut chunk = [0; MAX_ANSWER];
        while !self.ended && self.buffer.len() <= MAX_ANSWER && has_more(&self.stdout) {
            match rustix::io::read(&self.stdout, &mut chunk) {
                Ok(0) => self.ended = true,
                Ok(n) => self.buffer.extend_from_slice(chunk.get(..n).unwrap_or_default()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => self.ended = true,
            }
        }
    }
}
