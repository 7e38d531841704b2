//! SIGHUP reloads certificates, keys, CAs and tokens from their files, and reopens output files by their
//! names. SIGUSR1 only reopens output files.
//!
//! New connections use what was reloaded; links stay open. A file that cannot be used changes nothing.

use std::sync::Arc;

use anyhow::Context as _;
use tidegate::{SettingError, Tokens};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, Semaphore};

use crate::socket::{Access, Reloaded};
use crate::text;

/// Both signals. Their handlers are installed before the process reports that it is ready.
pub(crate) struct Reload {
    /// `None` if there is nothing to reload or reopen: SIGHUP then stops the process, see
    /// [`Signals`](crate::signals::Signals).
    hangup: Option<Signal>,
    user: Signal,
}

/// An output file that can be reopened. Opening it may block.
#[derive(Clone)]
pub(crate) struct Reopen {
    /// The option and the path.
    name: String,
    open: Arc<dyn Fn() -> anyhow::Result<()> + Send + Sync>,
    /// One task that opens, and one that waits for it. A further signal adds nothing.
    places: Arc<Semaphore>,
    turn: Arc<Mutex<()>>,
}

impl Reopen {
    /// `open` runs on a thread that may block. Its errors name the file.
    pub(crate) fn new(name: &str, open: impl Fn() -> anyhow::Result<()> + Send + Sync + 'static) -> Self {
        let (places, turn) = (Arc::new(Semaphore::new(2)), Arc::default());
        Self { name: name.to_owned(), open: Arc::new(open), places, turn }
    }

    /// Opens the file in its own task. A file whose writer is stalled delays neither other files nor the next signal.
    fn open(&self, signal: &'static str, quiet: bool) {
        let Ok(place) = self.places.clone().try_acquire_owned() else { return };
        let Self { name, open, turn, .. } = self.clone();
        tokio::spawn(async move {
            let _turn = turn.lock().await;
            let opened = tokio::task::spawn_blocking(move || open()).await;
            match opened.map_err(anyhow::Error::from).and_then(|opened| opened) {
                Ok(()) => {
                    text::note(quiet, format_args!("{signal}: reopened {}", text::visible(&name)));
                }
                Err(error) => failed(signal, &error),
            }
            drop(place);
        });
    }
}

impl Reload {
    /// Handles SIGUSR1, and SIGHUP if there is anything to reload or reopen (`hangup`).
    ///
    /// # Errors
    /// If the operating system refuses a handler.
    pub(crate) fn new(hangup: bool) -> anyhow::Result<Self> {
        let take = |kind| signal(kind).context("cannot handle SIGHUP and SIGUSR1");
        Ok(Self {
            hangup: hangup.then(|| take(SignalKind::hangup())).transpose()?,
            user: take(SignalKind::user_defined1())?,
        })
    }

    /// Reloads and reopens at each signal, until the process ends.
    pub(crate) fn watch(
        self,
        access: Access,
        set_tokens: impl Fn(Tokens) -> Result<(), SettingError> + Send + Sync + 'static,
        files: Vec<Reopen>,
        quiet: bool,
    ) {
        let Self { hangup, mut user } = self;
        let reopened = files.clone();
        tokio::spawn(async move {
            while user.recv().await.is_some() {
                if reopened.is_empty() {
                    text::note(quiet, format_args!("SIGUSR1: there is no file to reopen"));
                }
                reopened.iter().for_each(|file| file.open("SIGUSR1", quiet));
            }
        });
        let Some(mut hangup) = hangup else { return };
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                if access.has_files() {
                    reread(&access, &set_tokens, quiet).await;
                }
                files.iter().for_each(|file| file.open("SIGHUP", quiet));
            }
        });
    }
}

async fn reread(access: &Access, set_tokens: impl Fn(Tokens) -> Result<(), SettingError>, quiet: bool) {
    let reading = access.clone();
    // Reading may be slow, and the links share this thread.
    let read = tokio::task::spawn_blocking(move || reading.reload());
    // Everything has been checked before the first change, and the last change cannot fail.
    let done = read.await.map_err(anyhow::Error::from).and_then(|read| {
        let Reloaded { tokens, tls } = read?;
        if let Some(tokens) = tokens {
            set_tokens(tokens).context("--token-file")?;
        }
        if let Some(tls) = tls {
            tls.commit();
        }
        Ok(())
    });
    match done {
        Ok(()) => {
            text::note(quiet, format_args!("SIGHUP: reloaded {} for new connections", access.files()));
        }
        Err(error) => failed("SIGHUP", &error),
    }
}

fn failed(signal: &str, error: &anyhow::Error) {
    text::say(format_args!("error: {signal}: {}; the old files and tokens stay in use", text::causes(error)));
}
