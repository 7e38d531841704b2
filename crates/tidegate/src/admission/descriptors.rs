//! The limit on file descriptors for accepted connections: all that the process may have, minus a reserve.
//!
//! Without it, a peer that opens connections could take the last descriptor. Then the process can start no
//! command, open no file and resolve no name.

use std::os::fd::RawFd;

use rustix::process::{Resource, getrlimit};

/// The descriptors that the process may have, and the part that accepted connections leave unused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// The soft limit `RLIMIT_NOFILE`.
    pub(crate) limit: u64,
    /// Reserved for everything else: an eighth of the limit, at least 16 and at most 1,024, and never more
    /// than half. Starting a command takes up to ten.
    pub(crate) reserve: u64,
}

impl Descriptors {
    /// Reads the current limit, which may change at any time. `None` if there is none.
    pub(crate) fn now() -> Option<Self> {
        getrlimit(Resource::Nofile).current.map(Self::of)
    }

    fn of(limit: u64) -> Self {
        Self { limit, reserve: (limit / 8).clamp(16, 1_024).min(limit / 2) }
    }

    /// How many descriptors may be in use when a connection is accepted.
    pub(crate) fn for_connections(self) -> u64 {
        self.limit.saturating_sub(self.reserve)
    }

    /// Whether a connection with this descriptor exceeds the limit. The system assigns the lowest free
    /// number, so the number tells how many are in use.
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
