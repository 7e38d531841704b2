//! Waiting until a time.

use tokio::time::Instant;

/// Waits until `time`; for ever without one. Cancel safe.
pub(crate) async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
