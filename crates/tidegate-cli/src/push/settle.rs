//! The end of a pusher: waiting until everything is settled, and for how long.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tidegate::{Leftover, Message, Push, Undelivered, Unfinished};
use tokio::sync::mpsc::Receiver;
use tokio::time::Instant;

use super::linger_text;
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
#[derive(Default)]
pub(crate) struct Left {
    /// Certainly not processed.
    pub(crate) not_sent: Vec<(Option<u64>, Bytes)>,
    /// Delivered, and perhaps processed.
    pub(crate) not_acked: Vec<(Option<u64>, Bytes)>,
}

/// How it ended.
pub(crate) struct Settled {
    pub(crate) exit: Exit,
    pub(crate) left: Left,
    /// What made waiting useless.
    pub(crate) error: Option<anyhow::Error>,
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
        mut pending: VecDeque<Message>,
        signals: &mut Signals,
        trouble: &mut Receiver<anyhow::Error>,
    ) -> Settled {
        let early = self.wait(push, &mut pending, signals, trouble).await;
        let mut left = Left::default();
        let (exit, error, leftover) = match early {
            None => return Settled { exit: Exit::Success, left, error: None },
            Some(Early::Gone(unfinished)) => (Exit::Lingered, None, *unfinished.leftover),
            Some(Early::Deadline) => (Exit::Lingered, None, push.abort().await),
            Some(Early::Signal) => (Exit::Aborted, None, push.abort().await),
            Some(Early::Trouble(error)) => (Exit::Error, Some(error), push.abort().await),
        };
        left.take(leftover);
        left.not_sent.extend(pending.into_iter().map(|message| (None, message.into_payload())));
        Settled { exit, left, error }
    }

    async fn wait(
        &mut self,
        push: &Push,
        pending: &mut VecDeque<Message>,
        signals: &mut Signals,
        trouble: &mut Receiver<anyhow::Error>,
    ) -> Option<Early> {
        let finish = self.finish;
        // The time is kept here and not by the library, because a signal may shorten it.
        let mut deadline = self.linger.and_then(|linger| Instant::now().checked_add(linger));
        let work = async {
            while let Some(message) = pending.front() {
                if let Err(error) = push.send(message.clone()).await {
                    return Some(Early::Trouble(error.into()));
                }
                pending.pop_front();
            }
            let settled =
                if finish { push.finish(Duration::MAX).await } else { push.drain(Duration::MAX).await };
            settled.err().map(|unfinished| Early::Gone(Box::new(unfinished)))
        };
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                name = signals.next() => {
                    if self.signalled {
                        return Some(Early::Signal);
                    }
                    self.signalled = true;
                    deadline = Instant::now().checked_add(self.after_signal);
                    text::note(self.quiet, format_args!(
                        "{name}: waiting up to {} for what has been sent (once more stops at once)",
                        linger_text(self.after_signal)
                    ));
                }
                early = &mut work => return early,
                () = at(deadline) => return Some(Early::Deadline),
                Some(error) = trouble.recv() => return Some(Early::Trouble(error)),
            }
        }
    }
}

impl Left {
    fn take(&mut self, leftover: Leftover) {
        let numbered = |u: Undelivered| (Some(u.id.number), u.message.into_payload());
        self.not_sent.extend(leftover.unsent.into_iter().map(numbered));
        self.not_acked.extend(leftover.unacked.into_iter().map(numbered));
    }
}

/// Waits until then; for ever if there is no such time.
async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
