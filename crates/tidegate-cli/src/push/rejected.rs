//! Keeping rejected messages: each is in memory until it has been written to `--dead-letter`, also while that is stalled.
//!
//! ```text
//! pusher ──► Rejections ──► Unwritten ──► --dead-letter
//!                               └───────► each save of --unsent
//! ```

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use tidegate::{Push, Rejected, Rejections};
use tokio::sync::mpsc::Sender;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::dead::DeadLetters;
use super::linger_text;
use super::saving::Saving;
use super::settle::{Left, at};
use crate::exit::Exit;
use crate::signals::Signals;
use crate::text;
use crate::throttle::{Throttle, more};

/// How long a write is waited for when there is no time left for it; also how often it is looked at.
const WRITE_PATIENCE: Duration = Duration::from_secs(1);
/// As many rejections are listed in [`TOLD_EVERY`] (with `-v`); the others are counted.
const TOLD: u32 = 20;
/// See [`TOLD`].
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// Rejected messages that are not in `--dead-letter` yet, with the one that is being written. A cheap handle.
///
/// Before the end of the input at most one is here and the others stay with the pusher, which bounds them. After it, each save of
/// `--unsent` fetches them all: they are no more than the pusher held, and what had been read for it.
#[derive(Clone)]
pub(crate) struct Unwritten {
    state: Arc<Mutex<State>>,
    /// A save has fetched some.
    fetched: Arc<Notify>,
}

struct State {
    rejections: Rejections,
    /// Whether there is a file for them; else they are only counted and told.
    keeps: bool,
    /// With their numbers, in the order of their rejection.
    messages: VecDeque<(u64, Bytes)>,
    /// When the write of the first one began.
    since: Option<Instant>,
    first: bool,
    told: Throttle,
}

/// How long dead letters are waited for when nothing else is.
pub(crate) struct Patience {
    /// When waiting is over, although each write makes progress.
    until: Option<Instant>,
    /// How long one write may take.
    each: Option<Duration>,
    /// How long to wait once a signal has come.
    after_signal: Duration,
    /// Whether the first signal has come already.
    signalled: bool,
    /// Whether to say nothing about signals.
    quiet: bool,
}

impl Patience {
    /// For a pusher that has ended with `exit`, and had to end by `deadline`.
    pub(crate) fn new(exit: Exit, deadline: Option<Instant>, after_signal: Duration) -> Self {
        let least = Instant::now().checked_add(WRITE_PATIENCE);
        let (until, each) = match deadline {
            // The linger time is for them too.
            Some(deadline) if exit == Exit::Success => (least.map(|least| deadline.max(least)), None),
            None if exit == Exit::Success => (None, Some(after_signal.max(WRITE_PATIENCE))),
            // That time is over, and the sender of a signal may be about to kill this process.
            _ => (None, Some(WRITE_PATIENCE)),
        };
        Self { until, each, after_signal, signalled: false, quiet: false }
    }

    /// Whether the first signal has come already, and whether to say nothing about the next one.
    pub(crate) fn after(self, signalled: bool, quiet: bool) -> Self {
        Self { signalled, quiet, ..self }
    }

    /// When waiting is over, if the write under way began at `since`, and makes no progress.
    fn end(&self, since: Option<Instant>) -> Option<Instant> {
        let stalled = since.zip(self.each).and_then(|(since, each)| since.checked_add(each));
        [self.until, stalled].into_iter().flatten().min()
    }

    fn is_over(&self, since: Option<Instant>) -> bool {
        self.end(since).is_some_and(|end| end <= Instant::now())
    }

    /// When to ask [`Self::is_over`] again: another write may have begun by then.
    fn next_look(&self, since: Option<Instant>) -> Option<Instant> {
        let soon = Instant::now().checked_add(WRITE_PATIENCE);
        [self.end(since), soon].into_iter().flatten().min()
    }

