//! Watching for errors that make further waiting useless: every endpoint refuses, or no puller connects.

use std::time::Duration;

use tidegate::{Push, Refusal};
use tokio::sync::mpsc::Sender;

use crate::connecting::LastFailure;

/// Reports that every endpoint has refused this pusher permanently, and that it listens nowhere.
///
/// An event is only the occasion to check: events may have been missed, and new tokens give a refusing
/// endpoint another attempt.
pub(crate) async fn watch_refusals(push: Push, report: Sender<anyhow::Error>) {
    let mut events = push.events();
    loop {
        if let Some(Refusal { endpoint, reason, .. }) = push.refusal() {
            let _ = report.try_send(anyhow::anyhow!("--connect {endpoint}: refused permanently: {reason}"));
            return;
        }
        if events.recv().await.is_none() {
            return;
        }
    }
}

/// Reports that no puller has connected in time.
pub(crate) async fn watch_connecting(
    push: Push,
    time: Option<Duration>,
    failures: LastFailure,
    report: Sender<anyhow::Error>,
) {
    let Some(time) = time else { return };
    tokio::select! {
        biased;
        // Not after an error: while one endpoint refuses, a puller may still connect at another one.
        Ok(()) = push.connected(1) => {}
        () = tokio::time::sleep(time) => {
            // A puller that has connected and disconnected counts too.
            if push.stats().links_opened == 0 {
                let _ = report.try_send(failures.timed_out("puller", time));
            }
        }
    }
}
