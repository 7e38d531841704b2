//! The end of a pusher: waiting until everything is settled, and for how long.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tidegate::{Leftover, Message, Push, Undelivered, Unfinished};
use tokio::sync::mpsc::Receiver;
use tokio::time::Instant;

use super::linger_text;
use super::saving::Saving;
use crate::exit::Exit;
use crate::signals::Signals;
use crate::text;

/// How to end.
pub(crate) struct Ending {
    /// The stream is over; else pullers wait for this pusher to come back.
    pub(crate) finish: bool,
    /// How long to wait; `None` is for ever.
    pub(crate) linger: Option<Duration>,
    /// How long to wait once a signal has come.
    pub(crate) after_signal: Duration,
    /// Whether the first signal has come already.
    pub(crate) signalled: bool,
    /// Whether to say nothing about signals.
    pub(crate) quiet: bool,
}

/// Payloads that nobody has acked, with their numbers if they were accepted.
#[derive(Clone, Default)]
pub(crate) struct Left {
    /// Certainly not processed.
    pub(crate) not_sent: Vec<(Option<u64>, Bytes)>,
    /// Delivered, and perhaps processed.
    pub(crate) not_acked: Vec<(Option<u64>, Bytes)>,
    /// Rejected, and not in `--dead-letter`.
    pub(crate) rejected: Vec<(u64, Bytes)>,
}

/// How it ended.
pub(crate) struct Settled {
    pub(crate) exit: Exit,
    pub(crate) left: Left,
    /// What made waiting useless.
    pub(crate) error: Option<anyhow::Error>,
    /// When waiting was, or would have been, over.
    pub(crate) deadline: Option<Instant>,
    /// Whether what is left is saved early.
    pub(crate) saves: bool,
    /// Whether a signal has come.
    pub(crate) signalled: bool,
}

/// Why waiting ended before everything was settled.
enum Early {
    Deadline,
    Signal,
    Trouble(anyhow::Error),
    /// The library gave up by itself.
    Gone(Box<Unfinished>),
}

impl Ending {
    /// Sends `pending`, and waits until everything is settled, the time is over, or a signal too many has come.
    pub(crate) async fn settle(
        mut self,
        push: &Push,
        pending: RefCell<VecDeque<Message>>,
        saving: &mut Saving,
        signals: &mut Signals,
        trouble: &mut Receiver<anyhow::Error>,
    ) -> Settled {
        // The time is kept here and not by the library, because a signal may shorten it.
        let mut deadline = self.linger.and_then(|linger| Instant::now().checked_add(linger));
        let early = self.wait(&mut deadline, push, &pending, saving, signals, trouble).await;
        let (saves, signalled) = (self.saves(deadline), self.signalled);
        let pending = pending.into_inner();
        let mut left = Left::default();
        let (exit, error, leftover) = match early {
            None => return Settled { exit: Exit::Success, left, error: None, deadline, saves, signalled },
            Some(Early::Gone(unfinished)) => (Exit::Lingered, None, *unfinished.leftover),
            Some(Early::Deadline) => (Exit::Lingered, None, push.abort().await),
            Some(Early::Signal) => (Exit::Aborted, None, push.abort().await),
            Some(Early::Trouble(error)) => (Exit::Error, Some(error), push.abort().await),
        };
        left.take(leftover);
        left.not_sent.extend(pending.into_iter().map(|message| (None, message.into_payload())));
        Settled { exit, left, error, deadline, saves, signalled }
    }

    /// Whether what is left is saved before the end. At the end of the input only while there is a limit to the waiting. After a signal,
    /// and when the input was not read to its end, always: a SIGKILL may follow the signal.
    fn saves(&self, deadline: Option<Instant>) -> bool {
        deadline.is_some() || self.signalled || !self.finish
    }

    async fn wait(
        &mut self,
        deadline: &mut Option<Instant>,
        push: &Push,
        pending: &RefCell<VecDeque<Message>>,
        saving: &mut Saving,
        signals: &mut Signals,
        trouble: &mut Receiver<anyhow::Error>,
    ) -> Option<Early> {
        let finish = self.finish;
        let work = async {
            loop {
                let Some(message) = pending.borrow().front().cloned() else { break };
                if let Err(error) = push.send(message).await {
                    return Some(Early::Trouble(error.into()));
                }
                pending.borrow_mut().pop_front();
            }
            let settled =
                if finish { push.finish(Duration::MAX).await } else { push.drain(Duration::MAX).await };
            settled.err().map(|unfinished| Early::Gone(Box::new(unfinished)))
        };
        tokio::pin!(work);
        loop {
            let save = saving.due().filter(|_| self.saves(*deadline));
            tokio::select! {
                biased;
                name = signals.next() => {
                    if self.signalled {
                        return Some(Early::Signal);
                    }
                    self.signalled = true;
                    *deadline = Instant::now().checked_add(self.after_signal);
                    text::note(self.quiet, format_args!(
                        "{name}: waiting up to {} for what has been sent (once more stops at once)",
                        linger_text(self.after_signal)
                    ));
                }
                early = &mut work => return early,
                () = at(*deadline) => return Some(Early::Deadline),
                () = saving.progress() => {}
                () = at(save) => {
                    let mut left = Left::default();
                    left.take(push.leftover());
                    left.not_sent.extend(pending.borrow().iter().map(|message| (None, message.payload().clone())));
                    saving.start(left);
                }
                Some(error) = trouble.recv() => return Some(Early::Trouble(error)),
            }
        }
    }
}

impl Left {
    /// Adds what a pusher has left.
    pub(crate) fn take(&mut self, leftover: Leftover) {
        let numbered = |u: Undelivered| (Some(u.id.number), u.message.into_payload());
        self.not_sent.extend(leftover.unsent.into_iter().map(numbered));
        self.not_acked.extend(leftover.unacked.into_iter().map(numbered));
    }

    /// All of it, in the order in which it was read, each accepted message once. What was never accepted has no number, and comes last.
    pub(crate) fn in_order(self) -> Vec<(Option<u64>, Bytes)> {
        let mut all = self.not_acked;
        all.extend(self.not_sent);
        all.extend(self.rejected.into_iter().map(|(number, payload)| (Some(number), payload)));
        all.sort_by_key(|(number, _)| number.unwrap_or(u64::MAX));
        all.dedup_by(|one, other| one.0.is_some() && one.0 == other.0);
        all
    }
}

/// Waits until then; for ever if there is no such time.
pub(crate) async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
