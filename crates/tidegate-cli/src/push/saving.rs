//! Saving what is left to `--unsent`, early and at the end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;

use super::input::{Incomplete, TooLong};
use super::left::Left as Leftovers;
use super::oversized::Copies;
use super::unsent::{Unsent, UnsentRecords};
use super::unwritten::Unwritten;
use crate::text::{self, count, thousands};

/// How often the remaining messages are saved while the pusher waits.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// The remaining messages, and the file for them, if there is one.
pub(crate) struct Saving {
    /// Writes block, and so they run on other threads.
    file: Option<Arc<Mutex<File>>>,
    /// The option and the path.
    name: String,
    /// Whether the file can be written before the end.
    replaceable: bool,
    /// Whether a warning has said that it cannot.
    warned: bool,
    /// Rejected messages that are not in `--dead-letter`.
    unwritten: Unwritten,
    /// Records that are too large to be sent.
    too_large: Vec<Bytes>,
    /// Records that are too large and are in files. They are saved until they are in `--dead-letter`.
    copies: Copies,
    /// Whether one of them could not be written there, which has been reported.
    copy_failed: bool,
    /// What the next write adds to [`File::left`]. The lock is held during disk writes, so that only the
    /// writing thread may wait for it.
    added: Option<Incomplete>,
    /// An incomplete record: its description, and the number of bytes that have been read.
    incomplete: Option<(String, u64)>,
    /// Whether the file can get any of its bytes.
    stored: bool,
    /// The write in progress.
    running: Option<JoinHandle<anyhow::Result<bool>>>,
    /// The numbers of the messages of the last write, and how many of `copies` it has written.
    saved: Option<(Vec<Option<u64>>, usize)>,
    /// When to write next.
    next: Option<Instant>,
    /// Whether a failure has been reported.
    reported: bool,
}

struct File {
    unsent: Unsent,
    left: UnsentRecords,
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
            file: unsent.map(|unsent| Arc::new(Mutex::new(File { unsent, left: UnsentRecords::default() }))),
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
            reported: false,
        };
        new.late(incomplete);
        new
    }

    /// Adds the beginning of a record that arrived late.
    pub(crate) fn late(&mut self, incomplete: Option<Incomplete>) {
        let Some(incomplete) = incomplete else { return };
        let got = incomplete.got + incomplete.prefix as u64;
        let of_length = if incomplete.prefix > 0 { "the length of " } else { "" };
        self.stored = incomplete.is_stored();
        let what = format!(
            "input {}: reading stopped within {of_length}record {}, after {}",
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

    /// When the copy in progress started.
    pub(crate) fn copying_since(&self) -> Option<Instant> {
        self.copies.since()
    }

    /// Stops waiting for the copies. A copy in progress may still succeed: then the record is in both files.
    pub(crate) fn give_up_copies(&mut self) {
        if self.copies.give_up() {
            self.copy_failed = true;
            let what = "--dead-letter: gave up waiting for a stalled write of a record that is too large";
            super::report_error(&anyhow!(what));
        }
    }

    /// Whether a record could not be copied to `--dead-letter`, which has been reported.
    pub(crate) fn copy_failed(&self) -> bool {
        self.copy_failed
    }

    /// Ends the copies, with records that arrived late. Those that are left are saved, or dropped if there is
    /// no file for them. Returns how many have been copied or dropped.
    pub(crate) fn end_copies(&mut self, late: Vec<TooLong>) -> u64 {
        self.copies.add(late);
        self.copies.end(self.file.is_some())
    }

    /// The number of records that are too large to be sent.
    pub(crate) fn too_large(&self) -> u64 {
        (self.too_large.len() + self.copies.waiting().len()) as u64
    }

    /// The number of bytes of an incomplete record.
    pub(crate) fn incomplete_bytes(&self) -> u64 {
        self.incomplete.as_ref().map_or(0, |(_, bytes)| *bytes)
    }

    /// Whether anything is left that could not be sent as a message.
    pub(crate) fn holds_back(&self) -> bool {
        self.too_large() > 0 || self.incomplete.is_some()
    }

    /// When to call [`Self::start`]. `None` during a write, and if the file can only be written at the end
    /// and the warning about that has been logged.
    pub(crate) fn due(&self) -> Option<Instant> {
        let useful = self.replaceable || (self.file.is_some() && !self.warned);
        self.next.filter(|_| useful && self.running.is_none())
    }

    /// Postpones the next write.
    pub(crate) fn put_off(&mut self) {
        self.next = Instant::now().checked_add(SAVE_EVERY);
    }

    /// Starts to write what is left now and the rejected messages that are not in `--dead-letter`, unless
    /// that has been written. `left` must have been taken just before: a message that was rejected since then
    /// would be written twice.
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
        // Fetched after `left`: a message that is rejected in between is in both, and never in neither.
        left.rejected = self.unwritten.fetch();
        left.in_order()
    }

    /// Waits until the write in progress has ended, or another record is in `--dead-letter`, and reports a
    /// failure. Cancel safe.
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
                if !self.reported {
                    super::report_error(&error.context("cannot save the remaining messages yet; retrying"));
                    self.reported = true;
                }
            }
        }
    }

    /// Warns, once, that the file can only be written at the end.
    fn warn(&mut self) {
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                "{}: this file cannot be replaced, and is written only at the end: \
                 a kill before then loses the remaining messages",
                text::visible(&self.name)
            );
        }
    }

    /// Writes what is left at the end, with the rejected messages that are not in `--dead-letter`. Without a
    /// file, reports what is lost.
    ///
    /// # Errors
    /// If that fails. The error says how much is lost.
    pub(crate) async fn finish(&mut self, left: Leftovers) -> anyhow::Result<()> {
        if self.file.is_none() {
            self.tell_what_is_lost();
            return Ok(());
        }
        // Its failure does not matter, because the last write follows. An early write must not end after the
        // last one.
        if let Some(running) = self.running.take() {
            let _ = running.await;
        }
        let records = self.with_too_large(self.numbered(left));
        if records.is_empty() && !self.holds_back() && self.saved.is_none() && !self.reported {
            return Ok(());
        }
        let lost = count((records.len() + self.copies.waiting().len()) as u64, "message");
        if let Some(writing) = self.write(records, true) {
            writing
                .await
                .context("--unsent")
                .and_then(|written| written)
                .with_context(|| format!("{lost} could not be saved"))?;
        }
        if let Some((what, _)) = &self.incomplete {
            if self.stored {
                tracing::warn!("{what}, which were written as the last record of --unsent");
            } else {
                tracing::warn!("{what}, which were dropped");
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
                "error: {n} dropped: they could not be written to --dead-letter, and there is no --unsent FILE"
            ));
        }
        for record in &self.too_large {
            let length = thousands(record.len() as u64);
            tracing::warn!("a record of {length} bytes was dropped; use --unsent FILE to keep such records");
        }
        if let Some((what, _)) = &self.incomplete {
            let hint = if self.stored { "; use --unsent FILE to keep them" } else { "" };
            tracing::warn!("{what}, which were dropped{hint}");
        }
    }
}

async fn end_of<T>(running: &mut Option<JoinHandle<T>>) -> Result<T, JoinError> {
    match running {
        Some(running) => running.await,
        None => std::future::pending().await,
    }
}
