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
use super::saving::Saving;
use super::settle::{Left, at};
use crate::signals::Signals;
use crate::text;
use crate::throttle::{Throttle, more};

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

    /// Waits, once the pusher has ended, until all of them are written, and saves what is left meanwhile. At `until` and at a signal it gives
    /// up: the others stay in [`Self::unwritten`].
    ///
    /// A write that was given up may succeed later. Then its message is in both files.
    ///
    /// # Errors
    /// When the task has panicked.
    pub(crate) async fn finish(
        mut self,
        until: Option<Instant>,
        left: &Left,
        saving: &mut Saving,
        signals: &mut Signals,
    ) -> anyhow::Result<()> {
        let mut given_up = false;
        loop {
            let save = saving.due();
            tokio::select! {
                biased;
                ended = &mut self.task => return ended.context("the task that keeps rejected messages has failed"),
                _ = signals.next(), if !given_up => given_up = true,
                () = at(until), if !given_up => given_up = true,
                () = saving.ended() => {}
                () = at(save) => saving.start(left.clone()),
            }
            if given_up {
                let _ = self.give_up.send(true);
            }
        }
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
