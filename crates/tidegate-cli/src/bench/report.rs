//! The figures of a measurement, for people and for programs.

use serde::{Deserialize, Serialize};

use crate::text::thousands;

/// What the receiving process has measured.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Measured {
    /// From the first message (TCP: the first bytes) to the last.
    pub(crate) seconds: f64,
}

/// One run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Payload bytes of a message.
    size: usize,
    /// Messages.
    count: u64,
    /// Messages that may be un-acked; not there for plain TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<u64>,
    seconds: f64,
    msgs_per_s: f64,
    mib_per_s: f64,
    /// The same with plain TCP, if that was asked for too.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    tcp: Option<Tcp>,
}

#[derive(Debug, Serialize)]
struct Tcp {
    tcp_msgs_per_s: f64,
    tcp_mib_per_s: f64,
    /// tidegate's rate by that of TCP.
    ratio: f64,
}

impl Report {
    /// A run of tidegate, and perhaps one of TCP.
    pub(crate) fn throughput(
        size: usize,
        count: u64,
        window: Option<u64>,
        run: Measured,
        tcp: Option<Measured>,
    ) -> Self {
        let rate = rate(count, run);
        let tcp = tcp.map(|run| {
            let tcp = self::rate(count, run);
            Tcp { tcp_msgs_per_s: tcp, tcp_mib_per_s: mib(size, tcp), ratio: rate / tcp }
        });
        Self { size, count, window, seconds: run.seconds, msgs_per_s: rate, mib_per_s: mib(size, rate), tcp }
    }

    /// A run of TCP alone.
    pub(crate) fn tcp(size: usize, count: u64, run: Measured) -> Self {
        Self::throughput(size, count, None, run, None)
    }

    /// A sentence or two.
    pub(crate) fn text(&self) -> String {
        let figures =
            |rate: f64, mib: f64| format!("{} messages/s, {mib:.1} MiB/s", thousands(rate.round() as u64));
        let mut text = format!(
            "{} messages of {} B{}: {}",
            thousands(self.count),
            thousands(self.size as u64),
            self.window.map(|w| format!(", window {}", thousands(w))).unwrap_or_default(),
            figures(self.msgs_per_s, self.mib_per_s)
        );
        if let Some(tcp) = &self.tcp {
            text += &format!(
                "\nplain TCP: {}; the ratio is {:.3}",
                figures(tcp.tcp_msgs_per_s, tcp.tcp_mib_per_s),
                tcp.ratio
            );
        }
        text
    }
}

/// Messages per second: from the first to the last there is one less than were sent.
fn rate(count: u64, run: Measured) -> f64 {
    // A clock that did not move means less than its resolution, and JSON has no infinity.
    count.saturating_sub(1) as f64 / run.seconds.max(1e-9)
}

fn mib(size: usize, rate: f64) -> f64 {
    rate * size as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_has_the_promised_figures() {
        let report = Report::throughput(
            1024,
            2049,
            Some(1000),
            Measured { seconds: 2.0 },
            Some(Measured { seconds: 0.5 }),
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(
            (&json["size"], &json["count"], &json["window"]),
            (&1024.into(), &2049.into(), &1000.into())
        );
        assert_eq!((json["msgs_per_s"].as_f64(), json["mib_per_s"].as_f64()), (Some(1024.0), Some(1.0)));
        assert_eq!((json["tcp_msgs_per_s"].as_f64(), json["ratio"].as_f64()), (Some(4096.0), Some(0.25)));
    }

    #[test]
    fn plain_tcp_has_no_window_and_no_ratio() {
        let report = Report::tcp(64, 3, Measured { seconds: 1.0 });
        let json = serde_json::to_value(&report).unwrap();
        assert!(json.get("window").is_none() && json.get("ratio").is_none());
        assert_eq!(report.text(), "3 messages of 64 B: 2 messages/s, 0.0 MiB/s");
    }

    #[test]
    fn a_clock_that_stands_still_gives_a_number() {
        assert!(Report::tcp(1, 2, Measured { seconds: 0.0 }).msgs_per_s.is_finite());
    }
}