    /// A signal: whether waiting is over.
    fn signal(&mut self, name: &str) -> bool {
        if self.signalled {
            return true;
        }
        self.signalled = true;
        self.until = Instant::now().checked_add(self.after_signal);
        text::note(
            self.quiet,
            format_args!(
                "{name}: waiting up to {} for --dead-letter (once more stops at once)",
                linger_text(self.after_signal)
            ),
        );
        false
    }
}

/// The task that writes them.
pub(crate) struct Keeper {
    task: JoinHandle<()>,
    give_up: watch::Sender<bool>,
    unwritten: Unwritten,
}

impl Keeper {
    /// Starts to write each rejected message of `push` to `file`, if there is one, until the pusher has ended.
    ///
    /// After a failed write, which goes to `report`, nothing more is written.
    pub(crate) fn start(push: &Push, file: Option<DeadLetters>, report: Sender<anyhow::Error>) -> Self {
        let unwritten = Unwritten::new(push.rejections(), file.is_some());
        let (give_up, given_up) = watch::channel(false);
        let task = tokio::spawn(keep(push.rejections(), unwritten.clone(), file, report, given_up));
        Self { task, give_up, unwritten }
    }

    /// What has not been written.
    pub(crate) fn unwritten(&self) -> &Unwritten {
        &self.unwritten
    }

    /// Waits, once the pusher has ended, until all of them and the records that are too large are written, and saves what is left
    /// meanwhile. It gives up when `patience` is over: the others stay in [`Self::unwritten`] and in `saving`.
    ///
    /// A write that was given up may succeed later. Then its message is in both files.
    ///
    /// # Errors
    /// When the task has panicked.
    pub(crate) async fn finish(
        mut self,
        mut patience: Patience,
        left: &Left,
        saving: &mut Saving,
        signals: &mut Signals,
    ) -> anyhow::Result<()> {
        let (mut given_up, mut ended) = (false, None);
        loop {
            match ended {
                Some(ended) if !saving.is_copying() => return ended,
                _ => {}
            }
            let save = saving.due();
            let look = patience.next_look(self.since(saving));
            tokio::select! {
                biased;
                joined = &mut self.task, if ended.is_none() => {
                    ended = Some(joined.context("the task that keeps rejected messages has failed"));
                }
                name = signals.next(), if !given_up => given_up = patience.signal(name),
                () = at(look), if !given_up => given_up = patience.is_over(self.since(saving)),
                () = saving.progress() => {}
                () = at(save) => saving.start(left.clone()),
            }
            if given_up {
                let _ = self.give_up.send(true);
                saving.give_up_copies();
            }
        }
    }

    /// When the oldest write that is under way began.
    fn since(&self, saving: &Saving) -> Option<Instant> {
        [self.unwritten.since(), saving.copying_since()].into_iter().flatten().min()
    }
}

/// Writes them in order. See [`Keeper::start`].
async fn keep(
    mut rejections: Rejections,
    unwritten: Unwritten,
    file: Option<DeadLetters>,
    report: Sender<anyhow::Error>,
    mut give_up: watch::Receiver<bool>,
) {
    let mut file = file;
    loop {
        while let Some(open) = &file
            && let Some(payload) = unwritten.begin()
        {
            // Each one at once: rejections are few, and this is their only copy.
            let written = tokio::select! {
                biased;
                written = open.append(payload) => written,
                _ = give_up.wait_for(|given_up| *given_up) => {
                    Err(anyhow!("--dead-letter: writing does not end, and is not waited for any longer"))
                }
            };
            unwritten.end(written.is_ok());
            if let Err(error) = written {
                file = None;
                let _ = report.try_send(error);
            }
        }
        tokio::select! {
            biased;
            next = rejections.recv() => match next {
                Some(rejected) => unwritten.lock().add(rejected),
                None if file.is_none() || unwritten.lock().messages.is_empty() => break,
                None => {}
            },
            () = unwritten.fetched.notified() => {}
        }
    }
    let kept_back = unwritten.lock().told.take_kept_back();
    if kept_back > 0 {
        tracing::info!("{} rejected that are not listed here", text::count(kept_back, "more message"));
    }
}

