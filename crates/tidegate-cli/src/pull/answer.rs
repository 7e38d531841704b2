//! The answer of a worker to a message: one line.

use std::time::Duration;

use tidegate::Delivery;

use super::job_result::JobResult;

/// The outcome that the worker selects.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    Ok,
    Retry(Option<Duration>),
    Reject(String),
}

impl Answer {
    /// Parses a line without the white space around it.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (verb, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        match (verb, rest) {
            ("ok", "") => Some(Answer::Ok),
            ("retry", "") => Some(Answer::Retry(None)),
            ("retry", seconds) => {
                let seconds = seconds.parse::<f64>().ok()?;
                Some(Answer::Retry(Some(Duration::try_from_secs_f64(seconds).ok()?)))
            }
            ("reject", "") => Some(Answer::Reject("rejected by the worker".to_owned())),
            ("reject", reason) => Some(Answer::Reject(reason.to_owned())),
            _ => None,
        }
    }

    /// Settles the message.
    pub(crate) fn settle(self, delivery: Delivery) -> JobResult {
        match self {
            Answer::Ok => {
                delivery.ack();
                return JobResult::Acked;
            }
            Answer::Retry(delay) => delivery.nack_with(delay, "the worker answered `retry`"),
            Answer::Reject(reason) => delivery.reject(&reason),
        }
        JobResult::Settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        assert_eq!(Answer::parse("ok"), Some(Answer::Ok));
        assert_eq!(Answer::parse("retry"), Some(Answer::Retry(None)));
        assert_eq!(Answer::parse("retry 1.5"), Some(Answer::Retry(Some(Duration::from_millis(1500)))));
        assert_eq!(Answer::parse("retry 0"), Some(Answer::Retry(Some(Duration::ZERO))));
        assert_eq!(Answer::parse("reject not a  number"), Some(Answer::Reject("not a  number".into())));
        assert!(matches!(Answer::parse("reject"), Some(Answer::Reject(_))));
    }

    #[test]
    fn other_lines_are_not_answers() {
        for line in [
            "",
            "OK",
            "ok then",
            "okay",
            "retry soon",
            "retry -1",
            "retry inf",
            "retry NaN",
            "rejected",
            "fail",
        ] {
            assert_eq!(Answer::parse(line), None, "{line:?}");
        }
    }
}
