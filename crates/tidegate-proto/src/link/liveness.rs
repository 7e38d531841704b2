//! Liveness of one link: heartbeats, silence, slow frames, and the round-trip time.

use std::time::Duration;

use crate::{
    rule::Rule,
    time::Time,
    violation::{Code, Violation},
    wire::FrameProgress,
};

/// The range of the heartbeat interval (LV-1).
pub const HEARTBEAT_RANGE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));
/// Consecutive intervals without a byte, or without progress of a frame, after which the link is closed (LV-3, LV-7).
const MAX_MISSED_INTERVALS: u8 = 3;
/// Bytes by which a frame must progress within one interval (LV-7).
const MIN_PROGRESS: usize = 1_024;

/// Counts silence in intervals and not in time, so that a time in which this process did not run counts as at most one
/// interval (LV-3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Liveness {
    /// The heartbeat interval of this side.
    own_interval: Duration,
    /// The heartbeat interval of the peer.
    peer_interval: Duration,
    last_sent: Time,
    next_tick: Time,
    received: bool,
    /// Whether the socket was found empty, and since then no byte has arrived and reading was not paused.
    all_read: bool,
    silent_intervals: u8,
    slow_intervals: u8,
    progress: FrameProgress,
    ping: Option<(u64, Time)>,
    pings: u64,
    round_trip: Option<Duration>,
    /// When the round-trip time may be measured again; `None` if only heartbeats measure it.
    probe_at: Option<Time>,
}

/// How often the round-trip time is measured on a busy link, which needs no heartbeats. This is rare enough to cost
/// nothing, and often enough to catch a moment without queues.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

impl Liveness {
    /// With `probing`, the round-trip time is also measured while the link is busy.
    pub(crate) fn new(now: Time, promise: Duration, interval: Duration, probing: bool) -> Self {
        Self {
            own_interval: promise,
            peer_interval: interval,
            last_sent: now,
            next_tick: now + interval,
            received: true,
            all_read: false,
            silent_intervals: 0,
            slow_intervals: 0,
            progress: FrameProgress::default(),
            ping: None,
            pings: 0,
            round_trip: None,
            probe_at: probing.then_some(now),
        }
    }

    /// Bytes have arrived (LV-2).
    pub(crate) fn handle_bytes(&mut self) {
        self.received = true;
        self.all_read = false;
    }

    /// The socket has nothing more to read.
    pub(crate) fn handle_would_block(&mut self) {
        self.all_read = true;
    }

    /// This side does not read for now, so that the time until it reads again is not silence (LV-5).
    pub(crate) fn handle_read_pause(&mut self) {
        self.all_read = false;
        self.received = true;
    }

    pub(crate) fn handle_sent(&mut self, now: Time) {
        self.last_sent = now;
    }

    /// A Ping is sent a quarter of the interval early, because timers fire late and never early.
    fn ping_at(&self) -> Time {
        self.last_sent + self.own_interval * 3 / 4
    }

    /// The time of the next Ping or the end of the interval, whichever is earlier. `pinging`: a Ping already waits to
    /// be sent.
    pub(crate) fn poll_timeout(&self, pinging: bool) -> Time {
        if pinging { self.next_tick } else { self.ping_at().min(self.next_tick) }
    }

    /// The data of a Ping that is due now (LV-1, LV-4).
    pub(crate) fn poll_ping(&mut self, now: Time) -> Option<u64> {
        if now < self.ping_at() {
            return None;
        }
        self.ping_data(now)
    }

    /// From now on the round-trip time is also measured while the link is busy.
    pub(crate) fn begin_probing(&mut self, now: Time) {
        self.probe_at.get_or_insert(now);
    }

    /// The data of a Ping that is sent together with other frames, to measure the round-trip time.
    pub(crate) fn poll_probe(&mut self, now: Time) -> Option<u64> {
        self.probe_at.filter(|at| *at <= now && self.ping.is_none())?;
        self.probe_at = Some(now + PROBE_INTERVAL);
        self.ping_data(now)
    }

    fn ping_data(&mut self, now: Time) -> Option<u64> {
        if self.ping.is_none() {
            self.pings += 1;
            self.ping = Some((self.pings, now));
        }
        // While a Ping is unanswered, its data is sent again: LV-1 needs a frame, but only the first Ping is measured.
        self.ping.map(|(data, _)| data)
    }

    /// A Pong has arrived. One that was not asked for is ignored (LV-4).
    pub(crate) fn handle_pong(&mut self, now: Time, data: u64) {
        if let Some((asked, at)) = self.ping
            && asked == data
        {
            self.ping = None;
            let sample = now.since(at);
            self.round_trip = Some(self.round_trip.map_or(sample, |least| least.min(sample)));
        }
    }

