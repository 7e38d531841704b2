//! Saving what is left to `--unsent`, early and at the end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;

use super::input::{Incomplete, TooLong};
use super::oversized::Copies;
use super::rejected::Unwritten;
use super::settle::Left as Leftovers;
use super::unsent::{Left, Unsent};
use crate::text::{self, count, thousands};

/// How often what is left is saved while it is waited for.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// What is left, and the file for it, if there is one.
pub(crate) struct Saving {
    /// Writes block, and so they are made on other threads.
    file: Option<Arc<Mutex<File>>>,
    /// The option and the path.
    name: String,
    /// Whether it can be written before the end.
    replaceable: bool,
    /// Whether the user has been told that it cannot.
    warned: bool,
    /// Rejected messages that are not in `--dead-letter`.
    unwritten: Unwritten,
    /// Records that are too large to be sent.
    too_large: Vec<Bytes>,
    /// Those of them that are in files: they are saved until they are in `--dead-letter`.
    copies: Copies,
    /// Whether one of them could not be written there, which has been said.
    copy_failed: bool,
    /// What the next write adds to [`File::left`]. The lock is held while the disk works, so that only the thread that writes may wait
    /// for it.
    added: Option<Incomplete>,
    /// A record of which only the beginning has arrived: what is to be said of it.
    incomplete: Option<(String, u64)>,
    /// Whether anything of it is there to be written.
    stored: bool,
    /// The write under way.
    running: Option<JoinHandle<anyhow::Result<bool>>>,
    /// The numbers of the messages that the last write has saved, and how many of `copies`.
    saved: Option<(Vec<Option<u64>>, usize)>,
    /// When to write next.
    next: Option<Instant>,
    /// Whether a failure has been told.
    told: bool,
}

struct File {
    unsent: Unsent,
    left: Left,
}

impl Saving {
    pub(crate) fn new(
        unsent: Option<Unsent>,
        unwritten: Unwritten,
        too_large: Vec<Bytes>,
        copies: Copies,
        incomplete: Option<Incomplete>,
    ) -> Self {
        let mut new = Self {
            name: unsent.as_ref().map(|unsent| unsent.name().to_owned()).unwrap_or_default(),
            replaceable: unsent.as_ref().is_some_and(Unsent::is_replaceable),
            warned: false,
            file: unsent.map(|unsent| Arc::new(Mutex::new(File { unsent, left: Left::default() }))),
            unwritten,
            too_large,
            copies,
            copy_failed: false,
            added: None,
            incomplete: None,
            stored: false,
            running: None,
            saved: None,
            next: Some(Instant::now()),
            told: false,
        };
        new.late(incomplete);
        new
    }

    /// The beginning of a record that came in late.
    pub(crate) fn late(&mut self, incomplete: Option<Incomplete>) {
        let Some(incomplete) = incomplete else { return };
        let got = incomplete.got + incomplete.prefix as u64;
        let of_length = if incomplete.prefix > 0 { "the length of " } else { "" };
        self.stored = incomplete.is_stored();
        let what = format!(
            "input {}: it was stopped within {of_length}record {}, after {} of it",
            text::visible(&incomplete.input),
            incomplete.record,
            count(got, "byte")
        );
        self.incomplete = Some((what, got));
        self.added = Some(incomplete);
    }

    /// Whether records are still to be copied to `--dead-letter`.
    pub(crate) fn is_copying(&self) -> bool {
        self.copies.is_busy()
    }

    /// When the copy that is under way began.
    pub(crate) fn copying_since(&self) -> Option<Instant> {
        self.copies.since()
    }

    /// Waits for the copies no longer. A copy that is under way may succeed later: then the record is in both files.
    pub(crate) fn give_up_copies(&mut self) {
        if self.copies.give_up() {
            self.copy_failed = true;
            let what = "--dead-letter: writing a record that is too large does not end, and is not waited for any longer";
            super::report_error(&anyhow!(what));
        }
    }

    /// Whether a record could not be copied to `--dead-letter`, which has been said.
    pub(crate) fn copy_failed(&self) -> bool {
        self.copy_failed
    }

    /// The end of the copies, with records that came in late: those that are left are saved, or dropped if there is no file for them.
    /// Returns how many have been copied or dropped.
    pub(crate) fn end_copies(&mut self, late: Vec<TooLong>) -> u64 {
        self.copies.add(late);
        self.copies.end(self.file.is_some())
    }

    /// How many records are too large to be sent.
    pub(crate) fn too_large(&self) -> u64 {
        (self.too_large.len() + self.copies.waiting().len()) as u64
    }

    /// How many bytes of an incomplete record there are.
    pub(crate) fn incomplete_bytes(&self) -> u64 {
        self.incomplete.as_ref().map_or(0, |(_, bytes)| *bytes)
    }

    /// Whether something is left that was never to be sent.
    pub(crate) fn holds_back(&self) -> bool {
        self.too_large() > 0 || self.incomplete.is_some()
    }

    /// When [`Self::start`] should be called; `None` while it is at work, and if the file can only be written at the end and the user has
    /// been told.
    pub(crate) fn due(&self) -> Option<Instant> {
        let useful = self.replaceable || (self.file.is_some() && !self.warned);
        self.next.filter(|_| useful && self.running.is_none())
    }

