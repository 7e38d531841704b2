//! What makes going on useless: nobody is left to send to, or nobody has come.

use std::time::Duration;

use tidegate::{Push, Refusal};
use tokio::sync::mpsc::Sender;

use crate::connecting::LastFailure;

/// Reports when every endpoint has refused this pusher for good, and it listens nowhere.
///
/// The events only tell when to ask: some may have been missed, and other tokens give an endpoint that refused another try.
pub(crate) async fn watch_refusals(push: Push, report: Sender<anyhow::Error>) {
    let mut events = push.events();
    loop {
        if let Some(Refusal { endpoint, reason, .. }) = push.refusal() {
            let _ = report.try_send(anyhow::anyhow!("--connect {endpoint}: refused for good: {reason}"));
            return;
        }
        if events.recv().await.is_none() {
            return;
        }
    }
}

/// Reports when no puller has connected in time.
pub(crate) async fn watch_connecting(
    push: Push,
    time: Option<Duration>,
    failures: LastFailure,
    report: Sender<anyhow::Error>,
) {
    let Some(time) = time else { return };
    tokio::select! {
        biased;
        // Not after an error: while one endpoint refuses, another one may still bring a puller in time.
        Ok(()) = push.connected(1) => {}
        () = tokio::time::sleep(time) => {
            // A puller that has come and gone has connected, too.
            if push.stats().links_opened == 0 {
                let _ = report.try_send(failures.timed_out("puller", time));
            }
        }
    }
}
