//! `Window::Auto`: computes the window from the rate at which deliveries are settled. docs/WINDOW.md explains it.
//!
//! ```text
//! window  = workers + reserve
//! reserve = ⌈rate × (round trip + wait)⌉, or 0 if rate × round trip < 1/100
//! ```
//! * `workers`: the highest number of deliveries that were being worked on or waited for, in this sample and the last
//!   one.
//! * `rate`: deliveries settled per time in which the workers had work. Little's law needs the rate that the workers
//!   *could* reach, so that time counts less by the share of workers without work.
//! * `round trip`: the lowest one measured by `Ping`. A mean would contain the queues that a large window causes, and
//!   the window would grow by itself.
//! * `wait`: the time for which the reserve lasts beyond a round trip. It covers variations of the round trip. It is
//!   [`MIN_WAIT`] at first. It doubles, up to [`MAX_WAIT`], if workers were without work for 1/20 of a sample until new
//!   credit brought deliveries. It halves after each second in which that did not happen.
//! * Workers that lose less than 1/100 of their time by waiting for the next delivery need no reserve. Deliveries that
//!   wait behind a long job could be processed by other pullers.
//!
//! The window in bytes is twice the bytes of `window` messages of the mean size, but at least [`MIN_BYTES`].
//!
//! A sample lasts at least [`MIN_SAMPLE`], and until one delivery is settled. The rate changes by a quarter of the
//! difference to the sample. If a sample is more than twice the rate, the rate grows to it at once; if it is less than
//! half, the rate halves, so that one hiccup of the machine does not reset it. While nothing is settled, the rate is at
//! most one delivery per elapsed time, so that it decreases from sample to sample.

use std::time::Duration;

use crate::{amount::Amount, time::Time};

/// The minimum time between two decisions: long enough for a few hundred deliveries of a fast worker and for most
/// hiccups of a scheduler, and short for pullers that wait for work that another puller holds.
pub(in crate::puller) const MIN_SAMPLE: Duration = Duration::from_millis(5);
/// The minimum of `wait`.
const MIN_WAIT: Duration = Duration::from_millis(1);
/// The maximum of `wait`: beyond it, a larger window cannot help.
const MAX_WAIT: Duration = Duration::from_millis(64);
/// `wait` is halved after this time in which the workers had work.
const CALM_TIME: Duration = Duration::from_secs(1);
/// The window before the rate is known.
const INITIAL_WINDOW: u64 = 16;
/// The round-trip time that is assumed before it is measured.
const INITIAL_ROUND_TRIP: Duration = Duration::from_millis(1);
/// The minimum window in bytes. It is enough for many small messages, and one large message is allowed in any case
/// (CR-2).
const MIN_BYTES: u64 = 256 << 10;
/// The unit of shares of workers: all workers are 1,024.
const WHOLE: u64 = 1_024;
/// The maximum factor by which one sample increases the rate.
const MAX_GROWTH: u64 = 16;

/// The state of the algorithm. It has only integers, so that machines can be compared and hashed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::puller) struct AutoWindow {
    /// Deliveries in 1,000 seconds; 0 while it is not known.
    rate: u64,
    wait: Duration,
    calm_since: Time,
    /// The beginning of this sample, and the deliveries settled until then.
    since: Time,
    done: u64,
    arrived: Amount,
    mean_size: u64,
    /// When the next decision is due.
    next_decision: Time,
    /// Time without work within this sample, and the part of it that ended when new credit brought deliveries, in
    /// microseconds × [`WHOLE`].
    idle: u64,
    credit_limited: u64,
    /// Since when workers have no work, and which share of them, of [`WHOLE`].
    idle_since: Option<(Time, u64)>,
    /// The highest number of deliveries that were worked on or waited for, in this sample and in the last one.
    workers: (u64, u64),
    window: Amount,
}

/// The machine's counters, for a decision.
#[derive(Clone, Copy, Debug)]
pub(in crate::puller) struct WindowInput {
    /// Deliveries settled.
    pub(in crate::puller) done: u64,
    /// What has arrived.
    pub(in crate::puller) arrived: Amount,
    /// Deliveries handed out now; in `busy` with those that are waited for.
    pub(in crate::puller) working: u64,
    pub(in crate::puller) busy: u64,
    pub(in crate::puller) links: usize,
    pub(in crate::puller) round_trip: Option<Duration>,
    pub(in crate::puller) budget: Amount,
}

impl AutoWindow {
    pub(in crate::puller) fn new() -> Self {
        Self {
            rate: 0,
            wait: MIN_WAIT,
            calm_since: Time::default(),
            since: Time::default(),
            done: 0,
            arrived: Amount::ZERO,
            mean_size: 0,
            next_decision: Time::default(),
            idle: 0,
            credit_limited: 0,
            idle_since: None,
            workers: (1, 1),
            window: Amount::new(INITIAL_WINDOW, 1 << 20),
        }
    }

