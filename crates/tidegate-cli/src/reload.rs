//! SIGHUP: certificates, keys, CAs and tokens are read from their files again. New connections are made with what is
//! there now; links stay. A file that cannot be used changes nothing.

use anyhow::Context as _;
use tidegate::{SettingError, Tokens};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::socket::Access;
use crate::text;

/// The signal, taken over before the process tells that it is up.
pub(crate) struct Hangups(Option<Signal>);

impl Hangups {
    /// Takes the signal over, if there is something to read again. Otherwise it ends the process, as it does by default:
    /// a terminal that is closed sends it too.
    ///
    /// # Errors
    /// When the operating system refuses a handler.
    pub(crate) fn new(access: &Access) -> anyhow::Result<Self> {
        if !access.has_files() {
            return Ok(Self(None));
        }
        Ok(Self(Some(signal(SignalKind::hangup()).context("cannot handle SIGHUP")?)))
    }

    /// Reloads whenever the signal comes, for as long as the process lives.
    pub(crate) fn watch(
        self,
        access: Access,
        set_tokens: impl Fn(Tokens) -> Result<(), SettingError> + Send + 'static,
        quiet: bool,
    ) {
        let Some(mut signal) = self.0 else { return };
        tokio::spawn(async move {
            while signal.recv().await.is_some() {
                let reading = access.clone();
                // Files may be slow, and the links share this thread.
                let read = tokio::task::spawn_blocking(move || reading.reload());
                let done = read.await.map_err(anyhow::Error::from).and_then(|read| {
                    read?.map_or(Ok(()), |tokens| set_tokens(tokens).context("--token-file"))
                });
                match done {
                    Ok(()) => text::note(
                        quiet,
                        format_args!("SIGHUP: read {} again, for new connections", access.files()),
                    ),
                    Err(error) => text::say(format_args!(
                        "error: SIGHUP: {}; going on with what was there before",
                        text::visible(&format!("{error:#}"))
                    )),
                }
            }
        });
    }
}
