//! The summary of a daemon: one line on stderr, or one JSON object.

use serde::Serialize;

use crate::text::{self, count, thousands};

/// What a pusher did.
#[derive(Debug, Default, Serialize)]
pub(crate) struct PushSummary {
    /// Messages taken from the input: acked, rejected, and those that are left.
    pub(crate) accepted: u64,
    pub(crate) acked: u64,
    pub(crate) rejected: u64,
    /// Failed attempts.
    pub(crate) nacked: u64,
    /// Deliveries after the first one of a message.
    pub(crate) redelivered: u64,
    /// Deliveries that were not settled within the settle time-out.
    pub(crate) timed_out: u64,
    /// Records that were too large for a message, and were dropped or written to the dead letters.
    pub(crate) oversized: u64,
    /// Messages left that were certainly not processed, including those read from the input and not accepted.
    pub(crate) not_sent: u64,
    /// Messages left that were delivered and may have been processed.
    pub(crate) not_acked: u64,
    /// The number of bytes that were read of an incomplete record.
    pub(crate) incomplete: u64,
    /// Whether the input was read to its end.
    pub(crate) input_complete: bool,
    pub(crate) seconds: f64,
    /// The exit code.
    pub(crate) exit: u8,
}

/// What a puller did.
#[derive(Debug, Default, Serialize)]
pub(crate) struct PullSummary {
    pub(crate) received: u64,
    pub(crate) acked: u64,
    pub(crate) nacked: u64,
    pub(crate) rejected: u64,
    /// Returned before they were started.
    pub(crate) released: u64,
    /// Received, and dropped when their link was lost.
    pub(crate) dropped: u64,
    /// Received with an attempt above 1.
    pub(crate) redelivered: u64,
    /// Received again after a lost link, and suppressed as duplicates.
    pub(crate) repeats: u64,
    pub(crate) seconds: f64,
    /// The exit code.
    pub(crate) exit: u8,
}

impl PushSummary {
    /// Prints the summary on stderr: as a JSON object if `json`, otherwise as a line, unless `quiet`.
    pub(crate) fn say(&self, json: bool, quiet: bool) {
        say(self, || self.line(), json, quiet);
    }

    fn line(&self) -> String {
        let mut line = format!(
            "pushed {} in {}: {} acked, {} rejected",
            count(self.accepted, "message"),
            seconds(self.seconds),
            thousands(self.acked),
            thousands(self.rejected)
        );
        if self.nacked > 0 {
            line += &format!(", {}", count(self.nacked, "failed attempt"));
        }
        for (n, what) in [
            (self.redelivered, "redelivered"),
            (self.timed_out, "timed out"),
            (self.oversized, "too large"),
            (self.not_sent, "unsent"),
            (self.not_acked, "unacknowledged"),
        ] {
            if n > 0 {
                line += &format!(", {} {what}", thousands(n));
            }
        }
        if !self.input_complete {
            line += "; the input was not read to its end";
        }
        if self.incomplete > 0 {
            line += &format!("; the last record was incomplete ({})", count(self.incomplete, "byte"));
        }
        line
    }
}

impl PullSummary {
    /// Prints the summary on stderr: as a JSON object if `json`, otherwise as a line, unless `quiet`.
    pub(crate) fn say(&self, json: bool, quiet: bool) {
        say(self, || self.line(), json, quiet);
    }

    fn line(&self) -> String {
        let mut line = format!(
            "pulled {} in {}: {} acked",
            count(self.received, "message"),
            seconds(self.seconds),
            thousands(self.acked)
        );
        for (n, what) in [
            (self.nacked, "nacked"),
            (self.rejected, "rejected"),
            (self.released, "released"),
            (self.dropped, "dropped with a lost link"),
            (self.redelivered, "redelivered"),
        ] {
            if n > 0 {
                line += &format!(", {} {what}", thousands(n));
            }
        }
        if self.repeats > 0 {
            line += &format!(", {} suppressed", count(self.repeats, "duplicate"));
        }
        line
    }
}

fn say(summary: &impl Serialize, line: impl FnOnce() -> String, json: bool, quiet: bool) {
    if json {
        match serde_json::to_string(summary) {
            Ok(object) => text::say(format_args!("{object}")),
            Err(error) => tracing::error!(%error, "cannot write the summary as JSON"),
        }
    } else if !quiet {
        text::say(format_args!("{}", line()));
    }
}

/// Seconds, with the digits that are significant.
pub(crate) fn seconds(s: f64) -> String {
    if s < 10.0 { format!("{s:.2} s") } else { format!("{s:.0} s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_end_is_short() {
        let summary = PushSummary {
            accepted: 1000,
            acked: 1000,
            input_complete: true,
            seconds: 0.5,
            ..PushSummary::default()
        };
        assert_eq!(summary.line(), "pushed 1,000 messages in 0.50 s: 1,000 acked, 0 rejected");
        let summary = PullSummary { received: 1, acked: 1, seconds: 12.4, ..PullSummary::default() };
        assert_eq!(summary.line(), "pulled 1 message in 12 s: 1 acked");
    }

    #[test]
    fn the_line_names_what_went_wrong() {
        let summary = PushSummary {
            accepted: 9,
            acked: 4,
            rejected: 1,
            nacked: 3,
            redelivered: 3,
            timed_out: 1,
            oversized: 1,
            incomplete: 3,
            not_sent: 2,
            not_acked: 2,
            seconds: 1.0,
            ..PushSummary::default()
        };
        assert_eq!(
            summary.line(),
            "pushed 9 messages in 1.00 s: 4 acked, 1 rejected, 3 failed attempts, 3 redelivered, 1 timed out, \
             1 too large, 2 unsent, 2 unacknowledged; the input was not read to its end; \
             the last record was incomplete (3 bytes)"
        );
        let summary = PullSummary {
            received: 9,
            acked: 4,
            nacked: 1,
            rejected: 1,
            released: 2,
            dropped: 1,
            redelivered: 1,
            repeats: 2,
            seconds: 1.0,
            ..PullSummary::default()
        };
        assert_eq!(
            summary.line(),
            "pulled 9 messages in 1.00 s: 4 acked, 1 nacked, 1 rejected, 2 released, 1 dropped with a lost link, \
             1 redelivered, 2 duplicates suppressed"
        );
    }

    #[test]
    fn the_object_has_every_figure() {
        let object =
            serde_json::to_value(PushSummary { exit: 4, not_acked: 2, ..PushSummary::default() }).unwrap();
        assert_eq!(object["exit"], 4);
        assert_eq!(object["not_acked"], 2);
        assert_eq!(object.as_object().unwrap().len(), 13);
    }
}
