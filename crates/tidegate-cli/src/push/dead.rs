//! The file of `--dead-letter`: rejected messages, and records that were too large to be sent.

use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use bytes::Bytes;

use crate::append::AppendFile;
use crate::reload::Reopen;

/// A cheap handle. Writes happen on threads that may block: the file may be a named pipe.
#[derive(Clone)]
pub(crate) struct DeadLetters {
    file: Arc<Mutex<AppendFile>>,
    /// The option and the path.
    name: Arc<str>,
}

impl DeadLetters {
    pub(crate) fn new(file: AppendFile) -> Self {
        let name = file.name().into();
        Self { file: Arc::new(Mutex::new(file)), name }
    }

    /// Appends a message. Cancelled, it may be written all the same.
    ///
    /// # Errors
    /// When that fails; the error names the file.
    pub(crate) async fn append(&self, record: Bytes) -> anyhow::Result<()> {
        self.with(move |file| {
            let mut framed = Vec::with_capacity(record.len() + 4);
            file.framing().put(&mut framed, &record)?;
            file.write(&framed)
        })
        .await
    }

    /// Appends a record that is in a file.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub(crate) async fn copy(&self, mut from: File, length: u64) -> anyhow::Result<()> {
        self.with(move |file| file.copy(&mut from, length, b"")).await
    }

    /// How to open the file again.
    pub(crate) fn reopen(&self) -> Reopen {
        let file = Arc::clone(&self.file);
        Reopen::new(&self.name, move || lock(&file).reopen())
    }

    async fn with(
        &self,
        work: impl FnOnce(&mut AppendFile) -> std::io::Result<()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let file = Arc::clone(&self.file);
        let written = tokio::task::spawn_blocking(move || work(&mut lock(&file))).await;
        let written = written.context("the thread that writes dead letters has failed")?;
        written.with_context(|| format!("{}: cannot write it", self.name))
    }
}

fn lock(file: &Mutex<AppendFile>) -> MutexGuard<'_, AppendFile> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}
