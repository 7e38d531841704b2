//! When to stop, and when to stop waiting.

use std::time::Duration;

use tokio::time::Instant;

use crate::exit::Exit;
use crate::signals::Signals;
use crate::text;

/// Signals, and the linger time that starts with the first of them or with the end of the work.
pub(crate) struct Stopper {
    signals: Signals,
    linger: Duration,
    quiet: bool,
    /// Whether the first signal has come.
    signalled: bool,
    /// Whether the linger time runs.
    ending: bool,
    /// When it is over; `None` while it does not run, or if it is for ever.
    deadline: Option<Instant>,
}

impl Stopper {
    /// Takes the signals over, SIGHUP among them if `hangup_stops`.
    ///
    /// # Errors
    /// When the operating system refuses.
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
            format_args!("{name}: finishing what has been started (once more stops at once)"),
        );
    }

    /// Starts the linger time, if it does not run yet.
    pub(crate) fn begin(&mut self) {
        if !self.ending {
            self.ending = true;
            self.deadline = Instant::now().checked_add(self.linger);
        }
    }

    /// Waits for the first signal, and then, called again, until there is no patience left: that gives the exit code. Cancel safe.
    pub(crate) async fn step(&mut self) -> Option<Exit> {
        if self.ending {
            return Some(self.patience().await);
        }
        self.requested().await;
        None
    }

    /// Waits until there is no patience left: for the second signal, or the end of the linger time. Cancel safe.
    pub(crate) async fn patience(&mut self) -> Exit {
        loop {
            tokio::select! {
                name = self.signals.next() => {
                    if self.signalled {
                        return Exit::Aborted;
                    }
                    self.signalled = true;
                    text::note(self.quiet, format_args!("{name}: already ending (once more stops at once)"));
                }
                () = super::source::at(self.deadline) => return Exit::Lingered,
            }
        }
    }
}
