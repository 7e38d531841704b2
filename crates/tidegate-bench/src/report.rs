//! The results of the measurements, as text and as JSON.

use std::fmt;

use serde::Serialize;
use tidegate_cli::shared::{Rate, thousands, window_value};

use crate::args::{MakespanArgs, SoakArgs};
use crate::makespan::MakespanResult;
use crate::memory::{LinksResult, StoppedResult};
use crate::soak::SoakResult;

/// One run, as `--json` prints it.
#[derive(Debug, Serialize)]
#[serde(tag = "bench", rename_all = "snake_case")]
pub(crate) enum Report {
    Fanout(Rate),
    Fanin(Rate),
    Tcp(Rate),
    Makespan(MakespanReport),
    Soak(SoakReport),
    Links(LinksResult),
    Stopped(StoppedResult),
}

#[derive(Debug, Serialize)]
pub(crate) struct MakespanReport {
    window: serde_json::Value,
    quick: u64,
    long_share: f64,
    #[serde(flatten)]
    found: MakespanResult,
}

#[derive(Debug, Serialize)]
pub(crate) struct SoakReport {
    size: usize,
    pullers: u16,
    #[serde(flatten)]
    found: SoakResult,
}

impl Report {
    pub(crate) fn makespan(args: &MakespanArgs, found: MakespanResult) -> Self {
        let window = window_value(args.window);
        Self::Makespan(MakespanReport { window, quick: args.quick, long_share: args.long_share, found })
    }

    pub(crate) fn soak(args: &SoakArgs, found: SoakResult) -> Self {
        Self::Soak(SoakReport { size: args.size, pullers: args.pullers, found })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fanout(rate) | Self::Fanin(rate) | Self::Tcp(rate) => write!(f, "{rate}"),
            Self::Makespan(MakespanReport { found, .. }) => {
                write!(
                    f,
                    "{} jobs in {:.2} s; a dispatcher without latency takes {:.2} s: the ratio is {:.3}",
                    thousands(found.jobs),
                    found.seconds,
                    found.ideal_seconds,
                    found.ratio
                )?;
                for worker in &found.workers {
                    write!(
                        f,
                        "\nspeed {}: {} jobs, busy for {:.1} %, {} released",
                        worker.speed,
                        thousands(worker.jobs),
                        100.0 * worker.busy / found.seconds,
                        thousands(worker.released)
                    )?;
                }
                Ok(())
            }
            Self::Links(found) => write!(
                f,
                "{} idle links: {} bytes of the pusher's memory for each ({} KiB before, {} KiB with them)",
                thousands(found.links.into()),
                thousands(found.bytes_per_link),
                thousands(found.before_kib),
                thousands(found.after_kib)
            ),
            Self::Stopped(found) => write!(
                f,
                "a stopped puller, {} B messages: the pusher used {} KiB before and {} KiB at its peak; \
                 it held {} KiB of messages and used {} KiB for other purposes; \
                 all {} messages were acked in the end",
                thousands(found.size as u64),
                thousands(found.before_kib),
                thousands(found.peak_kib),
                thousands(found.held_kib),
                thousands(found.more_kib),
                thousands(found.acked)
            ),
            Self::Soak(SoakReport { found, .. }) => write!(
                f,
                "{} messages in {:.0} s, all acked: {} messages/s; {} pullers killed, {} messages redelivered; \
                 the pusher used at most {:.1} MiB",
                thousands(found.acked),
                found.seconds,
                thousands((found.acked as f64 / found.seconds) as u64),
                found.killed,
                thousands(found.redelivered),
                found.push.peak_kib as f64 / 1024.0
            ),
        }
    }
}
