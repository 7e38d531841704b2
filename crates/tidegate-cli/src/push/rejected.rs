//! Keeping rejected messages in memory until they have been written to `--dead-letter`, even if writing is
//! stalled.
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

/// The time for one write after the linger time has ended; also the interval of checks.
const MAX_WRITE_WAIT: Duration = Duration::from_secs(1);
/// Number of rejections that are logged per [`REPORT_INTERVAL`] (with `-v`). The others are counted.
const MAX_REPORTED: u32 = 20;
/// See [`MAX_REPORTED`].
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Rejected messages that are not in `--dead-letter` yet, including the one that is being written. A cheap
/// handle.
///
/// Before the end of the input, at most one message is here, and the others stay in the pusher, which bounds
/// them. After the end, each save of `--unsent` fetches them all. They are no more than the pusher held and
/// what had been read for it.
#[derive(Clone)]
pub(crate) struct Unwritten {
    state: Arc<Mutex<UnwrittenState>>,
    /// Notified when a save has fetched messages.
    fetched: Arc<Notify>,
}

struct UnwrittenState {
    rejections: Rejections,
    /// Whether there is a file for them. If not, they are only counted and logged.
    keeps: bool,
    /// The messages with their numbers, in the order of their rejection.
    messages: VecDeque<(u64, Bytes)>,
    /// When the write of the first message started.
    since: Option<Instant>,
    first: bool,
    throttle: Throttle,
}

/// How long to wait for dead letters when everything else is done.
pub(crate) struct Patience {
    /// When waiting ends even if each write makes progress.
    until: Option<Instant>,
    /// The time limit of one write.
    each: Option<Duration>,
    /// The time limit after a signal.
    after_signal: Duration,
    /// Whether the first signal has come already.
    signalled: bool,
    /// Whether to omit notices about signals.
    quiet: bool,
}

impl Patience {
    /// For a pusher that has ended with `exit`, and had to end by `deadline`.
    pub(crate) fn new(exit: Exit, deadline: Option<Instant>, after_signal: Duration) -> Self {
        let least = Instant::now().checked_add(MAX_WRITE_WAIT);
        let (until, each) = match deadline {
            // The linger time includes dead letters.
            Some(deadline) if exit == Exit::Success => (least.map(|least| deadline.max(least)), None),
            None if exit == Exit::Success => (None, Some(after_signal.max(MAX_WRITE_WAIT))),
            // The linger time has passed, and the sender of a signal may be about to kill this process.
            _ => (None, Some(MAX_WRITE_WAIT)),
        };
        Self { until, each, after_signal, signalled: false, quiet: false }
    }

    /// Sets whether the first signal has come already, and whether to omit a notice about the next one.
    pub(crate) fn after(self, signalled: bool, quiet: bool) -> Self {
        Self { signalled, quiet, ..self }
    }

    /// When waiting ends if the write in progress started at `since` and makes no progress.
    fn end(&self, since: Option<Instant>) -> Option<Instant> {
        let stalled = since.zip(self.each).and_then(|(since, each)| since.checked_add(each));
        [self.until, stalled].into_iter().flatten().min()
    }

    fn is_over(&self, since: Option<Instant>) -> bool {
        self.end(since).is_some_and(|end| end <= Instant::now())
    }

    /// When to check [`Self::is_over`] again, as another write may have started by then.
    fn next_look(&self, since: Option<Instant>) -> Option<Instant> {
        let soon = Instant::now().checked_add(MAX_WRITE_WAIT);
        [self.end(since), soon].into_iter().flatten().min()
    }

    /// Handles a signal. Returns whether waiting is over.
    fn signal(&mut self, name: &str) -> bool {
        if self.signalled {
            return true;
        }
        self.signalled = true;
        self.until = Instant::now().checked_add(self.after_signal);
        text::note(
            self.quiet,
            format_args!(
                "{name}: waiting {} for --dead-letter (a second signal stops at once)",
                linger_text(self.after_signal)
            ),
        );
        false
    }
}

/// The task that writes rejected messages.
pub(crate) struct Keeper {
    task: JoinHandle<()>,
    give_up: watch::Sender<bool>,
    unwritten: Unwritten,
}

