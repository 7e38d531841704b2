//! A worker of the demonstration: takes paths, hashes the files, sends the results on.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use tidegate::{Pull, Push, Window};
use tokio::time::Instant;

use super::outcome::{Outcome, Report};

/// How many paths a worker may hold: few, so that shares follow the speeds.
const WINDOW: u64 = 16;
/// A worker that was late may catch up that much, so that timers' coarseness evens out.
const CATCH_UP: Duration = Duration::from_millis(20);
/// How long the sink may take for the last results.
const LINGER: Duration = Duration::from_secs(30);

/// One worker process.
#[derive(Args, Debug)]
pub(crate) struct WorkerSide {
    #[arg(long)]
    name: String,
    /// Where paths come from.
    #[arg(long)]
    paths: String,
    /// Where results go.
    #[arg(long)]
    results: String,
    /// How long a file takes at least, in microseconds: this worker's speed.
    #[arg(long)]
    pause_micros: u64,
}

impl WorkerSide {
    /// Works until the stream of paths has ended and every result is with the sink.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        // First the way out: a path that is taken should find it open.
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
            let outcome = Outcome::of(path).await;
            let now = Instant::now();
            due = due.max(now.checked_sub(CATCH_UP).unwrap_or(now)) + pause;
            tokio::time::sleep_until(due).await;
            let report = Report {
                path: path.to_owned(),
                worker: self.name.clone(),
                attempt: delivery.attempt(),
                outcome,
            };
            let receipt = results.send_tracked(report.to_message()).await?;
            // The window bounds how many of these there are.
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
