//! A worker of the demo: receives paths, hashes the files, and sends the results.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use tidegate::{Pull, Push, Window};
use tokio::time::Instant;

use super::outcome::{FileResult, Report};

/// The credit window of a worker: small, so that the shares depend on the speeds.
const WINDOW: u64 = 16;
/// A late worker may catch up by this time, which compensates for coarse timers.
const MAX_CATCH_UP: Duration = Duration::from_millis(20);
/// The linger time for the last results.
const LINGER: Duration = Duration::from_secs(30);

/// One worker process.
#[derive(Args, Debug)]
pub(crate) struct WorkerSide {
    #[arg(long)]
    name: String,
    /// The endpoint of the paths.
    #[arg(long)]
    paths: String,
    /// The endpoint of the results.
    #[arg(long)]
    results: String,
    /// The minimum time per file, in microseconds, which is the worker's speed.
    #[arg(long)]
    pause_micros: u64,
}

impl WorkerSide {
    /// Works until the stream of paths has ended and the sink has acked every result.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        // The results connect first, so that no path waits for that.
        let results = Push::builder().connect(&self.results).name(&self.name).build().await?;
        results.connected(1).await?;
        let paths = Pull::builder()
            .connect(&self.paths)
            .name(&self.name)
            .window(Window::messages(WINDOW))
            .build()
            .await?;
        let pause = Duration::from_micros(self.pause_micros);
        let mut due = Instant::now();
        while let Some(delivery) = paths.recv().await? {
            let path = Path::new(OsStr::from_bytes(delivery.payload()));
            let outcome = FileResult::of(path).await;
            let now = Instant::now();
            due = due.max(now.checked_sub(MAX_CATCH_UP).unwrap_or(now)) + pause;
            tokio::time::sleep_until(due).await;
            let report = Report {
                path: path.to_owned(),
                worker: self.name.clone(),
                attempt: delivery.attempt(),
                outcome,
            };
            let receipt = results.send_tracked(report.to_message()).await?;
            // The window limits the number of these tasks.
            tokio::spawn(async move {
                match receipt.await {
                    Ok(()) => delivery.ack(),
                    Err(error) => delivery.nack_with(None, &error.to_string()),
                }
            });
        }
        results.finish(LINGER).await?;
        Ok(())
    }
}