    /// The window of all links together.
    pub(in crate::puller) fn window(&self) -> Amount {
        self.window
    }

    /// The rate in deliveries per second.
    pub(in crate::puller) fn rate(&self) -> u64 {
        self.rate / 1_000
    }

    /// `count` deliveries are being worked on or waited for.
    #[inline]
    pub(in crate::puller) fn busy(&mut self, count: u64) {
        self.workers.0 = self.workers.0.max(count);
    }

    /// `waiting` workers have no work, and `working` others have.
    pub(in crate::puller) fn begin_idle(&mut self, now: Time, waiting: u64, working: u64) {
        self.count_idle(now, false);
        let part = (waiting * WHOLE).checked_div(waiting + working);
        self.idle_since = part.filter(|part| *part > 0).map(|part| (now, part));
    }

    /// Deliveries have arrived. `limited`: they came as soon as there was credit for them.
    pub(in crate::puller) fn end_idle(&mut self, now: Time, limited: bool) {
        self.count_idle(now, limited);
        self.idle_since = None;
    }

    fn count_idle(&mut self, now: Time, limited: bool) {
        let Some((at, part)) = self.idle_since else { return };
        // The sample may have begun after `at`.
        let time = micros(now.since(at.max(self.since))) * part;
        self.idle_since = Some((now, part));
        self.idle += time;
        self.credit_limited += if limited { time } else { 0 };
    }

    /// When [`Self::decide`] is to be called next.
    pub(in crate::puller) fn next_decision(&self) -> Time {
        self.next_decision
    }

    /// Whether the window contains a reserve.
    pub(in crate::puller) fn has_reserve(&self) -> bool {
        self.window.messages > self.workers.0.max(self.workers.1)
    }

    /// Computes the window, and returns whether it has changed.
    pub(in crate::puller) fn decide(&mut self, now: Time, counts: WindowInput) -> bool {
        if now < self.next_decision {
            return false;
        }
        // With many links a decision costs more, so that it is made less often.
        self.next_decision = now + MIN_SAMPLE * (1 + u32::try_from(counts.links / 100).unwrap_or(u32::MAX));
        self.count_idle(now, false);
        let whole = micros(now.since(self.since));
        let busy = whole.saturating_sub(self.idle / WHOLE).max(1);
        let settled = counts.done - self.done;
        if settled == 0 {
            if counts.working > 0 {
                let most = 1_000_000_000 / busy;
                self.rate = if self.rate == 0 { most } else { self.rate.min(most.max(self.rate / 2)) };
            }
        } else {
            let sample = settled.saturating_mul(1_000_000_000) / busy;
            self.rate = match self.rate {
                0 => sample,
                old if sample > old * 2 => sample.min(old.saturating_mul(MAX_GROWTH)),
                old if sample < old / 2 => sample.max(old / 2),
                old => (old * 3 + sample) / 4,
            };
            self.adapt_wait(now, whole);
            let arrived = counts.arrived - self.arrived;
            if let Some(mean) = arrived.bytes.checked_div(arrived.messages) {
                self.mean_size = mean;
            }
            (self.since, self.done, self.arrived) = (now, counts.done, counts.arrived);
            (self.idle, self.credit_limited) = (0, 0);
            self.workers = (counts.busy, self.workers.0);
        }
        let window = self.wanted(counts);
        std::mem::replace(&mut self.window, window) != window
    }

    fn adapt_wait(&mut self, now: Time, whole: u64) {
        if self.credit_limited / WHOLE * 20 > whole {
            self.wait = (self.wait * 2).min(MAX_WAIT);
            self.calm_since = now;
        } else if now.since(self.calm_since) > CALM_TIME {
            self.wait = (self.wait / 2).max(MIN_WAIT);
            self.calm_since = now;
        }
    }

    fn wanted(&self, counts: WindowInput) -> Amount {
        let workers = self.workers.0.max(self.workers.1).max(1);
        if self.rate == 0 {
            return Amount::new(INITIAL_WINDOW.max(workers), self.window.bytes).min(counts.budget);
        }
        let round_trip = micros(counts.round_trip.unwrap_or(INITIAL_ROUND_TRIP));
        let in_time = |micros: u64| u128::from(self.rate) * u128::from(micros); // deliveries × 10^9
        let reserve = if in_time(round_trip) < 10_000_000 {
            0
        } else {
            in_time(round_trip + micros(self.wait)).div_ceil(1_000_000_000)
        };
        let reserve = u64::try_from(reserve).unwrap_or(u64::MAX);
        let messages = workers.saturating_add(reserve).min(counts.budget.messages).max(1);
        let bytes = messages.saturating_mul(self.mean_size).saturating_mul(2).max(MIN_BYTES);
        Amount::new(messages, bytes.min(counts.budget.bytes).max(1))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
