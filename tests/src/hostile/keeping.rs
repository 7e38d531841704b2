//! Attacks that make a socket retain, scan or read data that credit does not limit.

use std::time::Instant;

use tidegate_proto::wire::{
    self, Body,
    v1::{self, Verdict, frame::Body as Frame},
};

use super::{
    flood::{BEAT, ENDLESS, Flood},
    raw::{Raw, ack, framed, outcome},
};

/// Credit for each step of [`settled_again`].
const FEW: u64 = 4;
/// Frames that [`settled_again`] has in flight on its link.
const FRAMES: u64 = 4_000;
/// The payload that the measured puller processes slowly.
pub(super) const SLOW: &[u8] = b"slow";

/// The first id and length of the next batch, if one arrives within a beat. `Err`: the link has ended.
fn batch(raw: &mut Raw) -> Result<Option<(u64, u64)>, ()> {
    let _ = raw.socket().set_read_timeout(Some(BEAT));
    match raw.frame() {
        Ok(Some(Body::Deliver(batch))) => Ok(Some((batch.cursor.next_id(), batch.cursor.len()))),
        Ok(Some(_)) => Ok(None),
        Ok(None) => Err(()),
        Err(error) => match error.kind() {
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => Ok(None),
            _ => Err(()),
        },
    }
}

/// Nacks the first message of each frame with a delay of five minutes, and acks the others.
pub(super) fn nack_first(flood: &mut Flood) {
    settle_each(flood, |first, count| {
        let nack = v1::Outcome { delay_ms: 300_000, ..outcome(first, 1, Verdict::Nack) };
        vec![nack, outcome(first, count, Verdict::Ack)]
    });
}

/// Not an attack: a second link that acks everything, and so takes half of the messages.
pub(super) fn honest(flood: &mut Flood) {
    settle_each(flood, |first, count| vec![outcome(first, count, Verdict::Ack)]);
}

/// Grants unlimited credit, and answers each frame at once with these outcomes for its range.
fn settle_each(flood: &mut Flood, outcomes: impl Fn(u64, u64) -> Vec<v1::Outcome>) {
    let mut link: Option<Raw> = None;
    let mut next = 0;
    while flood.beat() {
        if link.is_none() {
            let hello = flood.hello();
            link = flood.link(hello);
            next = 0;
            if let Some(raw) = &mut link {
                let _ = raw.send(ack(Vec::new(), ENDLESS));
            }
        }
        let Some(raw) = &mut link else { continue };
        let until = Instant::now() + BEAT;
        while Instant::now() < until {
            let range = if flood.plain { Ok(Some((next, 100))) } else { batch(raw) };
            let answered = match range {
                Ok(Some((first, count))) => {
                    next = first + count;
                    raw.send(ack(outcomes(first, count), ENDLESS)).is_ok()
                }
                Ok(None) => break,
                Err(()) => false,
            };
            if !answered {
                link = None;
                break;
            }
            if flood.plain {
                break;
            }
        }
    }
}

/// Has many frames in flight, settles the newer half of them, and repeats these outcomes.
pub(super) fn settled_again(flood: &mut Flood) {
    let mut link: Option<(Raw, u64)> = None;
    // Outcomes of a range, as many as fit into a frame.
    let again =
        |end: u64| wire::encode(ack(vec![outcome(end / 2, end - end / 2, Verdict::Ack); 4_000], ENDLESS));
    let mut full = again(FRAMES * FEW);
    while flood.beat() {
        if link.is_none() {
            let hello = flood.hello();
            link = flood.link(hello).and_then(|mut raw| {
                let mut next = 0;
                while !flood.plain && next < FRAMES * FEW && Instant::now() < flood.until {
                    raw.send(ack(Vec::new(), (next + FEW, 1 << 40))).ok()?;
                    while let Some((first, count)) = batch(&mut raw).ok()? {
                        next = first + count;
                    }
                }
                full = again(next.max(2));
                Some((raw, next))
            });
        }
        if let Some((raw, _)) = &mut link {
            flood.bytes += full.len() as u64;
            if raw.write(&full).is_err() {
                link = None;
            }
        }
    }
}

/// Sends `Working` for 20,000 deliveries in every frame.
pub(super) fn working(flood: &mut Flood) {
    const MANY: u64 = 20_000;
    let mut link: Option<(Raw, Vec<u8>)> = None;
    while flood.beat() {
        if link.is_none() {
            let hello = flood.hello();
            link = flood.link(hello).and_then(|mut raw| {
                raw.send(ack(Vec::new(), (MANY, 1 << 40))).ok()?;
                let mut next = if flood.plain { MANY } else { 0 };
                while next < MANY && Instant::now() < flood.until {
                    if let Some((first, count)) = batch(&mut raw).ok()? {
                        next = first + count;
                    }
                }
                let working = v1::Working { deliveries: (0..next).collect() };
                Some((raw, wire::encode(Frame::Working(working)).to_vec()))
            });
        }
        if let Some((raw, frame)) = &mut link {
            flood.bytes += frame.len() as u64;
            if raw.write(frame).is_err() {
                link = None;
            }
        }
    }
}

