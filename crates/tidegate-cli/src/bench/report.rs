//! The results of a measurement, as text and as JSON.

use std::fmt;

use serde::Serialize;
use tidegate::Window;
use tidegate_load::tcp::Chunks;

use super::flow::Flow;
use super::latency::LatencyResult;
use super::tcp::{Measured, TcpRun};
use super::times::Latency;
use super::usage::Usage;
use super::window_text;
use crate::args::LatencyArgs;
use crate::text::thousands;

/// One run, as `--json` prints it.
#[derive(Debug, Serialize)]
#[serde(tag = "bench", rename_all = "snake_case")]
pub(super) enum Report {
    Throughput(Box<Rate>),
    Latency(Box<LatencyReport>),
}

/// Messages per second.
#[derive(Debug, Default, Serialize)]
pub struct Rate {
    /// Payload size of a message, in bytes.
    size: usize,
    /// Messages.
    count: u64,
    /// The credit window: a number, or "auto". Absent for plain TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<serde_json::Value>,
    /// Whether the links used TLS.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    tls: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pushers: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pullers: Option<u16>,
    seconds: f64,
    msgs_per_s: f64,
    mib_per_s: f64,
    /// The sum of all processes of a side.
    #[serde(skip_serializing_if = "Option::is_none")]
    push: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pull: Option<Usage>,
    /// The number of messages that each puller received.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    received: Vec<u64>,
    /// The window of the first puller at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_window: Option<u64>,
    /// The result with plain TCP, if it was measured too.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    tcp: Option<Tcp>,
    /// The sizes of the writes and reads of plain TCP that were the fastest.
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp_chunks: Option<Chunks>,
}

#[derive(Debug, Serialize)]
struct Tcp {
    tcp_msgs_per_s: f64,
    tcp_mib_per_s: f64,
    /// tidegate's rate divided by that of TCP.
    ratio: f64,
}

/// Round trips, or latencies under a steady load.
#[derive(Debug, Serialize)]
pub(super) struct LatencyReport {
    size: usize,
    count: u64,
    /// Messages per second, one way. Absent for round trips.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<u64>,
    busy_poll_us: u64,
    /// Times are in microseconds.
    #[serde(flatten)]
    found: LatencyResult,
}

impl Rate {
    /// A run of tidegate.
    pub(super) fn of(
        size: usize,
        count: u64,
        window: Window,
        (pushers, pullers): (u16, u16),
        flow: &Flow,
    ) -> Self {
        let rate = per_second(flow.measured, flow.seconds);
        Self {
            size,
            count,
            window: Some(window_value(window)),
            tls: false,
            pushers: Some(pushers),
            pullers: Some(pullers),
            seconds: flow.seconds,
            msgs_per_s: rate,
            mib_per_s: mib(size, rate),
            push: Some(flow.push),
            pull: Some(flow.pull),
            received: flow.pulled.iter().map(|side| side.received).collect(),
            last_window: flow.pulled.first().map(|side| side.window),
            tcp: None,
            tcp_chunks: None,
        }
    }

    /// Adds a run of plain TCP with the same load, and the ratio.
    pub(super) fn beside(self, tcp: &Self) -> Self {
        let (tcp_msgs_per_s, tcp_mib_per_s) = (tcp.msgs_per_s, tcp.mib_per_s);
        let ratio = self.msgs_per_s / tcp_msgs_per_s;
        let tcp_chunks = tcp.tcp_chunks;
        Self { tcp: Some(Tcp { tcp_msgs_per_s, tcp_mib_per_s, ratio }), tcp_chunks, ..self }
    }

    /// Sets whether the links used TLS.
    pub(super) fn with_tls(self, tls: bool) -> Self {
        Self { tls, ..self }
    }

    /// A run of TCP alone. The time from the first message to the last covers one message less than were
    /// sent.
    pub(super) fn tcp(size: usize, count: u64, run: TcpRun) -> Self {
        let TcpRun { chunks, measured: Measured { seconds } } = run;
        let rate = per_second(count.saturating_sub(1), seconds);
        let (msgs_per_s, mib_per_s) = (rate, mib(size, rate));
        Self { size, count, seconds, msgs_per_s, mib_per_s, tcp_chunks: Some(chunks), ..Self::default() }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures =
            |rate: f64, mib: f64| format!("{} messages/s, {mib:.1} MiB/s", thousands(rate.round() as u64));
        let sides = match (self.pushers, self.pullers) {
            (Some(pushers), Some(pullers)) if pushers + pullers > 2 => format!(", {pushers} to {pullers}"),
            _ => String::new(),
        };
        let sides = if self.tls { format!("{sides} over TLS") } else { sides };
        let window = match (&self.window, self.last_window) {
            (Some(serde_json::Value::String(_)), Some(last)) => {
                format!(", window auto ({})", thousands(last))
            }
            (Some(window), _) => format!(", window {window}"),
            _ => String::new(),
        };
        let (count, size) = (thousands(self.count), thousands(self.size as u64));
        let rate = figures(self.msgs_per_s, self.mib_per_s);
        write!(f, "{count} messages of {size} B{sides}{window}: {rate}")?;
        if let (Some(push), Some(pull)) = (self.push, self.pull) {
            write!(f, "\npushing: {}; pulling: {}", used(push), used(pull))?;
        }
        if let Some(tcp) = &self.tcp {
            let figures = figures(tcp.tcp_msgs_per_s, tcp.tcp_mib_per_s);
            write!(f, "\nplain TCP: {figures}; the ratio is {:.3}", tcp.ratio)?;
        }
        if let Some(Chunks { write, read }) = self.tcp_chunks {
            let (write, read) = (write >> 10, read >> 10);
            write!(f, "\nthe best pair of TCP: writes of {write} KiB, reads of {read} KiB")?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Throughput(rate) => fmt::Display::fmt(rate, f),
            Self::Latency(report) => fmt::Display::fmt(report, f),
        }
    }
}

