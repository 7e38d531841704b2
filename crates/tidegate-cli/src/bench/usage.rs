//! What a process has used, and the clock that all processes of a machine share.

use rustix::time::{ClockId, Timespec, clock_gettime};
use serde::{Deserialize, Serialize};

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Usage {
    /// Seconds of CPU, in the program and in the system.
    pub(crate) cpu_seconds: f64,
    /// The most memory it has had, in KiB; 0 where the system does not tell.
    pub(crate) peak_kib: u64,
}

impl Usage {
    /// Of this process.
    pub(crate) fn now() -> Self {
        Self {
            cpu_seconds: nanos(clock_gettime(ClockId::ProcessCPUTime)) as f64 / 1e9,
            peak_kib: memory("self", "VmHWM:").unwrap_or(0),
        }
    }

    /// Of several processes together.
    pub(crate) fn sum(all: impl IntoIterator<Item = Self>) -> Self {
        all.into_iter().fold(Self::default(), |sum, one| Self {
            cpu_seconds: sum.cpu_seconds + one.cpu_seconds,
            peak_kib: sum.peak_kib + one.peak_kib,
        })
    }
}

/// The memory that a process has now, in KiB.
pub(crate) fn resident(process: u32) -> Option<u64> {
    memory(&process.to_string(), "VmRSS:")
}

fn memory(process: &str, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Nanoseconds on a clock that never goes back and that is the same for all processes.
pub(crate) fn clock() -> u64 {
    nanos(clock_gettime(ClockId::Monotonic))
}

fn nanos(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}
