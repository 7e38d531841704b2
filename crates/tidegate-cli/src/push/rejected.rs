//! Keeping rejected messages.

use std::time::Duration;

use bytes::Bytes;
use tidegate::Rejections;
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;

use super::dead::DeadLetters;
use crate::text;
use crate::throttle::{Throttle, more};

/// As many rejections are listed in [`TOLD_EVERY`] (with `-v`); the others are counted.
const TOLD: u32 = 20;
/// See [`TOLD`].
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// What became of rejected messages.
pub(crate) struct Kept {
    /// Those that could not be written to the file that was asked for.
    pub(crate) unsaved: Vec<Bytes>,
}

/// Writes each rejected message to `file`, if there is one, until the pusher has ended.
///
/// After a failed write, which goes to `report`, and once `give_up` is set, because a write does not end, the rest is kept in
/// memory: the pusher bounds how much that can be.
pub(crate) async fn keep(
    mut rejections: Rejections,
    file: Option<DeadLetters>,
    report: Sender<anyhow::Error>,
    mut give_up: watch::Receiver<bool>,
) -> Kept {
    let mut kept = Kept { unsaved: Vec::new() };
    let mut failed = false;
    let mut first = true;
    // A few bytes from a peer may reject as many messages as it has.
    let mut told = Throttle::new(TOLD, TOLD_EVERY);
    while let Some(rejected) = rejections.recv().await {
        let (id, attempts) = (rejected.id, rejected.attempts);
        if first && file.is_none() {
            let reason = tidegate::shown(&rejected.reason);
            tracing::warn!(
                %id, attempts, %reason,
                "a message was rejected and is dropped: --dead-letter would keep it (-v shows further ones)"
            );
        } else if let Some(kept_back) = told.admit() {
            let reason = tidegate::shown(&rejected.reason);
            tracing::info!(%id, attempts, %reason, "a message was rejected{}", more(kept_back));
        }
        first = false;
        let Some(file) = &file else {
            continue;
        };
        let payload = rejected.message.into_payload();
        if !failed {
            // Each one at once: rejections are few, and this is their only copy.
            let written = tokio::select! {
                biased;
                written = file.append(payload.clone()) => written,
                _ = give_up.wait_for(|given_up| *given_up) => {
                    Err(anyhow::anyhow!("--dead-letter: writing does not end, and is not waited for any longer"))
                }
            };
            match written {
                Ok(()) => continue,
                Err(error) => {
                    failed = true;
                    let _ = report.try_send(error);
                }
            }
        }
        kept.unsaved.push(payload);
    }
    let kept_back = told.take_kept_back();
    if kept_back > 0 {
        tracing::info!("{} rejected that are not listed here", text::count(kept_back, "more message"));
    }
    kept
}
