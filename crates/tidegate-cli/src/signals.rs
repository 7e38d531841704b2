//! Signals that ask for the end: the first one for an orderly end, the second for an end at once.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT, SIGTERM and SIGQUIT, and SIGHUP unless it means something else.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
    hangup: Option<Signal>,
}

impl Signals {
    /// Takes the signals over from their default action. SIGHUP is one of them if `hangup_stops`: if there is nothing that
    /// [`Reload`](crate::reload::Reload) would read or open again. It stays ignored if it is, as under `nohup`.
    ///
    /// # Errors
    /// When the operating system refuses a handler.
    pub(crate) fn new(hangup_stops: bool) -> anyhow::Result<Self> {
        let take = |kind| signal(kind).context("cannot handle signals");
        Ok(Self {
            interrupt: take(SignalKind::interrupt())?,
            terminate: take(SignalKind::terminate())?,
            quit: take(SignalKind::quit())?,
            hangup: (hangup_stops && !is_ignored(SignalKind::hangup()))
                .then(|| take(SignalKind::hangup()))
                .transpose()?,
        })
    }

    /// Waits for the next of them and gives its name. Cancel safe: no signal is lost.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.quit.recv() => "SIGQUIT",
            () = hung_up(self.hangup.as_mut()) => "SIGHUP",
        }
    }
}

/// Whether whoever started this process has had a signal ignored. Where the system does not say, it counts as not ignored.
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    let bit = u32::try_from(kind.as_raw_value() - 1).ok().and_then(|bit| 1u64.checked_shl(bit));
    bit.is_some_and(|bit| mask & bit != 0)
}

async fn hung_up(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => _ = signal.recv().await,
        None => std::future::pending().await,
    }
}
