//! What both roles do in the same way on one open link: liveness, the `Close` handshake, and the number of bytes
//! written.
//!
//! ```text
//!        close()                    Close sent, written and received; or close_wait is over
//! open ───────────────► closing ──────────────────────────────────────────────────────────► finished
//!   └─ peer's Close ──► closing, answer due ──────────────────────────────────────────────────┘
//! ```

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;

use super::{
    close::LinkEnd,
    liveness::{HEARTBEAT_RANGE, Liveness},
    peer::Peer,
};
use crate::{
    limits::{AckWork, FloodLimiter},
    rule::Rule,
    time::Time,
    v1,
    violation::{Code, SettingError, Violation},
    wire::{self, Body, FrameProgress, cut_reason},
};

/// A stalled link is closed after this multiple of `write_stall` (LV-8).
const MAX_STALLS: u32 = 30;

/// The times of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Timing {
    pub(crate) heartbeat: Duration,
    pub(crate) close_wait: Duration,
    pub(crate) write_stall: Duration,
    /// Whether the round-trip time is also measured while the link is busy.
    pub(crate) probing: bool,
}

impl Timing {
    /// Checks the times that an application sets in both roles.
    pub(crate) fn check(&self) -> Result<(), SettingError> {
        let (low, high) = HEARTBEAT_RANGE;
        let Self { heartbeat, close_wait, .. } = self;
        SettingError::unless((low..=high).contains(heartbeat), "heartbeat", heartbeat, "100 ms to 60 s")?;
        SettingError::unless(!close_wait.is_zero(), "close_wait", close_wait, "more than 0")
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Session {
    pub(crate) peer: Peer,
    liveness: Liveness,
    flood: FloodLimiter,
    /// The link was closed with FLOOD: all further frames are ignored.
    ignores_frames: bool,
    /// The socket was found empty, and no byte has arrived since.
    all_read: bool,
    timing: Timing,
    closing: Option<Closing>,
    pong: Option<u64>,
    ping: Option<u64>,
    /// Bytes given to the driver, and bytes that it has written.
    transmitted: u64,
    written: u64,
    /// The data of the last Ping, and the number of bytes before it.
    last_ping: (u64, u64),
    /// The number of bytes that the peer has certainly read.
    confirmed: u64,
    progress_at: Time,
    stalled: bool,
    write_failed: bool,
    /// The link is in the list of links to wake, or the driver has been told to wake it.
    pub(crate) ready: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Closing {
    end: LinkEnd,
    close_sent: bool,
    close_received: Option<Code>,
    until: Time,
}

impl Session {
    pub(crate) fn new(now: Time, peer: Peer, timing: Timing) -> Self {
        let alive = Liveness::new(now, timing.heartbeat, peer.heartbeat, timing.probing);
        Self {
            peer,
            liveness: alive,
            flood: FloodLimiter::default(),
            ignores_frames: false,
            all_read: false,
            timing,
            closing: None,
            pong: None,
            ping: None,
            transmitted: 0,
            written: 0,
            last_ping: (0, 0),
            confirmed: 0,
            progress_at: now,
            stalled: false,
            write_failed: false,
            ready: false,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.closing.is_none() && !self.write_failed
    }

    /// Starts the `Close` handshake (ST-4). If it has already started, its reason does not change.
    pub(crate) fn close(&mut self, now: Time, end: LinkEnd) {
        let until = now + self.timing.close_wait;
        self.closing.get_or_insert(Closing { end, close_sent: false, close_received: None, until });
    }

    /// Handles the frames that both roles treat in the same way, and returns the others. `bytes` is the length of the
    /// frame.
    ///
    /// # Errors
    /// The flood limit is exceeded (LM-3).
    pub(crate) fn handle_frame(
        &mut self,
        now: Time,
        bytes: usize,
        body: Body,
    ) -> Result<Option<Body>, Violation> {
        if matches!(body, Body::Ping(_) | Body::Pong(_) | Body::Unknown) {
            self.charge(now, bytes)?;
        }
        match body {
            Body::Ping(ping) => self.pong = Some(ping.data), // only the latest is answered: LV-4, LM-2
            Body::Pong(pong) => {
                self.liveness.handle_pong(now, pong.data);
                if pong.data == self.last_ping.0 {
                    self.confirmed = self.last_ping.1; // FR-6: the peer has read what was sent before the Ping
                }
            }
            Body::Close(close) => self.handle_close(now, &close),
            Body::Unknown => {} // GR-1
            other => return Ok(Some(other)),
        }
        Ok(None)
    }

    /// Charges a frame of `bytes` bytes that settles nothing (LM-3).
    ///
    /// # Errors
    /// The flood limit is exceeded.
    pub(crate) fn charge(&mut self, now: Time, bytes: usize) -> Result<(), Violation> {
        let weighed = self.flood.charge(now, bytes);
        self.check_charge(weighed)
    }

    /// Charges a frame of `bytes` bytes that names deliveries and settles none (LM-3).
    ///
    /// # Errors
    /// The flood limit is exceeded.
    pub(crate) fn charge_ids(&mut self, now: Time, bytes: usize) -> Result<(), Violation> {
        let weighed = self.flood.charge_ids(now, bytes);
        self.check_charge(weighed)
    }

    /// Charges an `Ack` of `bytes` bytes (LM-3).
    ///
    /// # Errors
    /// The flood limit is exceeded.
    pub(crate) fn charge_ack(&mut self, now: Time, bytes: usize, work: AckWork) -> Result<(), Violation> {
        let weighed = self.flood.charge_ack(now, bytes, work);
        self.check_charge(weighed)
    }

    /// Charges bytes of a `Deliver` that are neither messages nor their framing (LM-3).
    ///
    /// # Errors
    /// The flood limit is exceeded.
    #[inline]
    pub(crate) fn charge_unknown(&mut self, now: Time, bytes: u64) -> Result<(), Violation> {
        let weighed = self.flood.charge_unknown(now, bytes);
        self.check_charge(weighed)
    }

    /// After a flood, all further frames are ignored. To read on for outcomes and `Close` (ST-4) would let the flood
    /// continue.
    fn check_charge(&mut self, weighed: Result<(), Violation>) -> Result<(), Violation> {
        self.ignores_frames |= weighed.is_err();
        if self.closing.is_some() { Ok(()) } else { weighed }
    }

    /// Whether frames are dropped without being decoded (LM-3).
    pub(crate) fn ignores_frames(&self) -> bool {
        self.ignores_frames
    }

    fn handle_close(&mut self, now: Time, close: &v1::Close) {
        let until = now + self.timing.close_wait;
        let ending = self.closing.get_or_insert_with(|| {
            let end = LinkEnd {
                code: Some(Code::from_wire(close.code)),
                reason: cut_reason(&close.reason).to_owned(),
                by_peer: true,
                retry_after_ms: close.retry_after_ms,
            };
            Closing { end, close_sent: false, close_received: None, until }
        });
        ending.close_received.get_or_insert(Code::from_wire(close.code));
    }

    pub(crate) fn handle_bytes(&mut self) {
        self.all_read = false;
        self.liveness.handle_bytes();
    }

    pub(crate) fn handle_would_block(&mut self) {
        self.all_read = true;
        self.liveness.handle_would_block();
    }

    /// Whether everything that had arrived was read, and no byte has arrived since.
    pub(crate) fn has_read_all(&self) -> bool {
        self.all_read
    }

    pub(crate) fn handle_read_pause(&mut self) {
        self.liveness.handle_read_pause();
    }

    /// Appends Pong and Ping, which may overtake data (FR-6, LV-4). Must be called before data is appended.
    pub(crate) fn poll_pings(&mut self, now: Time, out: &mut VecDeque<Bytes>) {
        if !self.is_open() {
            return;
        }
        if let Some(data) = self.pong.take() {
            self.put(now, out, wire::encode(v1::frame::Body::Pong(v1::Pong { data })));
        }
        if let Some(data) = self.ping.take().or_else(|| self.liveness.poll_probe(now)) {
            if data != self.last_ping.0 {
                self.last_ping = (data, self.transmitted);
            }
            self.put(now, out, wire::encode(v1::frame::Body::Ping(v1::Ping { data })));
        }
    }

    /// Appends `Close` if it is due. Must be called after all other frames are appended.
    pub(crate) fn poll_close(&mut self, now: Time, out: &mut VecDeque<Bytes>) {
        if self.write_failed {
            return;
        }
        let Some(ending) = self.closing.as_mut().filter(|ending| !ending.close_sent) else { return };
        ending.close_sent = true;
        let answer = ending.end.by_peer;
        let code = if answer { Code::Normal } else { ending.end.code.unwrap_or(Code::Internal) };
        let reason = if answer { String::new() } else { cut_reason(&ending.end.reason).to_owned() };
        let close = v1::Close { code: code.into(), reason, retry_after_ms: ending.end.retry_after_ms };
        self.put(now, out, wire::encode(v1::frame::Body::Close(close)));
    }

    /// Gives bytes to the driver.
    pub(crate) fn put(&mut self, now: Time, out: &mut VecDeque<Bytes>, bytes: Bytes) {
        if self.transmitted == self.written {
            self.progress_at = now;
        }
        self.transmitted += bytes.len() as u64;
        self.liveness.handle_sent(now);
        out.push_back(bytes);
    }

    pub(crate) fn has_pings(&self) -> bool {
        self.is_open() && (self.pong.is_some() || self.ping.is_some())
    }

    pub(crate) fn close_is_due(&self) -> bool {
        !self.write_failed && self.closing.as_ref().is_some_and(|ending| !ending.close_sent)
    }

    /// Whether either side has closed the link, so that no more data is sent.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Whether the peer may reconnect within the grace: the link was interrupted, or ends without a `Close` (RD-8).
    pub(crate) fn is_interrupted(&self) -> bool {
        self.closing.as_ref().is_none_or(|ending| ending.end.is_interruption())
    }

    /// Whether the peer has closed the link because it stops.
    pub(crate) fn peer_has_stopped(&self) -> bool {
        let stops = |code| matches!(code, Some(Code::Normal | Code::GoingAway | Code::Aborted));
        self.closing.as_ref().is_some_and(|ending| ending.end.by_peer && stops(ending.end.code))
    }

    pub(crate) fn peer_has_closed(&self) -> bool {
        self.closing.as_ref().is_some_and(|ending| ending.close_received.is_some())
    }

    /// Whether the peer has closed with a code that can answer an `End`. SILENT or a violation may have crossed it.
    pub(crate) fn peer_has_answered(&self) -> bool {
        let code = self.closing.as_ref().and_then(|ending| ending.close_received);
        matches!(code, Some(Code::Normal | Code::GoingAway | Code::Aborted))
    }

    pub(crate) fn handle_written(&mut self, now: Time, bytes: usize) {
        self.written += bytes as u64;
        self.progress_at = now;
        self.stalled = false;
    }

    /// The number of bytes given to the driver: the position at which the next frame begins.
    pub(crate) fn transmitted_bytes(&self) -> u64 {
        self.transmitted
    }

    /// The number of bytes that the peer has certainly read.
    pub(crate) fn confirmed_bytes(&self) -> u64 {
        self.confirmed
    }

    pub(crate) fn written_bytes(&self) -> u64 {
        self.written
    }

    /// The number of bytes that are written or may still be written: the driver continues to write what it was given,
    /// and reports that later.
    pub(crate) fn maybe_written_bytes(&self) -> u64 {
        if self.write_failed { self.written } else { self.transmitted }
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled
    }

    pub(crate) fn handle_write_error(&mut self, now: Time, reason: &str) {
        self.write_failed = true;
        let until = now + self.timing.close_wait;
        let ending = self.closing.get_or_insert(Closing {
            end: LinkEnd::broken(reason),
            close_sent: true,
            close_received: None,
            until,
        });
        ending.close_sent = true;
    }

    /// Measures the round-trip time even if the link is busy. The Ping is sent with the next frames.
    pub(crate) fn begin_probing(&mut self, now: Time) {
        self.liveness.begin_probing(now);
    }

    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.liveness.round_trip()
    }

    pub(crate) fn poll_timeout(&self) -> Time {
        let mut deadline = match &self.closing {
            Some(ending) => ending.until,
            None => self.liveness.poll_timeout(self.ping.is_some()),
        };
        if self.transmitted > self.written && !self.stalled && self.closing.is_none() {
            deadline = deadline.min(self.progress_at + self.timing.write_stall);
        }
        deadline
    }

    /// Runs the timers: heartbeats and silence (LV-1, LV-3, LV-7), and the write stall (LV-6, LV-8).
    pub(crate) fn handle_timeout(&mut self, now: Time, progress: FrameProgress) -> Result<(), Violation> {
        if self.closing.is_some() {
            return Ok(());
        }
        self.liveness.handle_timeout(now, progress)?;
        if let Some(data) = self.liveness.poll_ping(now) {
            self.ping = Some(data);
        }
        let stuck = now.since(self.progress_at);
        if self.transmitted > self.written && stuck >= self.timing.write_stall {
            self.stalled = true;
            let patience = self.timing.write_stall.saturating_mul(MAX_STALLS);
            if stuck >= patience {
                let detail = format!("no byte could be written for {patience:?}");
                return Err(Violation::new(Code::TooSlow, Rule::Lv8, detail));
            }
        }
        Ok(())
    }

    /// Whether the connection can be closed: this side's `Close` is written and the peer's has arrived, or the time to
    /// wait for it is over (ST-4).
    pub(crate) fn is_finished(&self, now: Time) -> bool {
        self.closing.as_ref().is_some_and(|ending| {
            let out = self.write_failed || (ending.close_sent && self.transmitted == self.written);
            (ending.close_received.is_some() && out) || now >= ending.until
        })
    }

    /// Why the link ended; `broken` is the reason if no side has closed it.
    pub(crate) fn into_end(self, broken: &str) -> LinkEnd {
        self.closing.map_or_else(|| LinkEnd::broken(broken), |ending| ending.end)
    }
}

/// Checks whether the link of `new` may replace that of `old`, which has the same key (HS-9).
pub(crate) fn check_generation(old: &Peer, new: &Peer) -> Result<(), Violation> {
    match (old.generation, new.generation) {
        (Some(here), Some(came)) if came <= here => {
            let detail = format!("generation is {came}; this peer already has a link of generation {here}");
            Err(Violation::new(Code::Stale, Rule::Hs9, detail))
        }
        _ => Ok(()),
    }
}
