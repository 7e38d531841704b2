//! Keeping rejected messages in memory until they have been written to `--dead-letter`, even if writing is
//! stalled.
//!
//! ```text
//! pusher ──► Rejections ──► Unwritten ──► --dead-letter
//!                               └───────► each save of --unsent
//! ```

use anyhow::{Context as _, anyhow};
use tidegate::{Push, Rejections};
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::dead::DeadLetters;
use super::left::Left;
use super::patience::Patience;
use super::saving::Saving;
use super::unwritten::Unwritten;
use crate::signals::Signals;
use crate::text;
use crate::timer::at;

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
                Some(rejected) => unwritten.add(rejected),
                None if file.is_none() || unwritten.is_empty() => break,
                None => {}
            },
            () = unwritten.fetched() => {}
        }
    }
    let kept_back = unwritten.take_kept_back();
    if kept_back > 0 {
        tracing::info!("{} rejected, not listed here", text::count(kept_back, "more message"));
    }
}
