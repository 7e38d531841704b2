//! Warnings about an endpoint that cannot be reached: at once, then at growing intervals.

use std::time::Duration;

use tidegate_proto::shown;
use tokio::time::Instant;

use crate::transport::Endpoint;

/// The pause after the first warning. It doubles after each one, up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_secs(10);
const MAX_PAUSE: Duration = Duration::from_mins(10);
/// The most different reasons that are logged within a pause. The addresses of a name may fail for different
/// ones.
const MAX_REASONS: usize = 4;

/// What has been logged since the endpoint was last reached.
#[derive(Default)]
pub(super) struct Outage {
    /// When to log again, and the pause after that.
    next: Option<(Instant, Duration)>,
    /// The reasons logged in this pause.
    reasons: Vec<String>,
}

impl Outage {
    /// Logs a failed attempt, if it is due.
    pub(super) fn failed(&mut self, endpoint: &Endpoint, reason: &str) {
        if self.should_warn(Instant::now(), reason) {
            tracing::warn!("cannot connect to {endpoint}: {}; trying again", shown(reason));
        }
    }

    /// There was a link.
    pub(super) fn over(&mut self) {
        *self = Self::default();
    }

    fn should_warn(&mut self, now: Instant, reason: &str) -> bool {
        match self.next {
            Some((next, _)) if now < next => {
                if self.reasons.len() >= MAX_REASONS || self.reasons.iter().any(|told| told == reason) {
                    return false;
                }
            }
            _ => {
                let pause = self.next.map_or(MIN_PAUSE, |(_, pause)| pause);
                self.next = now.checked_add(pause).map(|next| (next, pause.saturating_mul(2).min(MAX_PAUSE)));
                self.reasons.clear();
            }
        }
        self.reasons.push(reason.to_owned());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_logged_at_once_and_then_at_growing_intervals_until_there_is_a_link() {
        let start = Instant::now();
        let mut outage = Outage::default();
        let told: Vec<u64> = (0..4_000)
            .filter(|second| outage.should_warn(start + Duration::from_secs(*second), "refused"))
            .collect();
        assert_eq!(told, [0, 10, 30, 70, 150, 310, 630, 1_230, 1_830, 2_430, 3_030, 3_630]);
        outage.over();
        assert!(outage.should_warn(start, "refused"));
    }

    #[test]
    fn other_reasons_are_logged_at_once_up_to_a_limit() {
        let mut outage = Outage::default();
        let now = Instant::now();
        let told = (0..100).filter(|n| outage.should_warn(now, &format!("reason {}", n % 10))).count();
        assert_eq!(told, MAX_REASONS);
    }
}
