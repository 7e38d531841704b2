//! Being alive: our promise to be heard, and the peer's.

use std::time::Duration;

use crate::{
    time::Time,
    violation::{Code, Violation},
    wire::Progress,
};

/// Intervals without a byte, or without progress of a frame, that end a link (LV-3, LV-7).
const PATIENCE: u8 = 3;
/// Bytes by which a frame must progress in one interval (LV-7).
const LEAST_PROGRESS: usize = 1_024;

/// Counts in intervals rather than in time: an interval in which this process did not run counts once, however
/// long it was (LV-3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Liveness {
    /// We send something at least this often.
    promise: Duration,
    /// The peer does.
    interval: Duration,
    last_sent: Time,
    next_tick: Time,
    heard: bool,
    /// Whether the socket was found empty and nothing has stopped us from reading since.
    listening: bool,
    silent: u8,
    slow: u8,
    progress: Progress,
    ping: Option<(u64, Time)>,
    pings: u64,
    round_trip: Option<Duration>,
    /// When the round trip may be measured again, if somebody wants to know it.
    probe_at: Option<Time>,
}

/// How often a round trip is measured on a link that is busy and so has no need of a Ping: seldom enough to cost
/// nothing, often enough to find a moment without queues.
const PROBE: Duration = Duration::from_secs(1);

impl Liveness {
    /// `probing`: whether the round trip is to be measured also when there is something else to send.
    pub(crate) fn new(now: Time, promise: Duration, interval: Duration, probing: bool) -> Self {
        Self {
            promise,
            interval,
            last_sent: now,
            next_tick: now + interval,
            heard: true,
            listening: false,
            silent: 0,
            slow: 0,
            progress: Progress::default(),
            ping: None,
            pings: 0,
            round_trip: None,
            probe_at: probing.then_some(now),
        }
    }

    /// Bytes have arrived (LV-2).
    pub(crate) fn heard(&mut self) {
        self.heard = true;
        self.listening = false;
    }

    /// The socket has nothing more to read.
    pub(crate) fn found_empty(&mut self) {
        self.listening = true;
    }

    /// We do not read for now: what happens until then is not silence.
    pub(crate) fn paused(&mut self) {
        self.listening = false;
        self.heard = true;
    }

    pub(crate) fn sent(&mut self, now: Time) {
        self.last_sent = now;
    }

    /// Sent a little early: a timer fires late, never early.
    fn ping_at(&self) -> Time {
        self.last_sent + self.promise * 3 / 4
    }

    /// The next tick, or the time of the next Ping unless one is already on its way out.
    pub(crate) fn deadline(&self, pinging: bool) -> Time {
        if pinging { self.next_tick } else { self.ping_at().min(self.next_tick) }
    }

    /// The data of a Ping that is due now (LV-1, LV-4).
    pub(crate) fn ping_due(&mut self, now: Time) -> Option<u64> {
        if now < self.ping_at() {
            return None;
        }
        self.ask(now)
    }

    /// The data of a Ping that goes along with what is being sent anyway, to measure the round trip.
    pub(crate) fn probe_due(&mut self, now: Time) -> Option<u64> {
        self.probe_at.filter(|at| *at <= now && self.ping.is_none())?;
        self.probe_at = Some(now + PROBE);
        self.ask(now)
    }

    fn ask(&mut self, now: Time) -> Option<u64> {
        if self.ping.is_none() {
            self.pings += 1;
            self.ping = Some((self.pings, now));
        }
        // While a Ping is unanswered, the same data goes out again: LV-1 needs a frame, and only the first one is measured.
        self.ping.map(|(data, _)| data)
    }

    /// A Pong; one that nobody asked for is ignored (LV-4).
    pub(crate) fn pong(&mut self, now: Time, data: u64) {
        if let Some((asked, at)) = self.ping
            && asked == data
        {
            self.ping = None;
            let sample = now.since(at);
            self.round_trip = Some(self.round_trip.map_or(sample, |least| least.min(sample)));
        }
    }