    /// Puts the next write off.
    pub(crate) fn put_off(&mut self) {
        self.next = Instant::now().checked_add(SAVE_EVERY);
    }

    /// Begins to write what is left now and the rejected messages that are not in `--dead-letter`, unless that has been written. `left` must
    /// have been taken just before: what was rejected since then would be written twice.
    pub(crate) fn start(&mut self, left: Leftovers) {
        self.put_off();
        let numbered = self.numbered(left);
        let numbers: Vec<_> = numbered.iter().map(|(number, _)| *number).collect();
        let nothing = numbers.is_empty() && !self.holds_back();
        let saved = (numbers, self.copies.waiting().len());
        if self.saved.as_ref() == Some(&saved) || (self.saved.is_none() && nothing) {
            return;
        }
        if !self.replaceable {
            self.warn();
            return;
        }
        let records = self.with_too_large(numbered);
        self.saved = Some(saved);
        self.running = self.write(records, false);
    }

    /// `left`, and the rejected messages that are not in `--dead-letter`.
    fn numbered(&self, mut left: Leftovers) -> Vec<(Option<u64>, Bytes)> {
        // After what is left: a message that is rejected in between is in both, and never in neither.
        left.rejected = self.unwritten.fetch();
        left.in_order()
    }

    /// Waits until the write under way has ended, or another record is in `--dead-letter`, and tells if that fails. Cancel safe.
    pub(crate) async fn progress(&mut self) {
        let written = tokio::select! {
            written = end_of(&mut self.running) => written.context("--unsent").and_then(|written| written),
            copied = self.copies.next() => {
                if let Err(error) = copied {
                    self.copy_failed = true;
                    super::report_error(&error);
                }
                return;
            }
        };
        self.running = None;
        self.put_off();
        match written {
            Ok(true) => {}
            Ok(false) => {
                (self.saved, self.replaceable) = (None, false);
                self.warn();
            }
            Err(error) => {
                self.saved = None;
                if !self.told {
                    super::report_error(&error.context("what is left cannot be saved yet; trying again"));
                    self.told = true;
                }
            }
        }
    }

    /// Says, once, that the file is of no use before the end.
    fn warn(&mut self) {
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                "{}: this file cannot be replaced, and is written only at the end: a kill before then loses what is left",
                text::visible(&self.name)
            );
        }
    }

    /// Writes what is left at the end, with the rejected messages that are not in `--dead-letter`. Without a file it says what is lost.
    ///
    /// # Errors
    /// When that fails; the error says how much is lost.
    pub(crate) async fn finish(&mut self, left: Leftovers) -> anyhow::Result<()> {
        if self.file.is_none() {
            self.tell_what_is_lost();
            return Ok(());
        }
        // Its failure was the last one's own, and an early write must not come after the last one.
        if let Some(running) = self.running.take() {
            let _ = running.await;
        }
        let records = self.with_too_large(self.numbered(left));
        if records.is_empty() && !self.holds_back() && self.saved.is_none() && !self.told {
            return Ok(());
        }
        let lost = count((records.len() + self.copies.waiting().len()) as u64, "message");
        if let Some(writing) = self.write(records, true) {
            writing
                .await
                .context("--unsent")
                .and_then(|written| written)
                .with_context(|| format!("{lost} that were left could not be saved"))?;
        }
        if let Some((what, _)) = &self.incomplete {
            if self.stored {
                tracing::warn!("{what}, which are the last record of --unsent now");
            } else {
                tracing::warn!("{what}, which are dropped");
            }
        }
        Ok(())
    }

    fn with_too_large(&self, numbered: Vec<(Option<u64>, Bytes)>) -> Vec<Bytes> {
        let mut records: Vec<_> = numbered.into_iter().map(|(_, payload)| payload).collect();
        records.extend(self.too_large.iter().cloned());
        records
    }

    fn write(&mut self, records: Vec<Bytes>, last: bool) -> Option<JoinHandle<anyhow::Result<bool>>> {
        let file = Arc::clone(self.file.as_ref()?);
        let too_large: Vec<_> = self.copies.waiting().cloned().collect();
        let incomplete = self.added.take();
        Some(tokio::task::spawn_blocking(move || {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            let File { unsent, left } = &mut *file;
            left.records = records;
            left.too_large = too_large;
            left.incomplete = incomplete.or(left.incomplete.take());
            unsent.save(left, last)
        }))
    }

    fn tell_what_is_lost(&self) {
        let unwritten = self.unwritten.fetch().len();
        if unwritten > 0 {
            let n = count(unwritten as u64, "rejected message");
            text::say(format_args!(
                "error: {n} could not be written to --dead-letter, and there is no --unsent: dropped"
            ));
        }
        for record in &self.too_large {
            let length = thousands(record.len() as u64);
            tracing::warn!("the record of {length} bytes is dropped; --unsent FILE would keep it");
        }
        if let Some((what, _)) = &self.incomplete {
            let hint = if self.stored { "; --unsent FILE would keep them" } else { "" };
            tracing::warn!("{what}, which are dropped{hint}");
        }
    }
}

async fn end_of<T>(running: &mut Option<JoinHandle<T>>) -> Result<T, JoinError> {
    match running {
        Some(running) => running.await,
        None => std::future::pending().await,
    }
}