impl Unwritten {
    fn new(rejections: Rejections, keeps: bool) -> Self {
        let state = State {
            rejections,
            keeps,
            messages: VecDeque::new(),
            since: None,
            first: true,
            // A few bytes from a peer may reject as many messages as it has.
            told: Throttle::new(TOLD, TOLD_EVERY),
        };
        Self { state: Arc::new(Mutex::new(state)), fetched: Arc::default() }
    }

    /// All of them, and those that the pusher still has.
    pub(crate) fn fetch(&self) -> Vec<(u64, Bytes)> {
        let mut state = self.lock();
        while let Some(rejected) = state.rejections.try_recv() {
            state.add(rejected);
            self.fetched.notify_one();
        }
        state.messages.iter().cloned().collect()
    }

    /// When the write that is under way began, if one is.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.lock().since
    }

    /// The first one, which stays here while it is written.
    fn begin(&self) -> Option<Bytes> {
        let mut state = self.lock();
        let payload = state.messages.front().map(|(_, payload)| payload.clone());
        state.since = payload.is_some().then(Instant::now);
        payload
    }

    /// The end of the write of the first one.
    fn end(&self, written: bool) {
        let mut state = self.lock();
        state.since = None;
        if written {
            state.messages.pop_front();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, rejected: Rejected) {
        let (id, attempts) = (rejected.id, rejected.attempts);
        if self.first && !self.keeps {
            let reason = tidegate::shown(&rejected.reason);
            tracing::warn!(
                %id, attempts, %reason,
                "a message was rejected and is dropped: --dead-letter would keep it (-v shows further ones)"
            );
        } else if let Some(kept_back) = self.told.admit() {
            let reason = tidegate::shown(&rejected.reason);
            tracing::info!(%id, attempts, %reason, "a message was rejected{}", more(kept_back));
        }
        self.first = false;
        if self.keeps {
            self.messages.push_back((id.number, rejected.message.into_payload()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn dead_letters_are_given_up_when_one_write_stalls_and_not_while_each_ends_in_time() {
        let after_signal = 9 * SECOND;
        for (exit, limit) in
            [(Exit::Success, after_signal), (Exit::Lingered, SECOND), (Exit::Aborted, SECOND)]
        {
            let patience = Patience::new(exit, None, after_signal);
            let now = Instant::now();
            assert!(!patience.is_over(None) && !patience.is_over(Some(now)));
            assert_eq!(patience.end(Some(now)), Some(now + limit));
            assert!(patience.is_over(now.checked_sub(limit)));
            assert!(patience.next_look(None) <= Some(Instant::now() + SECOND), "a write may begin");
        }
    }

    #[test]
    fn the_linger_time_limits_all_dead_letters_together_and_leaves_a_second_for_them() {
        let deadline = Instant::now() + 5 * SECOND;
        let patience = Patience::new(Exit::Success, Some(deadline), 9 * SECOND);
        assert_eq!(
            (patience.end(None), patience.end(Some(Instant::now()))),
            (Some(deadline), Some(deadline))
        );
        let patience = Patience::new(Exit::Success, Instant::now().checked_sub(SECOND), 9 * SECOND);
        assert!(!patience.is_over(None));
    }

    #[test]
    fn the_first_signal_limits_the_wait_for_dead_letters_and_the_next_one_ends_it() {
        let mut patience = Patience::new(Exit::Success, None, 5 * SECOND);
        assert!(!patience.signal("SIGTERM") && !patience.is_over(None));
        assert!(patience.end(None).is_some_and(|end| end <= Instant::now() + 5 * SECOND));
        assert!(patience.signal("SIGTERM"));
        let mut patience = Patience::new(Exit::Success, None, SECOND).after(true, false);
        assert!(patience.signal("SIGINT"), "it was told before");
    }
}