    /// The least round trip seen.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Call after having read, or a wake-up after a stop would be taken for silence.
    pub(crate) fn advance(&mut self, now: Time, progress: Progress) -> Result<(), Violation> {
        if now < self.next_tick {
            return Ok(());
        }
        self.next_tick = now + self.interval;
        self.silent = if self.heard || !self.listening { 0 } else { self.silent + 1 };
        let stuck = progress.partial > 0
            && progress.frames == self.progress.frames
            && self.progress.partial > 0
            && progress.partial < self.progress.partial + LEAST_PROGRESS;
        self.slow = if stuck && self.listening { self.slow + 1 } else { 0 };
        self.progress = progress;
        self.heard = false;
        let interval = self.interval;
        if self.silent >= PATIENCE {
            let detail = format!("nothing heard for {PATIENCE} intervals of {interval:?}");
            return Err(Violation::new(Code::Silent, "LV-3", detail));
        }
        if self.slow >= PATIENCE {
            let detail = format!(
                "a frame progressed by less than {LEAST_PROGRESS} bytes in each of {PATIENCE} intervals of {interval:?}"
            );
            return Err(Violation::new(Code::TooSlow, "LV-7", detail));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn alive() -> Liveness {
        Liveness::new(Time(0), SECOND, SECOND, false)
    }

    fn at(seconds: u64) -> Time {
        Time(seconds * 1_000_000)
    }

    #[test]
    fn lv_3_three_silent_intervals_end_a_link_and_any_byte_resets_them() {
        // LV-2, LV-3
        let mut alive = alive();
        alive.found_empty();
        for second in 1..4 {
            assert_eq!(alive.advance(at(second), Progress::default()), Ok(()));
        }
        alive.heard();
        alive.found_empty();
        for second in 4..7 {
            assert_eq!(alive.advance(at(second), Progress::default()), Ok(()));
        }
        assert_eq!(alive.advance(at(7), Progress::default()).unwrap_err().code, Code::Silent);
    }

    #[test]
    fn lv_3_a_process_that_was_stopped_counts_its_sleep_as_one_interval() {
        // LV-3
        let mut alive = alive();
        alive.found_empty();
        assert_eq!(alive.advance(at(1), Progress::default()), Ok(()));
        assert_eq!(alive.advance(at(1_000), Progress::default()), Ok(()));
        assert_eq!(alive.advance(at(1_001), Progress::default()), Ok(()));
        assert!(alive.advance(at(1_002), Progress::default()).is_err());
    }

    #[test]
    fn lv_3_silence_does_not_count_while_we_are_not_reading() {
        // LV-3, LV-5
        let mut alive = alive();
        for second in 1..20 {
            alive.found_empty();
            alive.paused();
            assert_eq!(alive.advance(at(second), Progress::default()), Ok(()));
        }
    }

    #[test]
    fn lv_3_silence_does_not_count_before_all_that_has_come_is_read() {
        // LV-3
        let mut alive = alive();
        alive.heard();
        for second in 1..20 {
            assert_eq!(alive.advance(at(second), Progress::default()), Ok(()));
        }
        alive.found_empty();
        assert!((20..24).any(|second| alive.advance(at(second), Progress::default()).is_err()));
    }

    #[test]
    fn lv_7_a_frame_must_progress_while_we_read() {
        // LV-7
        let mut alive = alive();
        let mut step = |second, partial| {
            alive.heard();
            alive.found_empty();
            alive.advance(at(second), Progress { frames: 1, partial })
        };
        for second in 1..10 {
            step(second, second as usize * 1_024).unwrap();
        }
        step(10, 9_300).unwrap();
        step(11, 9_400).unwrap();
        assert_eq!(step(12, 9_500).unwrap_err().code, Code::TooSlow);
    }

    #[test]
    fn lv_1_a_ping_is_due_before_the_promise_breaks_and_only_if_nothing_else_was_sent() {
        // LV-1, LV-4
        let mut alive = alive();
        assert_eq!(alive.ping_due(Time(700_000)), None);
        assert_eq!(alive.ping_due(Time(750_000)), Some(1));
        alive.sent(Time(750_000));
        assert_eq!(alive.ping_due(Time(1_000_000)), None);
        assert_eq!(alive.ping_due(Time(1_500_000)), Some(1), "one Ping at a time");
        alive.pong(Time(1_750_000), 2);
        assert_eq!(alive.round_trip(), None, "a Pong that nobody asked for");
        alive.pong(Time(1_750_000), 1);
        assert_eq!(alive.round_trip(), Some(SECOND));
    }
}
