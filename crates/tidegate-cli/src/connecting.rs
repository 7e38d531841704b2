//! Why there is no connection: the error of `--connect-timeout`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidegate::{Event, Events};

use crate::text;

/// The last failed attempt to connect. A cheap handle.
#[derive(Clone, Default)]
pub(crate) struct LastFailure(Arc<Mutex<Option<String>>>);

impl LastFailure {
    /// Records the failures among the events of a socket, until the socket is gone.
    pub(crate) fn watch(mut events: Events) -> Self {
        let last = Self::default();
        let remembered = last.clone();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                remembered.note(&event);
            }
        });
        last
    }

    /// Records an event if it is such a failure.
    pub(crate) fn note(&self, event: &Event) {
        if let Event::ConnectFailed { endpoint, reason } = event {
            let text = format!("cannot connect to {endpoint}: {}", text::visible(reason));
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
        }
    }

    /// The error after `time` has passed and no `who` (a puller or a pusher) has connected.
    pub(crate) fn timed_out(&self, who: &str, time: Duration) -> anyhow::Error {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let reason = last.map(|reason| format!("; {reason}")).unwrap_or_default();
        anyhow::anyhow!(
            "--connect-timeout: no {who} has connected within {}{reason}",
            humantime::format_duration(time)
        )
    }
}
