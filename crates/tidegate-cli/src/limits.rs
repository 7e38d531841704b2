//! The limit on file descriptors: as high as possible for the daemon, and unchanged for the commands that it
//! starts.

use std::io;
use std::sync::OnceLock;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The soft limit before [`raise`], if [`raise`] changed it.
static BEFORE: OnceLock<u64> = OnceLock::new();

/// Raises the soft limit on file descriptors to the hard limit. Each link needs a descriptor, and the usual
/// soft limit of 1,024 is meant for programs that use `select`. It is not an error if the limit cannot be
/// raised.
pub(crate) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    if let Some(soft) = limit.current
        && limit.maximum.is_none_or(|hard| soft < hard)
        && setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).is_ok()
    {
        let _ = BEFORE.set(soft);
    }
}

/// A shell command that restores the original limit for the command after it. Some programs fail with a high
/// limit, and some close every possible descriptor.
pub(crate) fn restore() -> Option<String> {
    BEFORE.get().map(|soft| format!("ulimit -S -n {soft}; "))
}

/// Whether `error` says that the system lacks something that may be available again later.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::AGAIN | Errno::NOMEM))
}

/// The limit that caused such an error, for a message.
pub(crate) fn of(error: &io::Error) -> String {
    let (resource, option, what) = match Errno::from_io_error(error) {
        Some(Errno::MFILE) => (Resource::Nofile, "-n", "file descriptors"),
        Some(Errno::AGAIN) => (Resource::Nproc, "-u", "processes of this user"),
        Some(Errno::NFILE) => return "the limit on open files of the whole system".to_owned(),
        _ => return "the memory of this system".to_owned(),
    };
    match getrlimit(resource).current {
        Some(limit) => format!("the limit of {limit} {what} (ulimit {option})"),
        None => format!("the limit on {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_distinguished_from_a_permanent_error() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::NOMEM] {
            assert!(is_shortage(&errno.into()), "{errno}");
            assert!(!of(&errno.into()).is_empty());
        }
        for errno in [Errno::NOENT, Errno::ACCESS, Errno::NOSPC] {
            assert!(!is_shortage(&errno.into()), "{errno}");
        }
        assert!(of(&Errno::MFILE.into()).contains("ulimit -n"));
    }
}
