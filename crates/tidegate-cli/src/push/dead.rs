//! The file of `--dead-letter`: rejected messages, and records that were too large to be sent.

use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use bytes::Bytes;
use tokio::task::{JoinError, JoinHandle};

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
        let writing = self.with(move |file| {
            let mut framed = Vec::with_capacity(record.len() + 4);
            file.framing().put(&mut framed, &record)?;
            file.write(&framed)
        });
        ended(writing.await)
    }

    /// Begins to append a record that is in a file; [`ended`] says what came of it. Given up, it may be written all the same.
    pub(crate) fn copy(&self, from: File, length: u64) -> JoinHandle<anyhow::Result<()>> {
        self.with(move |file| file.copy(&from, length, b""))
    }

    /// How to open the file again.
    pub(crate) fn reopen(&self) -> Reopen {
        let file = Arc::clone(&self.file);
        Reopen::new(&self.name, move || lock(&file).reopen())
    }

    fn with(
        &self,
        work: impl FnOnce(&mut AppendFile) -> std::io::Result<()> + Send + 'static,
    ) -> JoinHandle<anyhow::Result<()>> {
        let (file, name) = (Arc::clone(&self.file), Arc::clone(&self.name));
        tokio::task::spawn_blocking(move || {
            work(&mut lock(&file)).with_context(|| format!("{name}: cannot write it"))
        })
    }
}

/// What came of a write.
///
/// # Errors
/// When it failed; the error names the file.
pub(crate) fn ended(written: Result<anyhow::Result<()>, JoinError>) -> anyhow::Result<()> {
    written.context("the thread that writes dead letters has failed")?
}

fn lock(file: &Mutex<AppendFile>) -> MutexGuard<'_, AppendFile> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}