    /// The lowest round-trip time measured.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Ends the interval if it is over. Must be called after reading. Otherwise the first call after a suspension of
    /// the process would count as silence.
    pub(crate) fn handle_timeout(&mut self, now: Time, progress: FrameProgress) -> Result<(), Violation> {
        if now < self.next_tick {
            return Ok(());
        }
        self.next_tick = now + self.peer_interval;
        self.silent_intervals = if self.received || !self.all_read { 0 } else { self.silent_intervals + 1 };
        let stuck = progress.partial > 0
            && progress.frames == self.progress.frames
            && self.progress.partial > 0
            && progress.partial < self.progress.partial + MIN_PROGRESS;
        self.slow_intervals = if stuck && self.all_read { self.slow_intervals + 1 } else { 0 };
        self.progress = progress;
        self.received = false;
        let interval = self.peer_interval;
        if self.silent_intervals >= MAX_MISSED_INTERVALS {
            let detail = format!("no byte received for {MAX_MISSED_INTERVALS} intervals of {interval:?}");
            return Err(Violation::new(Code::Silent, Rule::Lv3, detail));
        }
        if self.slow_intervals >= MAX_MISSED_INTERVALS {
            let detail = format!(
                "a frame progressed by less than {MIN_PROGRESS} bytes \
                 in each of {MAX_MISSED_INTERVALS} intervals of {interval:?}"
            );
            return Err(Violation::new(Code::TooSlow, Rule::Lv7, detail));
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
    fn lv_3_three_silent_intervals_close_a_link_and_any_byte_restarts_the_count() {
        // LV-2, LV-3
        let mut alive = alive();
        alive.handle_would_block();
        for second in 1..4 {
            assert_eq!(alive.handle_timeout(at(second), FrameProgress::default()), Ok(()));
        }
        alive.handle_bytes();
        alive.handle_would_block();
        for second in 4..7 {
            assert_eq!(alive.handle_timeout(at(second), FrameProgress::default()), Ok(()));
        }
        assert_eq!(alive.handle_timeout(at(7), FrameProgress::default()).unwrap_err().code, Code::Silent);
    }

    #[test]
    fn lv_3_a_suspension_of_the_process_counts_as_one_interval() {
        // LV-3
        let mut alive = alive();
        alive.handle_would_block();
        assert_eq!(alive.handle_timeout(at(1), FrameProgress::default()), Ok(()));
        assert_eq!(alive.handle_timeout(at(1_000), FrameProgress::default()), Ok(()));
        assert_eq!(alive.handle_timeout(at(1_001), FrameProgress::default()), Ok(()));
        assert!(alive.handle_timeout(at(1_002), FrameProgress::default()).is_err());
    }

    #[test]
    fn lv_3_silence_does_not_count_while_reading_is_paused() {
        // LV-3, LV-5
        let mut alive = alive();
        for second in 1..20 {
            alive.handle_would_block();
            alive.handle_read_pause();
            assert_eq!(alive.handle_timeout(at(second), FrameProgress::default()), Ok(()));
        }
    }

    #[test]
    fn lv_3_silence_does_not_count_before_everything_that_arrived_is_read() {
        // LV-3
        let mut alive = alive();
        alive.handle_bytes();
        for second in 1..20 {
            assert_eq!(alive.handle_timeout(at(second), FrameProgress::default()), Ok(()));
        }
        alive.handle_would_block();
        assert!((20..24).any(|second| alive.handle_timeout(at(second), FrameProgress::default()).is_err()));
    }

    #[test]
    fn lv_7_a_frame_must_progress_while_the_link_is_read() {
        // LV-7
        let mut alive = alive();
        let mut step = |second, partial| {
            alive.handle_bytes();
            alive.handle_would_block();
            alive.handle_timeout(at(second), FrameProgress { frames: 1, partial })
        };
        for second in 1..10 {
            step(second, second as usize * 1_024).unwrap();
        }
        step(10, 9_300).unwrap();
        step(11, 9_400).unwrap();
        assert_eq!(step(12, 9_500).unwrap_err().code, Code::TooSlow);
    }

    #[test]
    fn lv_1_a_ping_is_due_before_the_interval_ends_if_nothing_else_was_sent() {
        // LV-1, LV-4
        let mut alive = alive();
        assert_eq!(alive.poll_ping(Time(700_000)), None);
        assert_eq!(alive.poll_ping(Time(750_000)), Some(1));
        alive.handle_sent(Time(750_000));
        assert_eq!(alive.poll_ping(Time(1_000_000)), None);
        assert_eq!(alive.poll_ping(Time(1_500_000)), Some(1), "one Ping at a time");
        alive.handle_pong(Time(1_750_000), 2);
        assert_eq!(alive.round_trip(), None, "a Pong that was not asked for");
        alive.handle_pong(Time(1_750_000), 1);
        assert_eq!(alive.round_trip(), Some(SECOND));
    }
}
