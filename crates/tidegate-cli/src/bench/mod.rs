//! `tidegate bench`: throughput and latency of tidegate on this machine. The program of `crates/tidegate-bench`
//! measures more, with the same processes.

mod certs;
mod echo;
mod flow;
mod latency;
mod process;
mod report;
mod side;
mod tcp;
mod times;
mod usage;

use std::fmt::Display;
use std::future::Future;
use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::ProgressBar;
use serde::Serialize;
use tidegate::Window;

use crate::args::{BenchArgs, BenchCommand, LoadArgs, TuneArgs};
use crate::exit::Exit;
pub use process::{BenchProcess, tell};
use report::{LatencyReport, Report};
pub use report::{Rate, window_value};
pub use side::Side;
pub use usage::{Usage, clock, resident};

/// Runs the selected benchmark and prints its result on stdout.
///
/// # Errors
/// If a process fails, or a message differs from what was sent.
pub(crate) async fn run(args: BenchArgs) -> anyhow::Result<Exit> {
    match args.command {
        BenchCommand::Throughput(args) => {
            let measuring = async {
                let rate = flow_rate(&args.load, &args.tune, (1, 1)).await?;
                let rate = if args.with_tcp { rate.beside(&tcp_rate(&args.load).await?) } else { rate };
                Ok(Report::Throughput(Box::new(rate)))
            };
            show(args.load.json, measuring).await
        }
        BenchCommand::Latency(args) => {
            let measuring =
                async { Ok(Report::Latency(LatencyReport::of(&args, latency::measure(&args).await?))) };
            show(args.json, measuring).await
        }
    }
}

/// Waits for a measurement, and prints its result on stdout, as text or as a JSON object.
///
/// # Errors
/// If the measurement fails, or stdout cannot be written.
pub async fn show<R: Display + Serialize>(
    json: bool,
    measuring: impl Future<Output = anyhow::Result<R>>,
) -> anyhow::Result<Exit> {
    // Drawn on a terminal only.
    let waiting = ProgressBar::new_spinner().with_message("measuring");
    waiting.enable_steady_tick(Duration::from_millis(200));
    let result = measuring.await;
    waiting.finish_and_clear();
    let report = result?;
    let text = if json { serde_json::to_string(&report)? } else { report.to_string() };
    writeln!(std::io::stdout(), "{text}").context("cannot write to stdout")?;
    Ok(Exit::Success)
}

/// Measures the rate from `pushers` to `pullers`, of which one must be 1. Each is a process of its own.
///
/// # Errors
/// If a process fails, or a message differs from what was sent or is not acked.
pub async fn flow_rate(load: &LoadArgs, tune: &TuneArgs, sides: (u16, u16)) -> anyhow::Result<Rate> {
    let flow = flow::measure(load.size, load.count(), sides, tune).await?;
    Ok(Rate::of(load.size, load.count(), tune.window, sides, &flow).with_tls(tune.tls))
}

/// Measures the rate of a plain TCP stream of the same bytes.
///
/// # Errors
/// If a process fails.
pub async fn tcp_rate(load: &LoadArgs) -> anyhow::Result<Rate> {
    let (size, count) = (load.size, load.count());
    Ok(Rate::tcp(size, count, tcp::measure(size, count).await?))
}

/// A window in the form of the option.
#[must_use]
pub fn window_text(window: Window) -> String {
    match window {
        Window::Fixed { messages, .. } => messages.to_string(),
        _ => "auto".to_owned(),
    }
}
