//! Records that are too large to be sent: each is copied to the dead letters or dropped, as `--oversized` says.

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::dead::{self, DeadLetters};
use super::input::TooLong;
use crate::text::{self, thousands};

/// The records with which that has not been done yet, in order, and the copy that is under way.
pub(crate) struct Copies {
    dead: Option<DeadLetters>,
    waiting: VecDeque<Arc<TooLong>>,
    /// The copy of the first one, and when it began.
    copying: Option<(Instant, JoinHandle<anyhow::Result<()>>)>,
    /// How many have been copied or dropped.
    done: u64,
    /// A copy has failed or was given up: no further one is begun.
    stopped: bool,
}

impl Copies {
    pub(crate) fn new(dead: Option<DeadLetters>) -> Self {
        Self { dead, waiting: VecDeque::new(), copying: None, done: 0, stopped: false }
    }

    pub(crate) fn add(&mut self, records: impl IntoIterator<Item = TooLong>) {
        self.waiting.extend(records.into_iter().map(Arc::new));
    }

    /// The records that are neither copied nor dropped. One of them may be in the dead letters later, if its copy was given up.
    pub(crate) fn waiting(&self) -> impl ExactSizeIterator<Item = &Arc<TooLong>> {
        self.waiting.iter()
    }

    /// Whether [`Self::next`] has something to do.
    pub(crate) fn is_busy(&self) -> bool {
        !self.stopped && !self.waiting.is_empty()
    }

    /// When the copy that is under way began.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.copying.as_ref().map(|(since, _)| *since)
    }

    /// Copies or drops one record; never ends if there is none. Cancel safe: a copy goes on, and the next call waits for it.
    ///
    /// # Errors
    /// When the record cannot be copied. It stays here, and so do all further ones.
    pub(crate) async fn next(&mut self) -> anyhow::Result<()> {
        if !self.is_busy() {
            std::future::pending::<()>().await;
        }
        let copied = self.first().await;
        self.stopped = copied.is_err();
        copied
    }

    /// Copies or drops all records. Cancel safe as [`Self::next`] is.
    ///
    /// # Errors
    /// As of [`Self::next`].
    pub(crate) async fn all(&mut self) -> anyhow::Result<()> {
        while self.is_busy() {
            self.next().await?;
        }
        Ok(())
    }

    async fn first(&mut self) -> anyhow::Result<()> {
        let Some(record) = self.waiting.front() else { return Ok(()) };
        match (&self.dead, &record.kept) {
            (Some(dead), Some(kept)) => {
                // The one of a call that was cancelled goes on: another one would write the record twice.
                let (_, copying) = match &mut self.copying {
                    Some(copying) => copying,
                    none => {
                        let kept = kept.try_clone().context("--oversized dead-letter")?;
                        none.insert((Instant::now(), dead.copy(kept, record.length)))
                    }
                };
                let copied = copying.await;
                self.copying = None;
                dead::ended(copied)?;
                tracing::info!("{}: it is in --dead-letter", too_large(record));
            }
            _ => dropped(record),
        }
        self.done += 1;
        self.waiting.pop_front();
        Ok(())
    }

    /// Waits no longer, and returns whether there was something to wait for. A copy that is under way may succeed later.
    pub(crate) fn give_up(&mut self) -> bool {
        let was_busy = self.is_busy();
        self.stopped = true;
        self.copying = None;
        was_busy
    }

    /// The end: drops those of which nothing can be saved, or all unless there is a file for them (`saved`). Returns how many records have
    /// been copied or dropped.
    pub(crate) fn end(&mut self, saved: bool) -> u64 {
        self.give_up();
        let before = self.waiting.len();
        self.waiting.retain(|record| {
            let stays = saved && record.kept.is_some();
            if !stays {
                dropped(record);
            }
            stays
        });
        self.done + (before - self.waiting.len()) as u64
    }
}

/// Says that nothing but its length is left of a record.
fn dropped(record: &TooLong) {
    let hint = if record.kept.is_some() {
        "it is not in --dead-letter; --unsent FILE would keep it"
    } else {
        "--oversized dead-letter would keep it, a larger --max-message send it"
    };
    tracing::warn!("{}: dropped; {hint}", too_large(record));
}

fn too_large(record: &TooLong) -> String {
    format!(
        "input {}: record {} has {} bytes, more than --max-message leaves room for",
        text::visible(&record.input),
        record.record,
        thousands(record.length)
    )
}
