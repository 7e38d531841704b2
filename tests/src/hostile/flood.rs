//! What all attackers share. The same is sent to a plain server that discards everything, for comparison: so nothing waits there
//! for an answer, and everything has a rate.

use std::{
    io::{self, Read},
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use tidegate_proto::{
    Role,
    wire::{
        self, Body, PREFACE,
        v1::{self, Verdict, frame::Body as Frame},
    },
};

use super::{
    attack::Target,
    raw::{Raw, ack, hello, outcome, resume},
};

/// The beat of all attackers.
pub(super) const BEAT: Duration = Duration::from_millis(1);
/// Connections opened in a beat, by those that open many.
const CONNECTS: usize = 2;
/// Bytes written in a beat, by those that write much: 100 MB/s.
pub(super) const BYTES: usize = 100_000;
/// How long one answer is waited for by those that need it.
const ANSWER: Duration = Duration::from_secs(2);
/// A grant without end.
pub(super) const ENDLESS: (u64, u64) = (1 << 60, 1 << 60);

/// One attacker, until its time is up.
#[derive(Debug)]
pub struct Flood {
    to: SocketAddr,
    target: Target,
    /// There is a plain server: no answer will come.
    pub(super) plain: bool,
    pub(super) until: Instant,
    generation: u64,
    next_beat: Instant,
    /// Connections made.
    pub connections: u64,
    /// Bytes written.
    pub bytes: u64,
}

impl Flood {
    /// An attacker of `to` that goes on for so long.
    #[must_use]
    pub fn new(to: SocketAddr, target: Target, plain: bool, time: Duration) -> Self {
        let now = Instant::now();
        Self { to, target, plain, until: now + time, generation: 0, next_beat: now, connections: 0, bytes: 0 }
    }

    /// Waits for the next beat; false when the time is up. Beats that were missed are not made up for.
    pub(super) fn beat(&mut self) -> bool {
        let now = Instant::now();
        if let Some(left) = self.next_beat.checked_duration_since(now) {
            thread::sleep(left); // a rate, the same against both servers, and not a wait for something
        }
        self.next_beat = self.next_beat.max(now) + BEAT;
        now < self.until
    }

    pub(super) fn connect(&mut self) -> Option<Raw> {
        self.connections += 1;
        let raw = Raw::connect(self.to).ok()?;
        raw.socket().set_read_timeout(Some(ANSWER)).ok()?;
        raw.socket().set_write_timeout(Some(ANSWER)).ok()?;
        Some(raw)
    }

    pub(super) fn hello(&mut self) -> v1::Hello {
        let role = if self.target == Target::Pusher { Role::Puller } else { Role::Pusher };
        self.generation += 1;
        v1::Hello { generation: self.generation, resume: resume(self.generation), ..hello(role, 66) }
    }

    /// A link; at a plain server, a connection over which as much was sent.
    pub(super) fn link(&mut self, hello: v1::Hello) -> Option<Raw> {
        let mut raw = self.connect()?;
        if self.plain {
            let bytes = [&PREFACE[..], &wire::encode(Frame::Hello(hello))].concat();
            raw.write(&bytes).ok()?;
        } else {
            raw.greet(hello).ok()?;
        }
        Some(raw)
    }

    /// Opens connections, does `one` to each, and lets them go.
    pub(super) fn churn(&mut self, mut one: impl FnMut(&mut Self) -> Option<Raw>) {
        while self.beat() {
            for _ in 0..CONNECTS {
                if let Some(raw) = one(self)
                    && !self.plain
                {
                    let _ = raw.shut();
                }
            }
        }
    }

    /// Keeps so many connections open, each begun by `begin`, and gives each of them what `more` gives, now and then.
    pub(super) fn hold(
        &mut self,
        count: usize,
        mut begin: impl FnMut(&mut Self) -> Option<Raw>,
        more: &[u8],
    ) {
        let mut held: Vec<Raw> = Vec::new();
        let mut beats: u64 = 0;
        while self.beat() {
            for _ in 0..CONNECTS {
                if held.len() < count
                    && let Some(raw) = begin(self)
                    && raw.socket().set_nonblocking(true).is_ok()
                {
                    held.push(raw);
                }
            }
            beats += 1;
            if beats.is_multiple_of(100) {
                held.retain_mut(|raw| is_open(raw) && raw.write(more).is_ok());
            }
        }
    }

    /// Writes the same bytes over one link, as fast as allowed; over another one when that is closed.
    pub(super) fn stream(&mut self, begin: &[u8], again: &[u8]) {
        let repeated = again.repeat((BYTES / again.len()).max(1));
        let mut link: Option<Raw> = None;
        while self.beat() {
            if link.is_none() {
                let hello = self.hello();
                link = self.link(hello).filter(|raw| {
                    raw.socket().set_nonblocking(true).is_ok()
                        && io::Write::write(&mut raw.socket(), begin).is_ok()
                });
            }
            let Some(raw) = &mut link else { continue };
            match io::Write::write(&mut raw.socket(), &repeated) {
                Ok(count) => {
                    self.bytes += count as u64;
                    // What is written in part goes on where it was, so that frames stay whole.
                    if !finish(raw, &repeated[count..], self.until) {
                        link = None;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => link = None,
            }
            if !link.as_mut().is_none_or(is_open) {
                link = None;
            }
        }
    }

    /// As a puller with credit without end: answers what comes with this verdict.
    pub(super) fn answer(&mut self, verdict: Verdict) {
        let mut link: Option<Raw> = None;
        let mut next = 0;
        while self.beat() {
            if link.is_none() {
                let hello = self.hello();
                link = self.link(hello);
                next = 0;
                if let Some(raw) = &mut link {
                    let _ = raw.send(ack(Vec::new(), ENDLESS));
                }
            }
            let Some(raw) = &mut link else { continue };
            let first = next;
            if self.plain {
                next += 1;
            } else {
                let until = Instant::now() + BEAT;
                let _ = raw.socket().set_read_timeout(Some(BEAT));
                while Instant::now() < until {
                    match raw.frame() {
                        Ok(Some(Body::Deliver(batch))) => next = batch.cursor.next_id() + batch.cursor.len(),
                        Ok(Some(_)) => {}
                        Ok(None) => {
                            link = None;
                            break;
                        }
                        Err(_) => break,
                    }
                }
            }
            if let Some(raw) = &mut link
                && next > first
                && raw.send(ack(vec![outcome(first, next - first, verdict)], ENDLESS)).is_err()
            {
                link = None;
            }
        }
    }
}

/// Reads and discards what has come over a connection that does not block; false when it has ended.
pub(super) fn is_open(raw: &mut Raw) -> bool {
    let mut bytes = [0; 64 * 1_024];
    loop {
        match raw.socket().read(&mut bytes) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

/// Writes the rest over a connection that does not block, reading what comes meanwhile.
fn finish(raw: &mut Raw, mut rest: &[u8], until: Instant) -> bool {
    while !rest.is_empty() && Instant::now() < until {
        match io::Write::write(&mut raw.socket(), rest) {
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if !is_open(raw) {
                    return false;
                }
                thread::sleep(BEAT); // likewise: who is not read from tries again at its rate
            }
            Err(_) => return false,
        }
    }
    true
}