/// The credit that a puller has granted. Recalls are answered if `answers` is set.
struct Credit {
    raw: Raw,
    next: u64,
    limit: u64,
    /// The limit on bytes; `bytes` counts those sent or given up.
    byte_limit: u64,
    bytes: u64,
    answers: bool,
}

impl Credit {
    fn open(flood: &mut Flood, answers: bool) -> Option<Self> {
        let hello = flood.hello();
        let raw = flood.link(hello)?;
        Some(Self { raw, next: 0, limit: 0, byte_limit: 0, bytes: 0, answers })
    }

    /// Whether a message may be sent. `None`: the link has ended.
    fn may_send(&mut self, plain: bool) -> Option<bool> {
        if plain {
            return Some(true);
        }
        if self.next < self.limit && self.bytes < self.byte_limit {
            return Some(true);
        }
        let _ = self.raw.socket().set_read_timeout(Some(BEAT));
        match self.raw.frame() {
            Ok(Some(Body::Ack(ack))) => {
                self.limit = self.limit.max(ack.message_limit);
                self.byte_limit = self.byte_limit.max(ack.byte_limit);
                if ack.recall && self.answers {
                    let bytes = self.byte_limit.saturating_sub(self.bytes);
                    let skip = v1::Skip { next_id: self.limit.max(self.next), bytes };
                    (self.next, self.bytes) = (skip.next_id, self.bytes + bytes);
                    self.raw.send(Frame::Skip(skip)).ok()?;
                }
            }
            Ok(None) => return None,
            _ => {}
        }
        Some(self.next < self.limit && self.bytes < self.byte_limit)
    }

    fn deliver(&mut self, messages: Vec<v1::Message>) -> Option<()> {
        let (count, bytes) =
            (messages.len() as u64, messages.iter().map(|m| m.payload.len() as u64).sum::<u64>());
        let deliver = v1::Deliver { first_id: self.next, first_number: self.next, messages };
        self.next += count;
        self.bytes += bytes;
        self.raw.send(Frame::Deliver(deliver)).ok()
    }
}

fn message(payload: Vec<u8>) -> v1::Message {
    v1::Message { payload: payload.into(), ..v1::Message::default() }
}

/// Sends batches of a large message that is processed quickly and a small one that is processed slowly.
pub(super) fn slow_small(flood: &mut Flood) {
    let mut link: Option<Credit> = None;
    while flood.beat() {
        if link.is_none() {
            link = Credit::open(flood, true);
        }
        let Some(credit) = &mut link else { continue };
        let plain = flood.plain;
        let sent = credit.may_send(plain).and_then(|may| {
            // If the credit is not enough for both, send the small one.
            if may && (plain || credit.next + 1 < credit.limit) {
                credit.deliver(vec![message(SLOW.to_vec()), message(vec![7; 200_000])])?;
            }
            Some(())
        });
        if sent.is_none() {
            link = None;
        }
    }
}

/// Two pushers that obtain a large window, and never answer a recall.
pub(super) fn no_skip(flood: &mut Flood) {
    let mut links: Vec<Credit> = Vec::new();
    let mut beats = 0;
    while flood.beat() {
        if links.len() < 2 {
            links.extend(Credit::open(flood, false));
        }
        beats += 1;
        let plain = flood.plain;
        // Send for half a second, and then nothing.
        let earns = beats < 500;
        links.retain_mut(|credit| {
            let mut one = || {
                if credit.may_send(plain)? && earns {
                    let room = if plain { 200 } else { (credit.limit - credit.next).min(200) };
                    credit.deliver((0..room).map(|_| message(vec![7; 16])).collect())?;
                }
                Some(())
            };
            one().is_some()
        });
    }
}

/// Sends messages of one byte in frames with 60,000 bytes of unknown fields.
pub(super) fn junk(flood: &mut Flood) {
    let field = |key: &[u8], content: &[u8]| {
        let mut length = Vec::new();
        prost::encoding::encode_varint(content.len() as u64, &mut length);
        [key, &length, content].concat()
    };
    let unknown = b"\x78\x01".repeat(30_000);
    let mut link: Option<Credit> = None;
    while flood.beat() {
        if link.is_none() {
            link = Credit::open(flood, true);
        }
        let Some(credit) = &mut link else { continue };
        let plain = flood.plain;
        let sent = credit.may_send(plain).and_then(|may| {
            if may {
                let mut head = vec![0x08];
                prost::encoding::encode_varint(credit.next, &mut head);
                let body = field(b"\x1a", &[&unknown[..], b"\x2a\x01x"].concat());
                credit.next += 1;
                credit.bytes += 1;
                credit.raw.write(&framed(&field(b"\x12", &[head, body].concat()))).ok()?;
            }
            Some(())
        });
        if sent.is_none() {
            link = None;
        }
    }
}
