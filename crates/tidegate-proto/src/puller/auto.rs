//! `Window::Auto`: how much un-acked work a puller wants, by what it gets done.
//!
//! ```text
//! window  = workers + reserve
//! reserve = ⌈rate × (round trip + wait)⌉, or 0 if rate × round trip < 1/100
//! ```
//! * `workers`: the most deliveries that were being worked on, or waited for, at once, in this sample and the last.
//! * `rate`: deliveries settled in the time in which there was something to do (Little's law needs what the
//!   workers *could* do: time counts less by the part of them that had nothing).
//! * `round trip`: the least seen, by Ping; a mean would contain the queues that a window makes, and feed itself.
//! * `wait`: how long the reserve lasts beyond a round trip. It covers what is not constant in the way there and
//!   back: [`WAIT`], doubled up to [`LONGEST_WAIT`] when workers were without work for a twentieth of a sample
//!   and got some as soon as there was credit for it, halved after every second in which that did not happen.
//! * A worker that loses less than a hundredth of its time by asking for the next delivery when one is done needs
//!   no reserve: what it hoarded behind a long job, others could be doing.
//!
//! Bytes follow: twice what `window` messages of the mean size take, at least [`LEAST_BYTES`].
//!
//! A sample takes [`SAMPLE`] at least, and one settled delivery. The rate follows a change of less than the double by
//! a quarter; it grows at once, and halves at most, so that one hiccup of the machine does not undo it. While nothing is
//! settled the rate cannot be more than one delivery in that time: it falls as time passes, sample by sample.

use std::time::Duration;

use crate::time::Time;

/// The least time between two decisions. Long enough for a few hundred deliveries of a quick worker, and to pass
/// over most hiccups of a scheduler; short for whoever waits for hoarded work.
pub(super) const SAMPLE: Duration = Duration::from_millis(5);
/// See the module.
const WAIT: Duration = Duration::from_millis(1);
/// Beyond this a larger window cannot be what is missing.
const LONGEST_WAIT: Duration = Duration::from_millis(64);
/// How long nothing may have been missing before the wait is halved.
const CALM: Duration = Duration::from_secs(1);
/// Before anything is known.
const FIRST_WINDOW: u64 = 16;
/// A guess for the round trip until it is known.
const FIRST_ROUND_TRIP: Duration = Duration::from_millis(1);
/// Many small messages take no more, and one large one is admitted whatever it takes (CR-2).
const LEAST_BYTES: u64 = 256 << 10;
/// What parts of all workers are counted in.
const WHOLE: u64 = 1_024;
/// A sample may multiply the rate by this at most.
const GROWTH: u64 = 16;

/// The state of the algorithm. Integers only, so that machines can be compared and hashed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Auto {
    /// Deliveries in 1,000 seconds; 0 as long as nothing is known.
    rate: u64,
    wait: Duration,
    calm_since: Time,
    /// Since when this sample counts, and what had been done then.
    since: Time,
    done: u64,
    arrived: (u64, u64),
    mean_size: u64,
    /// When the next decision is due.
    next: Time,
    /// Time within this sample without work, and that of it that ended with the first credit: microseconds × [`WHOLE`].
    starved: u64,
    limited: u64,
    /// Since when workers have nothing to do, and which part of them, of [`WHOLE`].
    starving: Option<(Time, u64)>,
    /// The most that was worked on or waited for, in this sample and in the last.
    workers: (u64, u64),
    window: (u64, u64),
}

/// What the machine counts, for a decision.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    /// Deliveries that have got an outcome.
    pub(super) done: u64,
    /// Messages and bytes that have arrived.
    pub(super) arrived: (u64, u64),
    /// Handed out now; and that with what is waited for.
    pub(super) working: u64,
    pub(super) busy: u64,
    pub(super) links: usize,
    pub(super) round_trip: Option<Duration>,
    /// Messages and bytes that all links together may have.
    pub(super) budget: (u64, u64),
}

impl Auto {
    pub(super) fn new() -> Self {
        Self {
            rate: 0,
            wait: WAIT,
            calm_since: Time::default(),
            since: Time::default(),
            done: 0,
            arrived: (0, 0),
            mean_size: 0,
            next: Time::default(),
            starved: 0,
            limited: 0,
            starving: None,
            workers: (1, 1),
            window: (FIRST_WINDOW, 1 << 20),
        }
    }

