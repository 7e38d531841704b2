//! Records that are too large to be sent: each is copied to the dead letters or dropped, as `--oversized`
//! says.

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::dead::{self, DeadLetters};
use super::input::TooLong;
use crate::text::{self, thousands};

/// The records that have not been copied or dropped yet, in order, and the copy in progress.
pub(crate) struct Copies {
    dead: Option<DeadLetters>,
    waiting: VecDeque<Arc<TooLong>>,
    /// The copy of the first record, and when it started.
    copying: Option<(Instant, JoinHandle<anyhow::Result<()>>)>,
    /// Number of records that have been copied or dropped.
    done: u64,
    /// Whether a copy has failed or was given up. Then no further copy is started.
    stopped: bool,
}

impl Copies {
    pub(crate) fn new(dead: Option<DeadLetters>) -> Self {
        Self { dead, waiting: VecDeque::new(), copying: None, done: 0, stopped: false }
    }

    pub(crate) fn add(&mut self, records: impl IntoIterator<Item = TooLong>) {
        self.waiting.extend(records.into_iter().map(Arc::new));
    }

    /// The records that are neither copied nor dropped. If a copy was given up, its record may still reach
    /// the dead letters.
    pub(crate) fn waiting(&self) -> impl ExactSizeIterator<Item = &Arc<TooLong>> {
        self.waiting.iter()
    }

    /// Whether [`Self::next`] has something to do.
    pub(crate) fn is_busy(&self) -> bool {
        !self.stopped && !self.waiting.is_empty()
    }

    /// When the copy in progress started.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.copying.as_ref().map(|(since, _)| *since)
    }

    /// Copies or drops one record; never completes if there is none. Cancel safe: a copy continues, and the
    /// next call waits for it.
    ///
    /// # Errors
    /// If the record cannot be copied. It stays here, as do all further ones.
    pub(crate) async fn next(&mut self) -> anyhow::Result<()> {
        if !self.is_busy() {
            std::future::pending::<()>().await;
        }
        let copied = self.first().await;
        self.stopped = copied.is_err();
        copied
    }

    /// Copies or drops all records. Cancel safe, as [`Self::next`] is.
    ///
    /// # Errors
    /// As for [`Self::next`].
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
                // A copy of an earlier call that was dropped continues; a second one would write the record
                // twice.
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
                tracing::info!("{}: written to --dead-letter", too_large(record));
            }
            _ => dropped(record),
        }
        self.done += 1;
        self.waiting.pop_front();
        Ok(())
    }

    /// Stops waiting, and returns whether there was something to wait for. A copy in progress may still
    /// succeed.
    pub(crate) fn give_up(&mut self) -> bool {
        let was_busy = self.is_busy();
        self.stopped = true;
        self.copying = None;
        was_busy
    }

    /// Ends the copying: drops records that were not kept, or all of them without a file for them (`saved`).
    /// Returns how many records have been copied or dropped.
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

/// Reports that a record was dropped.
fn dropped(record: &TooLong) {
    let hint = if record.kept.is_some() {
        "it could not be written to --dead-letter; use --unsent FILE to keep such records"
    } else {
        "use --oversized dead-letter to keep such records, or a larger --max-message to send them"
    };
    tracing::warn!("{}: dropped; {hint}", too_large(record));
}

fn too_large(record: &TooLong) -> String {
    format!(
        "input {}: record {} has {} bytes, more than --max-message allows",
        text::visible(&record.input),
        record.record,
        thousands(record.length)
    )
}
