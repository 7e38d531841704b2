//! Signals that stop a daemon: the first one in an orderly way, the second one at once.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT, SIGTERM and SIGQUIT, and SIGHUP unless it reloads files.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
    hangup: Option<Signal>,
}

impl Signals {
    /// Installs handlers for the signals. SIGHUP is one of them if `hangup_stops`, that is if there is
    /// nothing that [`Reload`](crate::reload::Reload) would reload or reopen. If SIGHUP is ignored, as under
    /// `nohup`, it stays ignored.
    ///
    /// # Errors
    /// If the operating system refuses a handler.
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

    /// Waits for the next signal and returns its name. Cancel safe: no signal is lost.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.quit.recv() => "SIGQUIT",
            () = hung_up(self.hangup.as_mut()) => "SIGHUP",
        }
    }
}

/// Whether this process was started with the signal ignored. `false` if the system does not say.
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
