//! When to stop, and when to stop waiting.

use std::time::Duration;

use tokio::time::Instant;

use crate::exit::Exit;
use crate::signals::Signals;
use crate::text;

/// Signals, and the linger time, which starts with the first signal or with the end of the work.
pub(crate) struct Stopper {
    signals: Signals,
    linger: Duration,
    quiet: bool,
    /// Whether the first signal has come.
    signalled: bool,
    /// Whether the linger time has started.
    ending: bool,
    /// When the linger time ends; `None` before it starts, or if it is unlimited.
    deadline: Option<Instant>,
}

impl Stopper {
    /// Installs the signal handlers, for SIGHUP too if `hangup_stops`.
    ///
    /// # Errors
    /// If the operating system refuses a handler.
    pub(crate) fn new(linger: Duration, quiet: bool, hangup_stops: bool) -> anyhow::Result<Self> {
        Ok(Self {
            signals: Signals::new(hangup_stops)?,
            linger,
            quiet,
            signalled: false,
            ending: false,
            deadline: None,
        })
    }

    /// Waits for the first signal and starts the linger time. Cancel safe.
    pub(crate) async fn requested(&mut self) {
        let name = self.signals.next().await;
        self.signalled = true;
        self.begin();
        text::note(
            self.quiet,
            format_args!("{name}: finishing the messages in progress (a second signal stops at once)"),
        );
    }

    /// Starts the linger time, if it has not started yet.
    pub(crate) fn begin(&mut self) {
        if !self.ending {
            self.ending = true;
            self.deadline = Instant::now().checked_add(self.linger);
        }
    }

    /// Waits for the first signal. After that, or after the start of the linger time, waits for its end or
    /// for another signal, and returns the exit code. Cancel safe.
    pub(crate) async fn step(&mut self) -> Option<Exit> {
        if self.ending {
            return Some(self.patience().await);
        }
        self.requested().await;
        None
    }

    /// Waits for the second signal or for the end of the linger time. Cancel safe.
    pub(crate) async fn patience(&mut self) -> Exit {
        loop {
            tokio::select! {
                name = self.signals.next() => {
                    if self.signalled {
                        return Exit::Aborted;
                    }
                    self.signalled = true;
                    text::note(self.quiet, format_args!("{name}: already stopping (a second signal stops at once)"));
                }
                () = crate::timer::at(self.deadline) => return Exit::Lingered,
            }
        }
    }
}
