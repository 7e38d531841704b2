//! An input that is open: stdin, a file, or a named pipe.

use std::fs::File;
use std::io::{self, PipeReader};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::OFlags;

use crate::append::{WARN_AFTER, is_fifo};
use crate::ready::{self, First};
use crate::records::ReadError;
use crate::text;

/// An input whose reads end when reading is stopped. It may be in non-blocking mode.
pub(super) struct Waiting {
    file: File,
    stopped: Arc<PipeReader>,
    /// The name for the notice about waiting for a writer; `None` after it was written.
    waits_for: Option<String>,
}

impl Waiting {
    /// Opens an input; `-` and its other names are stdin. With `follow`, a named pipe does not end with its last
    /// writer. Unless `quiet`, a notice says that a named pipe has no writer. Reads end when `stopped` is readable.
    pub(super) fn open(
        path: &Path,
        follow: bool,
        quiet: bool,
        stopped: &Arc<PipeReader>,
    ) -> io::Result<Self> {
        let stopped = Arc::clone(stopped);
        // Not opened by its name: a pipe without writers would wait for new ones.
        if is_stdin(path) && !follow {
            let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
            return Ok(Self { file, stopped, waits_for: None });
        }
        let path = real(path);
        if !is_fifo(path) {
            return Ok(Self { file: File::open(path)?, stopped, waits_for: None });
        }
        // With these flags the open does not block, and waiting for a writer can be interrupted. A pipe that
        // is also open for writing here never ends.
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let file = File::options().read(true).write(follow).custom_flags(flags).open(path)?;
        let waits_for = (!quiet).then(|| name(path));
        Ok(Self { file, stopped, waits_for })
    }
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
            let soon = self.waits_for.as_ref().map(|_| WARN_AFTER);
            match ready::first(&self.file, &*self.stopped, soon)? {
                First::Stop => return Err(io::Error::other(Stopped)),
                First::Time => {
                    if let Some(name) = self.waits_for.take() {
                        text::say(format_args!(
                            "input {}: waiting for a writer to open this named pipe",
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

pub(super) fn is_stop(error: &ReadError) -> bool {
    let ReadError::Io(error) = error else { return false };
    error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<Stopped>)
}

pub(super) fn is_stdin(path: &Path) -> bool {
    const NAMES: [&str; 4] = ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"];
    NAMES.iter().any(|name| path == Path::new(name))
}

/// A name of stdin that can be opened again.
pub(super) fn real(path: &Path) -> &Path {
    if path == Path::new("-") { Path::new("/dev/fd/0") } else { path }
}

pub(super) fn name(path: &Path) -> String {
    if path == Path::new("-") { "stdin".to_owned() } else { path.display().to_string() }
}