impl Keeper {
    /// Starts to write each rejected message of `push` to `file`, if there is one, until the pusher has
    /// ended.
    ///
    /// A failed write is reported to `report`, and nothing more is written after it.
    pub(crate) fn start(push: &Push, file: Option<DeadLetters>, report: Sender<anyhow::Error>) -> Self {
        let unwritten = Unwritten::new(push.rejections(), file.is_some());
        let (give_up, given_up) = watch::channel(false);
        let task = tokio::spawn(keep(push.rejections(), unwritten.clone(), file, report, given_up));
        Self { task, give_up, unwritten }
    }

    /// The messages that have not been written.
    pub(crate) fn unwritten(&self) -> &Unwritten {
        &self.unwritten
    }

    /// After the end of the pusher, waits until all rejected messages and records that are too large are
    /// written, and saves what is left meanwhile. When `patience` is over, it gives up: the other messages
    /// stay in [`Self::unwritten`] and in `saving`.
    ///
    /// A write that was given up may still succeed. Then its message is in both files.
    ///
    /// # Errors
    /// If the task has panicked.
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

    /// When the oldest write in progress started.
    fn since(&self, saving: &Saving) -> Option<Instant> {
        [self.unwritten.since(), saving.copying_since()].into_iter().flatten().min()
    }
}

/// Writes rejected messages in order. See [`Keeper::start`].
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
            // Each message is written at once: rejections are few, and this is their only copy.
            let written = tokio::select! {
                biased;
                written = open.append(payload) => written,
                _ = give_up.wait_for(|given_up| *given_up) => {
                    Err(anyhow!("--dead-letter: gave up waiting for a stalled write"))
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
    let kept_back = unwritten.lock().throttle.take_kept_back();
    if kept_back > 0 {
        tracing::info!("{} rejected, not listed here", text::count(kept_back, "more message"));
    }
}

impl Unwritten {
    fn new(rejections: Rejections, keeps: bool) -> Self {
        let state = UnwrittenState {
            rejections,
            keeps,
            messages: VecDeque::new(),
            since: None,
            first: true,
            // A few bytes from a peer may reject very many messages.
            throttle: Throttle::new(MAX_REPORTED, REPORT_INTERVAL),
        };
        Self { state: Arc::new(Mutex::new(state)), fetched: Arc::default() }
    }

    /// All of them, including those that the pusher still holds.
    pub(crate) fn fetch(&self) -> Vec<(u64, Bytes)> {
        let mut state = self.lock();
        while let Some(rejected) = state.rejections.try_recv() {
            state.add(rejected);
            self.fetched.notify_one();
        }
        state.messages.iter().cloned().collect()
    }

    /// When the write in progress started, if there is one.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.lock().since
    }

    /// Starts the write of the first message, which stays here meanwhile.
    fn begin(&self) -> Option<Bytes> {
        let mut state = self.lock();
        let payload = state.messages.front().map(|(_, payload)| payload.clone());
        state.since = payload.is_some().then(Instant::now);
        payload
    }

    /// Ends the write of the first message.
    fn end(&self, written: bool) {
        let mut state = self.lock();
        state.since = None;
        if written {
            state.messages.pop_front();
        }
    }

    fn lock(&self) -> MutexGuard<'_, UnwrittenState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnwrittenState {
    fn add(&mut self, rejected: Rejected) {
        let (id, attempts) = (rejected.id, rejected.attempts);
        if self.first && !self.keeps {
            let reason = tidegate::shown(&rejected.reason);
            tracing::warn!(
                %id, attempts, %reason,
                "a rejected message was dropped; use --dead-letter FILE to keep rejected messages (-v logs each)"
            );
        } else if let Some(kept_back) = self.throttle.admit() {
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
    fn waiting_for_dead_letters_ends_when_one_write_stalls_and_not_while_each_ends_in_time() {
        let after_signal = 9 * SECOND;
        for (exit, limit) in
            [(Exit::Success, after_signal), (Exit::Lingered, SECOND), (Exit::Aborted, SECOND)]
        {
            let patience = Patience::new(exit, None, after_signal);
            let now = Instant::now();
            assert!(!patience.is_over(None) && !patience.is_over(Some(now)));
            assert_eq!(patience.end(Some(now)), Some(now + limit));
            assert!(patience.is_over(now.checked_sub(limit)));
            assert!(patience.next_look(None) <= Some(Instant::now() + SECOND), "a write may start");
        }
    }

    #[test]
    fn the_linger_time_limits_all_dead_letters_together_but_leaves_them_a_second() {
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
        assert!(patience.signal("SIGINT"), "there was a signal before");
    }
}
