//! Receives messages, with the time-outs of the command line.

use std::time::Duration;

use tidegate::{Delivery, Pull, RecvError};
use tokio::time::Instant;

use crate::args::PullArgs;
use crate::connecting::LastFailure;
use crate::text;
use crate::timer::at;

/// A `Pull` with `--idle-exit` and `--connect-timeout`.
pub(crate) struct Source {
    pull: Pull,
    idle: Option<Duration>,
    /// When the last message arrived, or the last command ended.
    active: Instant,
    connect_timeout: Option<Duration>,
    /// Why no pusher has connected.
    failures: LastFailure,
    /// When a pusher must have connected; `None` once one has.
    connect_by: Option<Instant>,
}

/// What happened.
pub(crate) enum Next {
    Message(Delivery),
    /// Every expected pusher has ended.
    Ended,
    /// Nothing has happened for the time of `--idle-exit`.
    Idle,
}

impl Source {
    /// Starts the time-outs.
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

    /// Restarts the idle time.
    pub(crate) fn touch(&mut self) {
        self.active = Instant::now();
    }

    /// Waits for the next message. While `busy` (commands run), the idle time does not count. Cancel safe.
    ///
    /// # Errors
    /// If the last remaining endpoint refuses the puller permanently, or no pusher has connected in time.
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
                // Not after an error: while one endpoint refuses, a pusher may still connect at another one.
                Ok(()) = self.pull.connected(1), if self.connect_by.is_some() => self.connect_by = None,
                () = at(self.connect_by) => self.check_connected()?,
                () = at(idle_at) => return Ok(Next::Idle),
            }
        }
    }

    /// A message that has already arrived.
    pub(crate) fn try_next(&mut self) -> anyhow::Result<Option<Delivery>> {
        match self.pull.try_recv() {
            Ok(delivery) => Ok(delivery),
            Err(error @ RecvError::Refused { .. }) => self.note(error).map(|()| None),
            Err(error) => Err(error.into()),
        }
    }

    /// Reports that one endpoint refuses permanently. The others continue, if there are any. The library
    /// counts them, because new tokens give a refusing endpoint another attempt.
    fn note(&self, refused: RecvError) -> anyhow::Result<()> {
        if self.pull.refusal().is_some() {
            return Err(refused.into());
        }
        text::say(format_args!(
            "error: {}; continuing with the other endpoints",
            text::visible(&refused.to_string())
        ));
        Ok(())
    }

    fn check_connected(&mut self) -> anyhow::Result<()> {
        self.connect_by = None;
        let stats = self.pull.stats();
        // A pusher that has connected and disconnected since the last check counts too.
        if stats.links == 0 && stats.received == 0 && stats.pushers_ended == 0 {
            let timeout = self.connect_timeout.unwrap_or_default();
            return Err(self.failures.timed_out("pusher", timeout));
        }
        Ok(())
    }
}
