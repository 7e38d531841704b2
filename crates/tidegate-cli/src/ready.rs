//! Waiting until a file can be read or written, and checking whether stdin and stdout can be used at all.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fstat};
use rustix::io::Errno;

use crate::stdio;

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    Reading,
    Writing,
}

impl For {
    fn flags(self) -> PollFlags {
        match self {
            For::Reading => PollFlags::IN,
            For::Writing => PollFlags::OUT,
        }
    }
}

/// Blocks until `file` can be read or written, or has failed. This is needed even for files that should
/// block: another process may have put a pipe into non-blocking mode, which applies to the pipe and not to a
/// process.
///
/// # Errors
/// If the operating system cannot wait for this kind of file.
pub(crate) fn wait(file: impl AsFd, until: For) -> io::Result<()> {
    let mut files = [PollFd::from_borrowed_fd(file.as_fd(), until.flags())];
    loop {
        match poll(&mut files, None) {
            Err(Errno::INTR) => {}
            other => return other.map(|_| ()).map_err(io::Error::from),
        }
    }
}

/// What came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// The file can be read, is at its end, or has failed.
    File,
    /// Waiting must end.
    Stop,
    /// The time has passed.
    Time,
}

/// Blocks until `file` or `stop` can be read or is at its end, or until the time has passed. `stop` takes
/// precedence.
///
/// # Errors
/// As for [`wait`].
pub(crate) fn first(file: impl AsFd, stop: impl AsFd, time: Option<Duration>) -> io::Result<First> {
    let mut files = [
        PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(file.as_fd(), PollFlags::IN),
    ];
    let time = time.and_then(|time| Timespec::try_from(time).ok());
    loop {
        match poll(&mut files, time.as_ref()) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(0) => return Ok(First::Time),
            Ok(_) if files.first().is_some_and(|stop| !stop.revents().is_empty()) => return Ok(First::Stop),
            Ok(_) => return Ok(First::File),
        }
    }
}

/// Why `fd`, which was inherited as stdin or stdout, cannot be read or written. `None` if it can.
///
/// A stream that was closed has been opened again by now, see [`stdio`].
pub(crate) fn unusable(fd: BorrowedFd<'_>, wanted: For) -> Option<&'static str> {
    if stdio::was_closed(fd) {
        return Some("it is closed");
    }
    let (Ok(flags), Ok(data)) = (fcntl_getfl(fd), fstat(fd)) else { return Some("it is closed") };
    #[cfg(target_os = "linux")] // macOS has no such descriptors
    if flags.contains(OFlags::PATH) {
        return Some("it was opened for neither reading nor writing");
    }
    match (flags & OFlags::RWMODE, wanted) {
        (OFlags::WRONLY, For::Reading) => return Some("it was opened for writing only"),
        (OFlags::RDONLY, For::Writing) => return Some("it was opened for reading only"),
        _ => {}
    }
    (rustix::fs::FileType::from_raw_mode(data.st_mode) == rustix::fs::FileType::Directory)
        .then_some("it is a directory")
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_descriptor_that_cannot_be_read_or_written_is_reported_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let both = |path: &str| File::options().read(true).write(true).open(path).unwrap();
        let writing = File::create(&path).unwrap();
        let reading = File::open(&path).unwrap();
        let of = |file: &File, wanted| unusable(file.as_fd(), wanted);
        assert_eq!(of(&writing, For::Reading), Some("it was opened for writing only"));
        assert_eq!(of(&reading, For::Writing), Some("it was opened for reading only"));
        assert_eq!(of(&File::open(dir.path()).unwrap(), For::Reading), Some("it is a directory"));
        for (file, wanted) in [
            (&reading, For::Reading),
            (&writing, For::Writing),
            (&File::open("/dev/null").unwrap(), For::Reading),
            (&File::create("/dev/null").unwrap(), For::Writing),
            (&both(path.to_str().unwrap()), For::Reading),
            // Some programs start others like this, to discard their output.
            (&both("/dev/null"), For::Writing),
        ] {
            assert_eq!(of(file, wanted), None);
        }
    }
}
