//! Where messages come from, with the time-outs of the command line.

use std::time::Duration;

use tidegate::{Delivery, Pull, RecvError};
use tokio::time::Instant;

use crate::args::PullArgs;
use crate::connecting::LastFailure;
use crate::text;

/// A `Pull` with `--idle-exit` and `--connect-timeout`.
pub(crate) struct Source {
    pull: Pull,
    idle: Option<Duration>,
    /// When the last message came, or the last command ended.
    active: Instant,
    connect_timeout: Option<Duration>,
    /// Why nobody has connected.
    failures: LastFailure,
    /// When some pusher must have connected; `None` once one has.
    connect_by: Option<Instant>,
}

/// What came.
pub(crate) enum Next {
    Message(Delivery),
    /// Every expected pusher has ended.
    Ended,
    /// Nothing, for as long as `--idle-exit` says.
    Idle,
}

impl Source {
    /// Counts the times from now on.
    pub(crate) fn new(pull: &Pull, args: &PullArgs) -> Self {
        let now = Instant::now();
        Self {
            pull: pull.clone(),
            idle: args.idle_exit,
            active: now,
            connect_timeout: args.connect_timeout,
            failures: LastFailure::watch(pull.events()),
            connect_by: args.connect_timeout.and_then(|timeout| now.checked_add(timeout)),
        }
    }

    /// Something has happened: the idle time starts anew.
    pub(crate) fn touch(&mut self) {
        self.active = Instant::now();
    }

    /// Waits for the next message. While `busy` (commands run) the idle time does not count. Cancel safe.
    ///
    /// # Errors
    /// When a pusher has refused for good and no other is left, or nobody has connected in time.
    pub(crate) async fn next(&mut self, busy: bool) -> anyhow::Result<Next> {
        loop {
            let idle_at = if busy { None } else { self.idle.and_then(|idle| self.active.checked_add(idle)) };
            tokio::select! {
                biased;
                received = self.pull.recv() => match received {
                    Ok(Some(delivery)) => {
                        self.connect_by = None;
                        self.touch();
                        return Ok(Next::Message(delivery));
                    }
                    Ok(None) => {
                        return match self.pull.refusal() {
                            None => Ok(Next::Ended),
                            Some(refusal) => Err(RecvError::Refused(Box::new(refusal)).into()),
                        };
                    }
                    Err(error @ RecvError::Refused { .. }) => self.note(error)?,
                    Err(error) => return Err(error.into()),
                },
                // Not after an error: while one endpoint refuses, another one may still bring a pusher in time.
                Ok(()) = self.pull.connected(1), if self.connect_by.is_some() => self.connect_by = None,
                () = at(self.connect_by) => self.check_connected()?,
                () = at(idle_at) => return Ok(Next::Idle),
            }
        }
    }

    /// A message that is there already.
    pub(crate) fn try_next(&mut self) -> anyhow::Result<Option<Delivery>> {
        match self.pull.try_recv() {
            Ok(delivery) => Ok(delivery),
            Err(error @ RecvError::Refused { .. }) => self.note(error).map(|()| None),
            Err(error) => Err(error.into()),
        }
    }

    /// One endpoint refuses permanently: the others continue, if there are any. The library counts them: other tokens give an endpoint
    /// that refused another try.
    fn note(&self, refused: RecvError) -> anyhow::Result<()> {
        if self.pull.refusal().is_some() {
            return Err(refused.into());
        }
        text::say(format_args!("error: {}; going on with the others", text::visible(&refused.to_string())));
        Ok(())
    }

    fn check_connected(&mut self) -> anyhow::Result<()> {
        self.connect_by = None;
        let stats = self.pull.stats();
        // A pusher that has come and gone between two looks has connected, too.
        if stats.links == 0 && stats.received == 0 && stats.pushers_ended == 0 {
            let timeout = self.connect_timeout.unwrap_or_default();
            return Err(self.failures.timed_out("pusher", timeout));
        }
        Ok(())
    }
}

/// Waits until then; for ever if there is no such time.
pub(crate) async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
