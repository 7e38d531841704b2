//! What makes going on useless: nobody is left to send to, or nobody has come.

use std::time::Duration;

use tidegate::{Endpoint, Event, Push};
use tokio::sync::mpsc::Sender;

use crate::connecting::LastFailure;

/// Reports when every endpoint has refused this pusher for good, and it listens nowhere.
pub(crate) async fn watch_refusals(
    push: Push,
    mut connect: Vec<Endpoint>,
    only_connects: bool,
    report: Sender<anyhow::Error>,
) {
    let mut events = push.events();
    while let Some(event) = events.recv().await {
        if let Event::Refused { endpoint, reason, .. } = event {
            connect.retain(|other| *other != endpoint);
            if only_connects && connect.is_empty() {
                let _ = report.try_send(anyhow::anyhow!("--connect {endpoint}: refused for good: {reason}"));
                return;
            }
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
        _ = push.connected(1) => {}
        () = tokio::time::sleep(time) => {
            let _ = report.try_send(failures.timed_out("puller", time));
        }
    }
}
