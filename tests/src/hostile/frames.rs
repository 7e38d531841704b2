//! Attacks by frames sent, or not sent, after the handshake.

use std::io;

use bytes::BytesMut;
use tidegate_proto::wire::{
    self, Body,
    v1::{self, Verdict, frame::Body as Frame},
};

use super::{
    flood::{BEAT, BYTES, ENDLESS, Flood, is_open},
    raw::{Raw, ack, deliver, framed, outcome, unknown},
};

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
    // 8 MiB of a frame whose length is 16 MiB; 400 links would make a puller hold 3.2 GiB.
    let mut begun = BytesMut::from(&(16u32 << 20).to_be_bytes()[..]);
    begun.extend_from_slice(b"\x12\xfc\xff\xff\x07");
    begun.resize(8 << 20, 0);
    let mut held: Vec<Raw> = Vec::new();
    // How much of the frame the newest link has sent.
    let mut at = 0;
    let mut beats: u64 = 0;
    while flood.beat() {
        if held.is_empty() || (at == begun.len() && held.len() < 400) {
            at = 0;
            let hello = flood.hello();
            held.extend(flood.link(hello).filter(|raw| raw.socket().set_nonblocking(true).is_ok()));
        }
        let Some(last) = held.last() else { continue };
        let part = &begun[at..begun.len().min(at + BYTES)];
        match io::Write::write(&mut last.socket(), part) {
            Ok(count) => {
                at += count;
                flood.bytes += count as u64;
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
            // No puller grants this many messages.
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
                    // Answer the recall, because otherwise the puller would grant nothing more (RC-2).
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
        let bytes: Vec<u8> = (next..to).flat_map(|id| wire::encode(deliver(id, &[b""]))).collect();
        next = to;
        if let Some(raw) = &mut link
            && raw.write(&bytes).is_err()
        {
            link = None;
        }
    }
}

pub(super) fn grants(flood: &mut Flood) {
    flood.stream(b"", &wire::encode(ack(Vec::new(), (0, 0))));
}

pub(super) fn ranges(flood: &mut Flood) {
    // The first outcome settles delivery 0; all others are repetitions.
    let full = ack(vec![outcome(0, 1, Verdict::Ack); 6_000], (1, 1 << 20));
    let mut link: Option<Raw> = None;
    let bytes = wire::encode(full);
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
            flood.bytes += bytes.len() as u64;
            if raw.write(&bytes).is_err() {
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
