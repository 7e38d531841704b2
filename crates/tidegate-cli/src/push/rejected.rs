//! Keeping rejected messages.

use bytes::Bytes;
use tidegate::Rejections;
use tokio::sync::mpsc::Sender;

use super::files::Appended;
use crate::text;

/// What became of rejected messages.
pub(crate) struct Kept {
    /// Those that could not be written to the file that was asked for.
    pub(crate) unsaved: Vec<Bytes>,
}

/// Writes each rejected message to `file`, if there is one, until the pusher has ended.
///
/// After a failed write, which goes to `report`, the rest is kept in memory: the pusher bounds how much that can be.
pub(crate) async fn keep(
    mut rejections: Rejections,
    mut file: Option<Appended>,
    report: Sender<anyhow::Error>,
) -> Kept {
    let mut kept = Kept { unsaved: Vec::new() };
    let mut failed = false;
    let mut first = true;
    while let Some(rejected) = rejections.recv().await {
        let reason = text::visible(&rejected.reason);
        if first && file.is_none() {
            tracing::warn!(
                id = %rejected.id, attempts = rejected.attempts, %reason,
                "a message was rejected and is dropped: --dead-letter would keep it (-v shows further ones)"
            );
        } else {
            tracing::info!(id = %rejected.id, attempts = rejected.attempts, %reason, "a message was rejected");
        }
        first = false;
        let Some(open) = &mut file else {
            continue;
        };
        if !failed {
            // Each one at once: rejections are few, and this is their only copy.
            match open.append(rejected.message.payload()).and_then(|()| open.finish()) {
                Ok(()) => continue,
                Err(error) => {
                    failed = true;
                    let _ = report.try_send(error);
                }
            }
        }
        kept.unsaved.push(rejected.message.into_payload());
    }
    kept
}
