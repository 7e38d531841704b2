//! Waiting in tests, which never sleep.

#![allow(dead_code, unreachable_pub)] // each test file uses its part

use std::time::Duration;

/// Longer than anything takes that does not hang.
pub const LONG: Duration = Duration::from_secs(20);

/// A safety net: no test may wait for ever.
pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, work).await.expect("took too long")
}

/// Lets something begin that has to wait, and cancels it then.
pub async fn begin<T>(work: impl Future<Output = T>) {
    tokio::select! {
        biased;
        _ = work => panic!("there was nothing to wait for"),
        () = std::future::ready(()) => {}
    }
}
