//! Saving what is left to `--unsent`, early and at the end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use bytes::Bytes;
use tidegate::{Message, Push};
use tokio::task::JoinHandle;

use super::input::{Incomplete, TooLong};
use super::settle::Left as Leftovers;
use super::unsent::{Left, Unsent};
use crate::text::{self, count, thousands};

/// What is left, and the file for it, if there is one.
pub(crate) struct Saving {
    /// Writes block, and so they are made on other threads.
    file: Option<Arc<Mutex<File>>>,
    replaceable: bool,
    /// Records that are too large to be sent.
    too_large: Vec<Bytes>,
    /// How many more of them are in files, which [`File::left`] has.
    unkept: u64,
    /// A record of which only the beginning has arrived: what is to be said of it.
    incomplete: Option<(String, u64)>,
    /// Whether anything of it is there to be written.
    stored: bool,
    /// The write under way.
    running: Option<JoinHandle<anyhow::Result<()>>>,
    /// The numbers of the messages that the last write has saved.
    saved: Option<Vec<Option<u64>>>,
    /// Whether a failure has been told.
    told: bool,
}

struct File {
    unsent: Unsent,
    left: Left,
}

impl Saving {
    pub(crate) fn new(unsent: Option<Unsent>, too_large: Vec<Bytes>, incomplete: Option<Incomplete>) -> Self {
        let replaceable = unsent.as_ref().is_some_and(Unsent::is_replaceable);
        let file = unsent.map(|unsent| Arc::new(Mutex::new(File { unsent, left: Left::default() })));
        let (saved, told) = (None, false);
        let mut new = Self {
            file,
            replaceable,
            too_large,
            unkept: 0,
            incomplete: None,
            stored: false,
            running: None,
            saved,
            told,
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
        if let Some(file) = &self.file {
            file.lock().unwrap_or_else(PoisonError::into_inner).left.incomplete = Some(incomplete);
        }
    }

    /// Takes records that are too large and could not be put elsewhere. Returns how many of them are dropped, because there is no file
    /// for them, or nothing but their length.
    pub(crate) fn take_unkept(&mut self, records: impl IntoIterator<Item = TooLong>) -> u64 {
        let mut dropped = 0;
        for record in records {
            match &self.file {
                Some(file) if record.kept.is_some() => {
                    self.unkept += 1;
                    file.lock().unwrap_or_else(PoisonError::into_inner).left.too_large.push(record);
                }
                _ => {
                    super::feed::dropped(&record);
                    dropped += 1;
                }
            }
        }
        dropped
    }

    /// How many records are too large to be sent.
    pub(crate) fn too_large(&self) -> u64 {
        self.too_large.len() as u64 + self.unkept
    }

    /// How many bytes of an incomplete record there are.
    pub(crate) fn incomplete_bytes(&self) -> u64 {
        self.incomplete.as_ref().map_or(0, |(_, bytes)| *bytes)
    }

    /// Whether something is left that was never to be sent.
    pub(crate) fn holds_back(&self) -> bool {
        self.too_large() > 0 || self.incomplete.is_some()
    }

    /// Whether [`Self::start`] does anything before the end.
    pub(crate) fn is_early(&self) -> bool {
        self.replaceable && self.running.is_none()
    }

    /// Begins to write what is left now, unless that has been written.
    pub(crate) fn start(&mut self, push: &Push, pending: &VecDeque<Message>) {
        let mut left = Leftovers::default();
        left.take(push.leftover());
        left.not_sent.extend(pending.iter().map(|message| (None, message.payload().clone())));
        let numbered = left.in_order();
        let numbers: Vec<_> = numbered.iter().map(|(number, _)| *number).collect();
        let nothing = numbers.is_empty() && !self.holds_back();
        if self.saved.as_ref() == Some(&numbers) || (self.saved.is_none() && nothing) {
            return;
        }
        let records = self.with_too_large(Vec::new(), numbered);
        self.saved = Some(numbers);
        self.running = self.write(records, false);
    }

    /// Waits for the write under way, and tells if it fails. Cancel safe.
    pub(crate) async fn ended(&mut self) {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        let written = running.await.context("--unsent").and_then(|written| written);
        self.running = None;
        if let Err(error) = written {
            self.saved = None;
            if !self.told {
                super::report_error(&error.context("what is left cannot be saved yet; trying again"));
                self.told = true;
            }
        }
    }

    /// Writes what is left at the end, `unsaved` first. Without a file it says what is lost.
    ///
    /// # Errors
    /// When that fails; the error says how much is lost.
    pub(crate) async fn finish(&mut self, left: Leftovers, unsaved: Vec<Bytes>) -> anyhow::Result<()> {
        if self.file.is_none() {
            self.tell_what_is_lost(unsaved.len());
            return Ok(());
        }
        let records = self.with_too_large(unsaved, left.in_order());
        if records.is_empty() && !self.holds_back() && self.saved.is_none() && !self.told {
            return Ok(());
        }
        let lost = count(records.len() as u64 + self.unkept, "message");
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

    fn with_too_large(&self, mut records: Vec<Bytes>, left: Vec<(Option<u64>, Bytes)>) -> Vec<Bytes> {
        records.extend(left.into_iter().map(|(_, payload)| payload));
        records.extend(self.too_large.iter().cloned());
        records
    }

    fn write(&self, records: Vec<Bytes>, last: bool) -> Option<JoinHandle<anyhow::Result<()>>> {
        let file = Arc::clone(self.file.as_ref()?);
        Some(tokio::task::spawn_blocking(move || {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            let File { unsent, left } = &mut *file;
            left.records = records;
            unsent.save(left, last)
        }))
    }

    fn tell_what_is_lost(&self, unsaved: usize) {
        if unsaved > 0 {
            let n = count(unsaved as u64, "rejected message");
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
