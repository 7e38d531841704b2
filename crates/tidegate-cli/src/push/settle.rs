//! The end of a pusher: waiting until everything is settled, within a time limit.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use tidegate::{Message, Push, Unfinished};
use tokio::sync::mpsc::Receiver;
use tokio::time::Instant;

use super::left::Left;
use super::linger_text;
use super::saving::Saving;
use crate::exit::Exit;
use crate::signals::Signals;
use crate::text;
use crate::timer::at;

/// How to end.
pub(crate) struct Ending {
    /// Whether the stream ends. If not, pullers wait for this pusher to come back.
    pub(crate) finish: bool,
    /// The time limit; `None` waits for ever.
    pub(crate) linger: Option<Duration>,
    /// The time limit after a signal.
    pub(crate) after_signal: Duration,
    /// Whether the first signal has come already.
    pub(crate) signalled: bool,
    /// Whether to omit notices about signals.
    pub(crate) quiet: bool,
}

/// How it ended.
pub(crate) struct SettleResult {
    pub(crate) exit: Exit,
    pub(crate) left: Left,
    /// The error that made further waiting useless.
    pub(crate) error: Option<anyhow::Error>,
    /// When waiting ended, or would have ended.
    pub(crate) deadline: Option<Instant>,
    /// Whether the remaining messages are saved before the end.
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
    /// Sends `pending`, and waits until everything is settled, the time has passed, or a second signal has
    /// come.
    pub(crate) async fn settle(
        mut self,
        push: &Push,
        pending: RefCell<VecDeque<Message>>,
        saving: &mut Saving,
        signals: &mut Signals,
        trouble: &mut Receiver<anyhow::Error>,
    ) -> SettleResult {
        // The time is limited here and not by the library, because a signal may shorten it.
        let mut deadline = self.linger.and_then(|linger| Instant::now().checked_add(linger));
        let early = self.wait(&mut deadline, push, &pending, saving, signals, trouble).await;
        let (saves, signalled) = (self.saves(deadline), self.signalled);
        let pending = pending.into_inner();
        let mut left = Left::default();
        let (exit, error, leftover) = match early {
            None => {
                return SettleResult { exit: Exit::Success, left, error: None, deadline, saves, signalled };
            }
            Some(Early::Gone(unfinished)) => (Exit::Lingered, None, *unfinished.leftover),
            Some(Early::Deadline) => (Exit::Lingered, None, push.abort().await),
            Some(Early::Signal) => (Exit::Aborted, None, push.abort().await),
            Some(Early::Trouble(error)) => (Exit::Error, Some(error), push.abort().await),
        };
        left.take(leftover);
        left.not_sent.extend(pending.into_iter().map(|message| (None, message.into_payload())));
        SettleResult { exit, left, error, deadline, saves, signalled }
    }

    /// Whether the remaining messages are saved before the end. At the end of the input, only if the wait is
    /// limited. After a signal, and if the input was not read to its end, always: a SIGKILL may follow the
    /// signal.
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
                        "{name}: waiting {} for outstanding messages (a second signal stops at once)",
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
