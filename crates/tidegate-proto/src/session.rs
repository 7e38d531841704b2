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

use crate::{
    close::LinkEnd,
    flood::{AckWork, FloodLimiter},
    liveness::Liveness,
    peer::Peer,
    time::Time,
    violation::{Code, Violation},
    wire::{self, Body, FrameProgress, cut_reason, v1},
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

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Session {
    pub(crate) peer: Peer,
    alive: Liveness,
    flood: FloodLimiter,
    /// The link was closed with FLOOD: all further frames are ignored.
    ignoring: bool,
    /// The socket was found empty, and no byte has arrived since.
    empty: bool,
    timing: Timing,
    end: Option<Closing>,
    pong: Option<u64>,
    ping: Option<u64>,
    /// Bytes given to the driver, and bytes that it has written.
    taken: u64,
    written: u64,
    /// The data of the last Ping, and the number of bytes before it.
    pinged: (u64, u64),
    /// The number of bytes that the peer has certainly read.
    proven: u64,
    progress_at: Time,
    stalled: bool,
    write_failed: bool,
    /// The link is in the list of links to wake, or the driver has been told to wake it.
    pub(crate) woken: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Closing {
    end: LinkEnd,
    sent: bool,
    heard: Option<Code>,
    until: Time,
}

impl Session {
    pub(crate) fn new(now: Time, peer: Peer, timing: Timing) -> Self {
        let alive = Liveness::new(now, timing.heartbeat, peer.heartbeat, timing.probing);
        Self {
            peer,
            alive,
            flood: FloodLimiter::default(),
            ignoring: false,
            empty: false,
            timing,
            end: None,
            pong: None,
            ping: None,
            taken: 0,
            written: 0,
            pinged: (0, 0),
            proven: 0,
            progress_at: now,
            stalled: false,
            write_failed: false,
            woken: false,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.end.is_none() && !self.write_failed
    }

    /// Starts the `Close` handshake (ST-4). If it has already started, its reason does not change.
    pub(crate) fn close(&mut self, now: Time, end: LinkEnd) {
        let until = now + self.timing.close_wait;
        self.end.get_or_insert(Closing { end, sent: false, heard: None, until });
    }

    /// Handles the frames that both roles treat in the same way, and returns the others. `bytes` is the length of the
    /// frame.
    ///
    /// # Errors
    /// The flood limit is exceeded (LM-3).
    pub(crate) fn receive(&mut self, now: Time, bytes: usize, body: Body) -> Result<Option<Body>, Violation> {
        if matches!(body, Body::Ping(_) | Body::Pong(_) | Body::Unknown) {
            self.weigh(now, bytes)?;
        }
        match body {
            Body::Ping(ping) => self.pong = Some(ping.data), // only the latest is answered: LV-4, LM-2
            Body::Pong(pong) => {
                self.alive.pong(now, pong.data);
                if pong.data == self.pinged.0 {
                    self.proven = self.pinged.1; // FR-6: the peer has read what was sent before the Ping
                }
            }
            Body::Close(close) => self.peer_closed(now, &close),
            Body::Unknown => {} // GR-1
            other => return Ok(Some(other)),
        }
        Ok(None)
    }

    /// Charges a frame of `bytes` bytes that settles nothing (LM-3).
    ///
    /// # Errors
    /// The flood limit is exceeded.
    pub(crate) fn weigh(&mut self, now: Time, bytes: usize) -> Result<(), Violation> {
        let weighed = self.flood.weigh(now, bytes);
        self.judge(weighed)
    }

    /// Charges a frame of `bytes` bytes that names deliveries and settles none (LM-3).
    ///
    /// # Errors
    /// The flood limit is exceeded.
    pub(crate) fn weigh_ids(&mut self, now: Time, bytes: usize) -> Result<(), Violation> {
        let weighed = self.flood.weigh_ids(now, bytes);
        self.judge(weighed)
    }

    /// Charges an `Ack` of `bytes` bytes (LM-3).
    ///
    /// # Errors
    /// The flood limit is exceeded.
    pub(crate) fn weigh_ack(&mut self, now: Time, bytes: usize, work: AckWork) -> Result<(), Violation> {
        let weighed = self.flood.weigh_ack(now, bytes, work);
        self.judge(weighed)
    }

    /// Charges bytes of a `Deliver` that are neither messages nor their framing (LM-3).
    ///
    /// # Errors
    /// The flood limit is exceeded.
    #[inline]
    pub(crate) fn weigh_junk(&mut self, now: Time, bytes: u64) -> Result<(), Violation> {
        let weighed = self.flood.weigh_junk(now, bytes);
        self.judge(weighed)
    }

    /// After a flood, all further frames are ignored. To read on for outcomes and `Close` (ST-4) would let the flood
    /// continue.
    fn judge(&mut self, weighed: Result<(), Violation>) -> Result<(), Violation> {
        self.ignoring |= weighed.is_err();
        if self.end.is_some() { Ok(()) } else { weighed }
    }

    /// Whether frames are dropped without being decoded (LM-3).
    pub(crate) fn is_ignoring(&self) -> bool {
        self.ignoring
    }

    fn peer_closed(&mut self, now: Time, close: &v1::Close) {
        let until = now + self.timing.close_wait;
        let ending = self.end.get_or_insert_with(|| {
            let end = LinkEnd {
                code: Some(Code::from_wire(close.code)),
                reason: cut_reason(&close.reason).to_owned(),
                by_peer: true,
                retry_after_ms: close.retry_after_ms,
            };
            Closing { end, sent: false, heard: None, until }
        });
        ending.heard.get_or_insert(Code::from_wire(close.code));
    }

    pub(crate) fn heard(&mut self) {
        self.empty = false;
        self.alive.heard();
    }

    pub(crate) fn found_empty(&mut self) {
        self.empty = true;
        self.alive.found_empty();
    }

    /// Whether everything that had arrived was read, and no byte has arrived since.
    pub(crate) fn has_found_empty(&self) -> bool {
        self.empty
    }

    pub(crate) fn paused(&mut self) {
        self.alive.paused();
    }

    /// Appends Pong and Ping, which may overtake data (FR-6, LV-4). Must be called before data is appended.
    pub(crate) fn transmit_signs(&mut self, now: Time, out: &mut VecDeque<Bytes>) {
        if !self.is_open() {
            return;
        }
        if let Some(data) = self.pong.take() {
            self.put(now, out, wire::encode(v1::frame::Body::Pong(v1::Pong { data })));
        }
        if let Some(data) = self.ping.take().or_else(|| self.alive.probe_due(now)) {
            if data != self.pinged.0 {
                self.pinged = (data, self.taken);
            }
            self.put(now, out, wire::encode(v1::frame::Body::Ping(v1::Ping { data })));
        }
    }

    /// Appends `Close` if it is due. Must be called after all other frames are appended.
    pub(crate) fn transmit_close(&mut self, now: Time, out: &mut VecDeque<Bytes>) {
        if self.write_failed {
            return;
        }
        let Some(ending) = self.end.as_mut().filter(|ending| !ending.sent) else { return };
        ending.sent = true;
        let answer = ending.end.by_peer;
        let code = if answer { Code::Normal } else { ending.end.code.unwrap_or(Code::Internal) };
        let reason = if answer { String::new() } else { cut_reason(&ending.end.reason).to_owned() };
        let close = v1::Close { code: code.into(), reason, retry_after_ms: ending.end.retry_after_ms };
        self.put(now, out, wire::encode(v1::frame::Body::Close(close)));
    }

    /// Gives bytes to the driver.
    pub(crate) fn put(&mut self, now: Time, out: &mut VecDeque<Bytes>, bytes: Bytes) {
        if self.taken == self.written {
            self.progress_at = now;
        }
        self.taken += bytes.len() as u64;
        self.alive.sent(now);
        out.push_back(bytes);
    }

    pub(crate) fn has_signs(&self) -> bool {
        self.is_open() && (self.pong.is_some() || self.ping.is_some())
    }

    pub(crate) fn close_is_due(&self) -> bool {
        !self.write_failed && self.end.as_ref().is_some_and(|ending| !ending.sent)
    }

    /// Whether either side has closed the link, so that no more data is sent.
    pub(crate) fn is_ending(&self) -> bool {
        self.end.is_some()
    }

    /// Whether the peer may reconnect within the grace: the link was interrupted, or ends without a `Close` (RD-8).
    pub(crate) fn is_interrupted(&self) -> bool {
        self.end.as_ref().is_none_or(|ending| ending.end.is_interruption())
    }

    /// Whether the peer has closed the link because it stops, so that it will not send messages of this link again.
    pub(crate) fn peer_is_gone(&self) -> bool {
        let stops = |code| matches!(code, Some(Code::Normal | Code::GoingAway | Code::Aborted));
        self.end.as_ref().is_some_and(|ending| ending.end.by_peer && stops(ending.end.code))
    }

    pub(crate) fn peer_has_closed(&self) -> bool {
        self.end.as_ref().is_some_and(|ending| ending.heard.is_some())
    }

    /// Whether the peer has closed with a code that can answer an `End`. SILENT or a violation may have crossed it.
    pub(crate) fn peer_has_answered(&self) -> bool {
        let code = self.end.as_ref().and_then(|ending| ending.heard);
        matches!(code, Some(Code::Normal | Code::GoingAway | Code::Aborted))
    }

    pub(crate) fn written(&mut self, now: Time, bytes: usize) {
        self.written += bytes as u64;
        self.progress_at = now;
        self.stalled = false;
    }

    /// The number of bytes given to the driver: the position at which the next frame begins.
    pub(crate) fn taken_bytes(&self) -> u64 {
        self.taken
    }

    /// The number of bytes that the peer has certainly read.
    pub(crate) fn proven_bytes(&self) -> u64 {
        self.proven
    }

    pub(crate) fn written_bytes(&self) -> u64 {
        self.written
    }

    /// The number of bytes that are written or may still be written: the driver continues to write what it was given,
    /// and reports that later.
    pub(crate) fn bytes_at_risk(&self) -> u64 {
        if self.write_failed { self.written } else { self.taken }
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled
    }

    pub(crate) fn write_failed(&mut self, now: Time, reason: &str) {
        self.write_failed = true;
        let until = now + self.timing.close_wait;
        let ending =
            self.end.get_or_insert(Closing { end: LinkEnd::broken(reason), sent: true, heard: None, until });
        ending.sent = true;
    }

    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.alive.round_trip()
    }

    pub(crate) fn deadline(&self) -> Time {
        let mut deadline = match &self.end {
            Some(ending) => ending.until,
            None => self.alive.deadline(self.ping.is_some()),
        };
        if self.taken > self.written && !self.stalled && self.end.is_none() {
            deadline = deadline.min(self.progress_at + self.timing.write_stall);
        }
        deadline
    }

    /// Runs the timers: heartbeats and silence (LV-1, LV-3, LV-7), and the write stall (LV-6, LV-8).
    pub(crate) fn advance(&mut self, now: Time, progress: FrameProgress) -> Result<(), Violation> {
        if self.end.is_some() {
            return Ok(());
        }
        self.alive.advance(now, progress)?;
        if let Some(data) = self.alive.ping_due(now) {
            self.ping = Some(data);
        }
        let stuck = now.since(self.progress_at);
        if self.taken > self.written && stuck >= self.timing.write_stall {
            self.stalled = true;
            let patience = self.timing.write_stall.saturating_mul(MAX_STALLS);
            if stuck >= patience {
                let detail = format!("no byte could be written for {patience:?}");
                return Err(Violation::new(Code::TooSlow, "LV-8", detail));
            }
        }
        Ok(())
    }

    /// Whether the connection can be closed: this side's `Close` is written and the peer's has arrived, or the time to
    /// wait for it is over (ST-4).
    pub(crate) fn is_finished(&self, now: Time) -> bool {
        self.end.as_ref().is_some_and(|ending| {
            let out = self.write_failed || (ending.sent && self.taken == self.written);
            (ending.heard.is_some() && out) || now >= ending.until
        })
    }

    /// Why the link ended; `broken` is the reason if no side has closed it.
    pub(crate) fn into_end(self, broken: &str) -> LinkEnd {
        self.end.map_or_else(|| LinkEnd::broken(broken), |ending| ending.end)
    }
}

/// Checks whether the link of `new` may replace that of `old`, which has the same key (HS-9).
pub(crate) fn check_generation(old: &Peer, new: &Peer) -> Result<(), Violation> {
    match (old.generation, new.generation) {
        (Some(here), Some(came)) if came <= here => {
            let detail = format!("generation is {came}; this peer already has a link of generation {here}");
            Err(Violation::new(Code::Stale, "HS-9", detail))
        }
        _ => Ok(()),
    }
}
