//! Shared code of the attackers. For comparison an attacker sends the same bytes to a plain server that discards them,
//! so it must not wait for answers there, and it has a fixed rate.

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

/// The interval at which an attacker acts.
pub(super) const BEAT: Duration = Duration::from_millis(1);
/// Connections opened in a beat by attackers that open many.
const CONNECTS: usize = 2;
/// Bytes written in a beat by attackers that write much: 100 MB/s.
pub(super) const BYTES: usize = 100_000;
/// How long an attacker waits for an answer that it needs.
const ANSWER: Duration = Duration::from_secs(2);
/// Practically unlimited credit.
pub(super) const ENDLESS: (u64, u64) = (wire::MAX_COUNTER, wire::MAX_COUNTER);

/// One attacker, which runs until its time is up.
#[derive(Debug)]
pub struct Flood {
    to: SocketAddr,
    target: Target,
    /// Whether the target is a plain server, which never answers.
    pub(super) plain: bool,
    pub(super) until: Instant,
    generation: u64,
    next_beat: Instant,
    /// Connections opened.
    pub connections: u64,
    /// Bytes written.
    pub bytes: u64,
}

impl Flood {
    /// An attacker of `to` that runs for `time`.
    #[must_use]
    pub fn new(to: SocketAddr, target: Target, plain: bool, time: Duration) -> Self {
        let now = Instant::now();
        Self { to, target, plain, until: now + time, generation: 0, next_beat: now, connections: 0, bytes: 0 }
    }

    /// Waits for the next beat; false when the time is up. Missed beats are skipped.
    pub(super) fn beat(&mut self) -> bool {
        let now = Instant::now();
        if let Some(left) = self.next_beat.checked_duration_since(now) {
            thread::sleep(left); // the same rate against both servers, not a wait for an event
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

    /// Opens a link; to a plain server, a connection over which the same bytes were sent.
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

    /// Opens connections, runs `one` on each, and drops them.
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

    /// Keeps `count` connections open, each opened by `begin`, and writes `more` to each of them every 100 beats.
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

    /// Writes the same bytes over one link, as fast as the rate allows. If the link is closed, opens another.
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
                    // After a partial write, continue with the rest, so that frames stay complete.
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

    /// As a puller with unlimited credit: answers all deliveries with this verdict.
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

/// Reads and discards the received bytes of a non-blocking connection; false if it has ended.
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

/// Writes the rest over a non-blocking connection, and reads meanwhile.
fn finish(raw: &mut Raw, mut rest: &[u8], until: Instant) -> bool {
    while !rest.is_empty() && Instant::now() < until {
        match io::Write::write(&mut raw.socket(), rest) {
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if !is_open(raw) {
                    return false;
                }
                thread::sleep(BEAT); // the same rate again, while the peer does not read
            }
            Err(_) => return false,
        }
    }
    true
}
