//! The resources that a process has used, and a clock that all processes of the machine share.

use rustix::time::{ClockId, Timespec, clock_gettime};
use serde::{Deserialize, Serialize};

/// The resources that a process has used so far.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Usage {
    /// CPU time of the program and the system, in seconds.
    pub cpu_seconds: f64,
    /// Peak resident memory, in KiB; 0 if the system does not report it.
    pub peak_kib: u64,
}

impl Usage {
    /// The usage of this process.
    #[must_use]
    pub fn now() -> Self {
        Self {
            cpu_seconds: nanos(clock_gettime(ClockId::ProcessCPUTime)) as f64 / 1e9,
            peak_kib: memory("self", "VmHWM:").unwrap_or(0),
        }
    }

    /// The sum of several processes.
    pub(super) fn sum(all: impl IntoIterator<Item = Self>) -> Self {
        all.into_iter().fold(Self::default(), |sum, one| Self {
            cpu_seconds: sum.cpu_seconds + one.cpu_seconds,
            peak_kib: sum.peak_kib + one.peak_kib,
        })
    }
}

/// The current resident memory of a process, in KiB. `None` if the system does not report it.
#[must_use]
pub fn resident(process: u32) -> Option<u64> {
    memory(&process.to_string(), "VmRSS:")
}

fn memory(process: &str, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The time in nanoseconds, on a monotonic clock that is the same for all processes.
#[must_use]
pub fn clock() -> u64 {
    nanos(clock_gettime(ClockId::Monotonic))
}

fn nanos(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}
