//! What each attack sends. The same is sent to a plain server that discards everything, for comparison: so nothing waits there
//! for an answer, and everything has a rate.

use std::{
    io::{self, Read},
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use tidegate_proto::{
    Role,
    wire::{
        self, Body, PREFACE,
        v1::{self, Verdict, frame::Body as Frame},
    },
};

use super::{
    attack::Target,
    raw::{Raw, ack, deliver, framed, hello, outcome, unknown},
};

/// The beat of all generators.
const BEAT: Duration = Duration::from_millis(1);
/// Connections opened in a beat, by those that open many.
const CONNECTS: usize = 2;
/// Octets written in a beat, by those that write much: 100 MB/s.
const OCTETS: usize = 100_000;
/// How long one answer is waited for by those that need it.
const ANSWER: Duration = Duration::from_secs(2);
/// A grant without end.
const ENDLESS: (u64, u64) = (1 << 60, 1 << 60);

/// One attacker, until its time is up.
#[derive(Debug)]
pub struct Flood {
    to: SocketAddr,
    target: Target,
    /// There is a plain server: no answer will come.
    plain: bool,
    until: Instant,
    generation: u64,
    next_beat: Instant,
    /// Connections made.
    pub connections: u64,
    /// Octets written.
    pub octets: u64,
}

impl Flood {
    /// An attacker of `to` that goes on for so long.
    #[must_use]
    pub fn new(to: SocketAddr, target: Target, plain: bool, time: Duration) -> Self {
        let now = Instant::now();
        Self {
            to,
            target,
            plain,
            until: now + time,
            generation: 0,
            next_beat: now,
            connections: 0,
            octets: 0,
        }
    }

    /// Waits for the next beat; false when the time is up. Beats that were missed are not made up for.
    fn beat(&mut self) -> bool {
        let now = Instant::now();
        if let Some(left) = self.next_beat.checked_duration_since(now) {
            thread::sleep(left);
        }
        self.next_beat = self.next_beat.max(now) + BEAT;
        now < self.until
    }

    fn connect(&mut self) -> Option<Raw> {
        self.connections += 1;
        let raw = Raw::connect(self.to).ok()?;
        raw.socket().set_read_timeout(Some(ANSWER)).ok()?;
        raw.socket().set_write_timeout(Some(ANSWER)).ok()?;
        Some(raw)
    }

    fn hello(&mut self) -> v1::Hello {
        let role = if self.target == Target::Pusher { Role::Puller } else { Role::Pusher };
        self.generation += 1;
        v1::Hello { generation: self.generation, slot: self.generation, ..hello(role, 66) }
    }

    /// A link; at a plain server, a connection over which as much was sent.
    fn link(&mut self, hello: v1::Hello) -> Option<Raw> {
        let mut raw = self.connect()?;
        if self.plain {
            let octets = [&PREFACE[..], &wire::encode(Frame::Hello(hello))].concat();
            raw.write(&octets).ok()?;
        } else {
            raw.greet(hello).ok()?;
        }
        Some(raw)
    }

    /// Opens connections, does `one` to each, and lets them go.
    fn churn(&mut self, mut one: impl FnMut(&mut Self) -> Option<Raw>) {
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
    fn hold(&mut self, count: usize, mut begin: impl FnMut(&mut Self) -> Option<Raw>, more: &[u8]) {
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

    /// Writes the same octets over one link, as fast as allowed; over another one when that is closed.
    fn stream(&mut self, begin: &[u8], again: &[u8]) {
        let repeated = again.repeat((OCTETS / again.len()).max(1));
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
                    self.octets += count as u64;
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
    fn answer(&mut self, verdict: Verdict) {
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
fn is_open(raw: &mut Raw) -> bool {
    let mut octets = [0; 64 * 1_024];
    loop {
        match raw.socket().read(&mut octets) {
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
                thread::sleep(BEAT);
            }
            Err(_) => return false,
        }
    }
    true
}

pub(super) fn connects(flood: &mut Flood) {
    flood.churn(Flood::connect);
}

pub(super) fn silent(flood: &mut Flood) {
    flood.hold(1_000, Flood::connect, b"");
}

pub(super) fn slow(flood: &mut Flood) {
    // A frame whose length says that all of these octets belong to it, and more.
    let begin = [&PREFACE[..], &16_384u32.to_be_bytes(), b"\x0a"].concat();
    flood.hold(
        1_000,
        |flood| {
            let mut raw = flood.connect()?;
            raw.write(&begin).ok()?;
            Some(raw)
        },
        b"\x00",
    );
}

pub(super) fn http(flood: &mut Flood) {
    flood.churn(|flood| {
        let mut raw = flood.connect()?;
        raw.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").ok()?;
        Some(raw)
    });
}

pub(super) fn hellos(flood: &mut Flood) {
    flood.churn(|flood| {
        let mut raw = flood.connect()?;
        let hello = v1::Hello { pipeline: "no such pipeline".to_owned(), ..flood.hello() };
        raw.write(&[&PREFACE[..], &wire::encode(Frame::Hello(hello))].concat()).ok()?;
        Some(raw)
    });
}

pub(super) fn links(flood: &mut Flood) {
    flood.hold(
        2_000,
        |flood| {
            let hello = flood.hello();
            flood.link(hello)
        },
        b"",
    );
}

pub(super) fn come_and_go(flood: &mut Flood) {
    flood.churn(|flood| {
        let hello = flood.hello();
        flood.link(hello)
    });
}

pub(super) fn replace(flood: &mut Flood) {
    let mut held: Option<Raw> = None;
    flood.churn(|flood| {
        let hello = v1::Hello { slot: 1, ..flood.hello() };
        let new = flood.link(hello);
        std::mem::replace(&mut held, new)
    });
}

pub(super) fn pings(flood: &mut Flood) {
    flood.stream(b"", &wire::encode(Frame::Ping(v1::Ping { data: 5 })));
}

pub(super) fn tiny(flood: &mut Flood) {
    flood.stream(b"", &framed(b"\xa2\x06\x00"));
}

pub(super) fn large(flood: &mut Flood) {
    flood.stream(b"", &unknown(65_536));
}

pub(super) fn claims(flood: &mut Flood) {
    flood.churn(|flood| {
        let hello = flood.hello();
        let mut raw = flood.link(hello)?;
        raw.write(&u32::MAX.to_be_bytes()).ok()?;
        Some(raw)
    });
}

pub(super) fn half_frames(flood: &mut Flood) {
    // 8 MiB and the word that 16 are to come; 400 links would make a puller hold 3.2 GiB.
    let mut begun = BytesMut::from(&(16u32 << 20).to_be_bytes()[..]);
    begun.extend_from_slice(b"\x12\xfc\xff\xff\x07");
    begun.resize(8 << 20, 0);
    let mut held: Vec<Raw> = Vec::new();
    // How much of it the last one has sent.
    let mut at = 0;
    let mut beats: u64 = 0;
    while flood.beat() {
        if held.is_empty() || (at == begun.len() && held.len() < 400) {
            at = 0;
            let hello = flood.hello();
            held.extend(flood.link(hello).filter(|raw| raw.socket().set_nonblocking(true).is_ok()));
        }
        let Some(last) = held.last() else { continue };
        let part = &begun[at..begun.len().min(at + OCTETS)];
        match io::Write::write(&mut last.socket(), part) {
            Ok(count) => {
                at += count;
                flood.octets += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => at = begun.len(),
        }
        beats += 1;
        if beats.is_multiple_of(100) {
            if !held.last_mut().is_some_and(is_open) {
                at = begun.len();
            }
            held.retain_mut(is_open);
        }
    }
}

pub(super) fn too_much(flood: &mut Flood) {
    flood.churn(|flood| {
        let hello = flood.hello();
        let mut raw = flood.link(hello)?;
        for batch in 0..8 {
            // A puller that takes that many would still have been granted fewer.
            if raw.send(deliver(batch * 2_000, &[&b"more"[..]; 2_000])).is_err() {
                break;
            }
        }
        Some(raw)
    });
}

pub(super) fn empty(flood: &mut Flood) {
    let mut link: Option<Raw> = None;
    let (mut next, mut limit, mut given_up) = (0, 0, 0);
    while flood.beat() {
        if link.is_none() {
            let hello = flood.hello();
            (link, next, limit, given_up) = (flood.link(hello), 0, 0, 0);
        }
        let Some(raw) = &mut link else { continue };
        if flood.plain {
            limit = next + 1_000;
        } else {
            let _ = raw.socket().set_read_timeout(Some(BEAT));
            match raw.frame() {
                Ok(Some(Body::Ack(ack))) if ack.recall => {
                    // It keeps to the rules: else it would get no more credit (RC-2).
                    let bytes = ack.byte_limit - given_up;
                    let _ = raw.send(Frame::Skip(v1::Skip { next_id: ack.message_limit.max(next), bytes }));
                    (next, limit, given_up) = (ack.message_limit, ack.message_limit, ack.byte_limit);
                }
                Ok(Some(Body::Ack(ack))) => limit = limit.max(ack.message_limit),
                Ok(None) => link = None,
                _ => {}
            }
        }
        let to = limit.min(next + 1_000);
        let octets: Vec<u8> = (next..to).flat_map(|id| wire::encode(deliver(id, &[b""]))).collect();
        next = to;
        if let Some(raw) = &mut link
            && raw.write(&octets).is_err()
        {
            link = None;
        }
    }
}

pub(super) fn grants(flood: &mut Flood) {
    flood.stream(b"", &wire::encode(ack(Vec::new(), (0, 0))));
}

pub(super) fn ranges(flood: &mut Flood) {
    // Delivery 0 is settled; everything after that is repetition.
    let full = ack(vec![outcome(0, 1, Verdict::Ack); 6_000], (1, 1 << 20));
    let mut link: Option<Raw> = None;
    let octets = wire::encode(full);
    while flood.beat() {
        if link.is_none() {
            let hello = flood.hello();
            link = flood.link(hello);
            if let Some(raw) = &mut link {
                let _ = raw.send(ack(Vec::new(), (1, 1)));
                let sent = |body: &Body| matches!(body, Body::Deliver(_)).then_some(());
                if !flood.plain && raw.until(sent).is_err() {
                    link = None;
                }
            }
        }
        if let Some(raw) = &mut link {
            flood.octets += octets.len() as u64;
            if raw.write(&octets).is_err() {
                link = None;
            }
        }
    }
}

pub(super) fn recalls(flood: &mut Flood) {
    let recall = v1::Ack { recall: true, ..v1::Ack::default() };
    flood.stream(b"", &wire::encode(Frame::Ack(recall)));
}

pub(super) fn never_sent(flood: &mut Flood) {
    flood.churn(|flood| {
        let hello = flood.hello();
        let mut raw = flood.link(hello)?;
        raw.send(ack(vec![outcome(5, 1, Verdict::Ack)], (0, 0))).ok()?;
        Some(raw)
    });
}

pub(super) fn never_reads(flood: &mut Flood) {
    let ping = wire::encode(Frame::Ping(v1::Ping { data: 5 }));
    let mut held: Vec<Raw> = Vec::new();
    let mut beats: u64 = 0;
    while flood.beat() {
        if held.len() < 50 {
            let hello = flood.hello();
            if let Some(mut raw) = flood.link(hello)
                && raw.send(ack(Vec::new(), ENDLESS)).is_ok()
            {
                held.push(raw);
            }
        }
        beats += 1;
        if beats.is_multiple_of(1_000) {
            held.retain_mut(|raw| raw.write(&ping).is_ok());
        }
    }
}

pub(super) fn nacks(flood: &mut Flood) {
    flood.answer(Verdict::Nack);
}

pub(super) fn releases(flood: &mut Flood) {
    flood.answer(Verdict::Release);
}

pub(super) fn drops(flood: &mut Flood) {
    while flood.beat() {
        let hello = flood.hello();
        let Some(mut raw) = flood.link(hello) else { continue };
        let _ = raw.send(ack(Vec::new(), (10_000, 1 << 24)));
        if !flood.plain {
            let _ = raw.socket().set_read_timeout(Some(10 * BEAT));
            let _ = raw.until(|body| matches!(body, Body::Deliver(_)).then_some(()));
        }
    }
}
