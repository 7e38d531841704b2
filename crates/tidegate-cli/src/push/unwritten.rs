//! Rejected messages in memory, until they are in `--dead-letter`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tidegate::{Rejected, Rejections};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::throttle::{Throttle, more};

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

impl Unwritten {
    pub(super) fn new(rejections: Rejections, keeps: bool) -> Self {
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

    /// All messages, including those that the pusher still holds.
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
    pub(super) fn begin(&self) -> Option<Bytes> {
        let mut state = self.lock();
        let payload = state.messages.front().map(|(_, payload)| payload.clone());
        state.since = payload.is_some().then(Instant::now);
        payload
    }

    /// Ends the write of the first message.
    pub(super) fn end(&self, written: bool) {
        let mut state = self.lock();
        state.since = None;
        if written {
            state.messages.pop_front();
        }
    }

    /// Adds a message that was rejected.
    pub(super) fn add(&self, rejected: Rejected) {
        self.lock().add(rejected);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().messages.is_empty()
    }

    /// Waits until a save has fetched messages. Cancel safe.
    pub(super) async fn fetched(&self) {
        self.fetched.notified().await;
    }

    /// Takes the number of rejections that were not logged.
    pub(super) fn take_kept_back(&self) -> u64 {
        self.lock().throttle.take_kept_back()
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