    /// Messages and bytes that should be un-acked, on all links together.
    pub(super) fn window(&self) -> (u64, u64) {
        self.window
    }

    /// Deliveries a second.
    pub(super) fn rate(&self) -> u64 {
        self.rate / 1_000
    }

    /// So many are being worked on or waited for.
    #[inline]
    pub(super) fn busy(&mut self, count: u64) {
        self.workers.0 = self.workers.0.max(count);
    }

    /// So many wait, nothing is there for them, and so many others are working.
    pub(super) fn starve(&mut self, now: Time, waiting: u64, working: u64) {
        self.count_starved(now, false);
        let part = (waiting * WHOLE).checked_div(waiting + working);
        self.starving = part.filter(|part| *part > 0).map(|part| (now, part));
    }

    /// Something has come; `limited` if it came as soon as there was credit for it.
    pub(super) fn feed(&mut self, now: Time, limited: bool) {
        self.count_starved(now, limited);
        self.starving = None;
    }

    fn count_starved(&mut self, now: Time, limited: bool) {
        let Some((at, part)) = self.starving else { return };
        // The sample may have begun meanwhile.
        let time = micros(now.since(at.max(self.since))) * part;
        self.starving = Some((now, part));
        self.starved += time;
        self.limited += if limited { time } else { 0 };
    }

    /// When [`Self::decide`] has something to say.
    pub(super) fn next(&self) -> Time {
        self.next
    }

    /// Whether there is a reserve that could prove too large.
    pub(super) fn has_reserve(&self) -> bool {
        self.window.0 > self.workers.0.max(self.workers.1)
    }

    /// Decides anew. Whether the window has changed.
    pub(super) fn decide(&mut self, now: Time, counts: Counts) -> bool {
        if now < self.next {
            return false;
        }
        // With many links a decision costs more, and is taken less often.
        self.next = now + SAMPLE * (1 + u32::try_from(counts.links / 100).unwrap_or(u32::MAX));
        self.count_starved(now, false);
        let whole = micros(now.since(self.since));
        let busy = whole.saturating_sub(self.starved / WHOLE).max(1);
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
                old if sample > old * 2 => sample.min(old.saturating_mul(GROWTH)),
                old if sample < old / 2 => sample.max(old / 2),
                old => (old * 3 + sample) / 4,
            };
            self.adapt_wait(now, whole);
            let (messages, bytes) = (counts.arrived.0 - self.arrived.0, counts.arrived.1 - self.arrived.1);
            if let Some(mean) = bytes.checked_div(messages) {
                self.mean_size = mean;
            }
            (self.since, self.done, self.arrived) = (now, counts.done, counts.arrived);
            (self.starved, self.limited) = (0, 0);
            self.workers = (counts.busy, self.workers.0);
        }
        let window = self.wanted(counts);
        std::mem::replace(&mut self.window, window) != window
    }

    fn adapt_wait(&mut self, now: Time, whole: u64) {
        if self.limited / WHOLE * 20 > whole {
            self.wait = (self.wait * 2).min(LONGEST_WAIT);
            self.calm_since = now;
        } else if now.since(self.calm_since) > CALM {
            self.wait = (self.wait / 2).max(WAIT);
            self.calm_since = now;
        }
    }

    fn wanted(&self, counts: Counts) -> (u64, u64) {
        let workers = self.workers.0.max(self.workers.1).max(1);
        if self.rate == 0 {
            return (FIRST_WINDOW.max(workers).min(counts.budget.0), self.window.1.min(counts.budget.1));
        }
        let round_trip = micros(counts.round_trip.unwrap_or(FIRST_ROUND_TRIP));
        let in_time = |micros: u64| u128::from(self.rate) * u128::from(micros); // deliveries × 10^9
        let reserve = if in_time(round_trip) < 10_000_000 {
            0
        } else {
            in_time(round_trip + micros(self.wait)).div_ceil(1_000_000_000)
        };
        let reserve = u64::try_from(reserve).unwrap_or(u64::MAX);
        let messages = workers.saturating_add(reserve).min(counts.budget.0).max(1);
        let bytes = messages.saturating_mul(self.mean_size).saturating_mul(2).max(LEAST_BYTES);
        (messages, bytes.min(counts.budget.1).max(1))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
