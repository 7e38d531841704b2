//! The file of `--dead-letter`: rejected messages, and records that were too large to be sent.

use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use bytes::Bytes;
use tokio::task::{JoinError, JoinHandle};

use crate::append::AppendFile;
use crate::reload::Reopen;

/// A cheap handle. Writes run on threads that may block, because the file may be a named pipe.
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

    /// Appends a message. If the future is dropped, the message may still be written.
    ///
    /// # Errors
    /// If that fails. The error names the file.
    pub(crate) async fn append(&self, record: Bytes) -> anyhow::Result<()> {
        let writing = self.with(move |file| {
            let mut framed = Vec::with_capacity(record.len() + 4);
            file.framing().put(&mut framed, &record)?;
            file.write(&framed)
        });
        ended(writing.await)
    }

    /// Starts to append a record from a file. [`ended`] returns the result. If the handle is dropped, the
    /// record may still be written.
    pub(crate) fn copy(&self, from: File, length: u64) -> JoinHandle<anyhow::Result<()>> {
        self.with(move |file| file.copy(&from, length, b""))
    }

    /// How to reopen the file.
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

/// The result of a write.
///
/// # Errors
/// If the write failed. The error names the file.
pub(crate) fn ended(written: Result<anyhow::Result<()>, JoinError>) -> anyhow::Result<()> {
    written.context("the thread that writes dead letters has failed")?
}

fn lock(file: &Mutex<AppendFile>) -> MutexGuard<'_, AppendFile> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}
