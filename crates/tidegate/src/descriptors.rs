//! How many file descriptors connections from outside may take: as many as the process may have, but for a reserve.
//!
//! Without it, whoever connects often enough takes the last one, and the process can start no command, open no file and resolve no
//! name any more.

use std::os::fd::RawFd;

use rustix::process::{Resource, getrlimit};

/// What the process may have, and what connections from outside leave of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// `RLIMIT_NOFILE`, the soft limit.
    pub(crate) limit: u64,
    /// For everything else: an eighth of the limit, at least 16 and at most 1,024, and never more than half of it. A command takes
    /// up to ten while it is started.
    pub(crate) reserve: u64,
}

impl Descriptors {
    /// Now: the limit may be changed at any time. `None` if there is none.
    pub(crate) fn now() -> Option<Self> {
        getrlimit(Resource::Nofile).current.map(Self::of)
    }

    fn of(limit: u64) -> Self {
        Self { limit, reserve: (limit / 8).clamp(16, 1_024).min(limit / 2) }
    }

    /// How many may be taken when a connection is accepted.
    pub(crate) fn for_connections(self) -> u64 {
        self.limit.saturating_sub(self.reserve)
    }

    /// Whether a connection with this descriptor is one too many. The system gives the lowest number that is free, so the number says
    /// how many are taken.
    pub(crate) fn are_short(self, descriptor: RawFd) -> bool {
        u64::try_from(descriptor).is_ok_and(|number| number >= self.for_connections())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_a_reserve() {
        for (limit, connections) in
            [(0, 0), (16, 8), (64, 48), (256, 224), (1_024, 896), (1 << 20, (1 << 20) - 1_024)]
        {
            let all = Descriptors::of(limit);
            assert_eq!(all.for_connections(), connections);
            let first_too_many = RawFd::try_from(connections).unwrap();
            assert!(all.are_short(first_too_many) && !all.are_short(first_too_many - 1));
        }
        assert!(Descriptors::now().is_none_or(|all| !all.are_short(0)));
    }
}