impl LatencyReport {
    pub(super) fn of(args: &LatencyArgs, found: LatencyResult) -> Box<Self> {
        let busy_poll_us = args.busy_poll.unwrap_or_default().as_micros() as u64;
        let LatencyArgs { size, count, rate, .. } = *args;
        Box::new(Self { size, count, rate, busy_poll_us, found })
    }
}

impl fmt::Display for LatencyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |name: &str, l: &Latency| {
            format!(
                "{name}: p50 {:.1} µs, p90 {:.1}, p99 {:.1}, p99.9 {:.1}, max {:.1}",
                l.p50, l.p90, l.p99, l.p999, l.max
            )
        };
        let what = match self.rate {
            Some(rate) => format!("one way at {} messages/s", thousands(rate)),
            None => "round trip".to_owned(),
        };
        f.write_str(&line(&format!("{what}, {} B", self.size), &self.found.latency))?;
        for (name, echo) in
            [("tokio echo", &self.found.tokio_echo), ("blocking echo", &self.found.blocking_echo)]
        {
            if let Some(echo) = echo {
                let (p50, p99) = (self.found.latency.p50 / echo.p50, self.found.latency.p99 / echo.p99);
                let echo = line(name, echo);
                write!(f, "\n{echo}; tidegate is {p50:.2} × its p50 and {p99:.2} × its p99")?;
            }
        }
        Ok(())
    }
}

fn used(usage: Usage) -> String {
    format!("{:.2} s of CPU, {:.1} MiB at most", usage.cpu_seconds, usage.peak_kib as f64 / 1024.0)
}

/// A window as `--json` prints it: a number, or "auto".
#[must_use]
pub fn window_value(window: Window) -> serde_json::Value {
    match window_text(window).parse::<u64>() {
        Ok(messages) => messages.into(),
        Err(_) => "auto".into(),
    }
}

fn per_second(count: u64, seconds: f64) -> f64 {
    // If the clock did not advance, the time is below its resolution, and JSON has no infinity.
    count as f64 / seconds.max(1e-9)
}

fn mib(size: usize, rate: f64) -> f64 {
    rate * size as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(seconds: f64, measured: u64) -> Flow {
        Flow { seconds, measured, pulled: Vec::new(), push: Usage::default(), pull: Usage::default() }
    }

    fn tcp_run(seconds: f64) -> TcpRun {
        TcpRun { chunks: Chunks { write: 1 << 20, read: 1 << 16 }, measured: Measured { seconds } }
    }

    #[test]
    fn the_object_has_the_documented_fields() {
        let tcp = Rate::tcp(1024, 2049, tcp_run(0.5));
        let rate = Rate::of(1024, 2049, Window::messages(1_000), (1, 1), &flow(2.0, 2048)).beside(&tcp);
        let json = serde_json::to_value(Report::Throughput(Box::new(rate))).unwrap();
        assert_eq!(json["bench"], "throughput");
        assert_eq!(
            (&json["size"], &json["count"], &json["window"]),
            (&1024.into(), &2049.into(), &1000.into())
        );
        assert_eq!((json["msgs_per_s"].as_f64(), json["mib_per_s"].as_f64()), (Some(1024.0), Some(1.0)));
        assert_eq!((json["tcp_msgs_per_s"].as_f64(), json["ratio"].as_f64()), (Some(4096.0), Some(0.25)));
        assert_eq!(json["tcp_chunks"], serde_json::json!({ "write": 1_048_576, "read": 65_536 }));
        let auto = Rate::of(1, 2, Window::Auto, (1, 1), &flow(2.0, 2048));
        let json = serde_json::to_value(&auto).unwrap();
        assert_eq!((&json["window"], json.get("tls")), (&"auto".into(), None));
        let tls = auto.with_tls(true);
        assert!(tls.to_string().starts_with("2 messages of 1 B over TLS"), "{tls}");
        assert_eq!(serde_json::to_value(tls).unwrap()["tls"], true);
    }

    #[test]
    fn plain_tcp_has_no_window_and_no_ratio() {
        let report = Rate::tcp(64, 3, tcp_run(1.0));
        let json = serde_json::to_value(&report).unwrap();
        assert!(json.get("window").is_none() && json.get("ratio").is_none());
        assert_eq!(
            report.to_string(),
            "3 messages of 64 B: 2 messages/s, 0.0 MiB/s\n\
             the best pair of TCP: writes of 1024 KiB, reads of 64 KiB"
        );
    }

    #[test]
    fn a_clock_that_does_not_advance_gives_a_finite_rate() {
        assert!(Rate::tcp(1, 2, tcp_run(0.0)).msgs_per_s.is_finite());
    }
}
