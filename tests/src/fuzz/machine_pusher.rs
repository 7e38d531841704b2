//! A pusher against pullers that send anything, an application that calls anything, and a network that fails.

use std::time::Duration;

use bytes::Bytes;
use tidegate_proto::{
    InstanceId, LinkId, Machine, Message, Peer, PeerKey, Pusher, PusherSettings, Role, Rule, Time,
    wire::{self, v1},
};

use super::{
    Input,
    drive::{self, CLOSE_WAIT, Tap, pick},
    pusher_model::{Account, Model},
};

/// Links in one run: enough for taking turns, replacements and the limit on links.
const MAX_LINKS: usize = 24;

struct Run {
    pusher: Pusher,
    settings: PusherSettings,
    now: Time,
    taps: Vec<Tap>,
    model: Model,
    /// The links that can be replaced (HS-9).
    slots: Vec<(PeerKey, LinkId)>,
    reserved: Vec<u64>,
    opened: usize,
    aborted: bool,
}

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let settings = settings(&mut input);
    let mut run = Run {
        pusher: Pusher::new(settings.clone(), InstanceId([9; 16]), 1).expect("the settings are valid"),
        settings,
        now: Time(1_000_000),
        taps: Vec::new(),
        model: Model::default(),
        slots: Vec::new(),
        reserved: Vec::new(),
        opened: 0,
        aborted: false,
    };
    if input.bool() {
        run.pusher.keep_rejected();
    }
    run.open(&mut input);
    while !input.is_empty() {
        run.step(&mut input);
        run.model.check(&run.pusher, &run.settings);
    }
    run.come_to_rest();
}

fn settings(input: &mut Input<'_>) -> PusherSettings {
    let mut s = PusherSettings::default();
    s.high_water_mark = input.below(20);
    s.high_water_mark_bytes = 1 + u64::from(input.short());
    s.max_held = 1 + input.below(60);
    s.max_held_bytes = 1 + u64::from(input.short()) * 8;
    s.max_in_flight = 1 + input.below(30);
    s.max_in_flight_bytes = 1 + u64::from(input.short()) * 4;
    s.max_unwritten = 1 + usize::from(input.short());
    s.max_message = 1 + u64::from(input.short());
    s.max_attempts = Some(input.below(6) as u32).filter(|most| *most > 0);
    s.max_links = 1 + input.below(5);
    s.grace = Duration::from_millis(u64::from(input.byte()) * 20);
    s.close_wait = CLOSE_WAIT;
    s
}

impl Run {
    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(20) {
            0 => self.open(input),
            1..=3 => self.send(input),
            4..=7 => self.receive(input, ack),
            8 => self.receive(input, |input, _| drive::other(input)),
            9 => self.stream(input),
            10..=12 => self.transmit(input, usize::MAX),
            13 => {
                let bytes = usize::from(input.short());
                self.transmit(input, bytes);
            }
            14 => {
                let time = drive::time(input);
                self.pass(time);
            }
            15 => self.lose(input),
            16 => self.reserve(input),
            17 => match input.byte() {
                0..=0xbf => while self.pusher.take_rejected().is_some() {},
                0xc0..=0xef => self.pusher.drain(self.now, input.bool()),
                _ => self.abort(),
            },
            18 => match pick(&mut self.taps, input) {
                Some(tap) if input.bool() => self.pusher.handle_bytes(tap.id),
                Some(tap) => self.pusher.handle_would_block(tap.id),
                None => {}
            },
            _ => while self.pusher.poll_event().is_some() {},
        }
        drive::wakes(&mut self.pusher);
    }

    fn open(&mut self, input: &mut Input<'_>) {
        if self.opened < MAX_LINKS {
            let peer = drive::peer(input, Role::Puller, self.settings.max_message);
            self.admit(peer);
        }
    }

    fn admit(&mut self, peer: Peer) {
        let slot = peer.key.filter(|_| peer.generation.is_some());
        let Ok(id) = self.pusher.open(self.now, peer) else { return };
        self.opened += 1;
        if let Some(slot) = slot {
            for (_, older) in self.slots.extract_if(.., |(here, _)| *here == slot) {
                self.model.emptied(older); // HS-9: replaced
                if let Some(tap) = self.taps.iter_mut().find(|tap| tap.id == older) {
                    tap.ending.get_or_insert(self.now);
                }
            }
            self.slots.push((slot, id));
        }
        self.taps.push(Tap::new(id, self.settings.max_message, self.pusher.frame_limit()));
        self.model.links.insert(id, Account::default());
    }

    fn send(&mut self, input: &mut Input<'_>) {
        let mut message = Message::new(input.payload());
        let mut promised = false;
        let accepted = match input.below(5) {
            0 => self.pusher.try_send_fast(message.payload()).map(|accepted| (accepted, message)),
            1 => {
                let taken = match self.reserved.last() {
                    Some(size) => self.pusher.try_send_reserved_fast(message.payload(), *size),
                    None => self.pusher.try_send_fast(message.payload()),
                };
                promised = taken.is_some() && self.reserved.pop().is_some();
                taken.map(|accepted| (accepted, message))
            }
            way => {
                if way == 4 {
                    message = message.with_header(input.text(30), input.payload());
                }
                let reserved = !self.reserved.is_empty() && input.bool();
                let tracked = input.bool();
                let sent = if reserved {
                    let size = self.reserved.pop().unwrap_or_default();
                    promised = true;
                    self.pusher.send_reserved(message.clone(), tracked, size)
                } else {
                    self.pusher.send(message.clone(), tracked)
                };
                match sent {
                    Ok(accepted) => Some((accepted, message)),
                    Err(refused) => {
                        assert_eq!(refused.message, message, "a refused message is returned");
                        None
                    }
                }
            }
        };
        if let Some((accepted, message)) = accepted {
            assert_eq!(accepted.size, message.size(), "{}", Rule::Cr4);
            assert!(message.check(self.settings.max_message).is_ok(), "DL-4, DL-5");
            self.model.accepted(accepted.number, message, promised);
        }
    }

    fn reserve(&mut self, input: &mut Input<'_>) {
        if input.bool()
            && let Some(size) = self.reserved.pop()
        {
            self.pusher.unreserve(size);
            return;
        }
        let size = input.below(3) as u64 * 100;
        if self.pusher.reserve(size).is_ok() {
            self.reserved.push(size);
        }
    }

    fn receive(&mut self, input: &mut Input<'_>, make: fn(&mut Input<'_>, &Account) -> Bytes) {
        let Some(tap) = pick(&mut self.taps, input) else { return };
        let id = tap.id;
        let frame = make(input, &self.model.links[&id]);
        self.give(id, frame);
    }

    fn give(&mut self, id: LinkId, frame: Bytes) {
        if self.may_arrive(id, &frame) {
            self.pusher.handle_bytes(id);
            self.pusher.handle_frame(self.now, id, frame);
        }
    }

    /// The link with this id, if its peer can still send.
    fn readable(&mut self, id: LinkId) -> Option<&mut Tap> {
        self.taps.iter_mut().find(|tap| tap.id == id && !tap.unreadable)
    }

    /// Records a frame that is about to arrive. Returns false if the peer does not send it.
    fn may_arrive(&mut self, id: LinkId, frame: &Bytes) -> bool {
        let now = self.now;
        let Some(tap) = self.readable(id) else { return false };
        let Some(body) = tap.receives(frame, now) else { return true };
        if !self.model.may_receive(id, &body) {
            return false;
        }
        if self.pusher.link_stats().iter().any(|link| link.link == id.as_u64() && link.in_flight == 0) {
            self.model.nothing_in_flight(id);
        }
        self.model.receives(id, &body);
        true
    }

    /// Bytes arrive, as a part of a stream.
    fn stream(&mut self, input: &mut Input<'_>) {
        let Some(tap) = pick(&mut self.taps, input) else { return };
        if tap.unreadable {
            return;
        }
        let (id, mut bytes) = (tap.id, input.some(80));
        while !bytes.is_empty() {
            let Some(tap) = self.readable(id) else { return };
            let (piece, frame) = tap.next_piece(&mut bytes);
            let arrives = frame.is_none_or(|frame| self.may_arrive(id, &frame));
            let Some(tap) = self.taps.iter_mut().find(|tap| tap.id == id) else { return };
            if arrives {
                tap.feed(&mut self.pusher, self.now, piece);
            } else {
                tap.unreadable = true;
            }
        }
    }

    fn transmit(&mut self, input: &mut Input<'_>, bytes: usize) {
        if let Some(tap) = pick(&mut self.taps, input) {
            tap.stuck = bytes < usize::MAX;
            let sent = tap.transmit(&mut self.pusher, self.now);
            self.model.sent(tap.id, &sent);
            tap.write(&mut self.pusher, self.now, bytes);
        }
    }

    /// Runs every driver once and removes finished links.
    fn turn(&mut self) {
        let now = self.now;
        for round in 0.. {
            assert!(round < 1_000, "the machine never stops waking its drivers");
            for tap in self.taps.iter_mut().filter(|tap| !tap.stuck) {
                tap.write(&mut self.pusher, now, usize::MAX);
                let sent = tap.transmit(&mut self.pusher, now);
                self.model.sent(tap.id, &sent);
                tap.write(&mut self.pusher, now, usize::MAX);
            }
            if !drive::wakes(&mut self.pusher) {
                break;
            }
        }
        let over: Vec<Tap> = self.taps.extract_if(.., |tap| tap.is_over(&self.pusher, now)).collect();
        for tap in over {
            self.model.emptied(tap.id);
            self.slots.retain(|(_, id)| *id != tap.id);
            self.pusher.handle_link_lost(now, tap.id, "over");
        }
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        let mut here = 0;
        self.turn();
        while let Some(next) = drive::deadline(&self.pusher, &self.taps).filter(|at| *at <= until) {
            here = if next <= self.now { here + 1 } else { 0 };
            assert!(here < 100, "a deadline in the past makes the driver spin");
            self.now = self.now.max(next);
            drive::advance(&mut self.pusher, &self.taps, self.now);
            self.turn();
            self.model.check(&self.pusher, &self.settings);
        }
        self.now = until;
    }

    fn lose(&mut self, input: &mut Input<'_>) {
        let failed = input.bool();
        let Some(tap) = pick(&mut self.taps, input) else { return };
        let id = tap.id;
        if failed {
            tap.failed = true;
            tap.ending.get_or_insert(self.now);
            return self.pusher.handle_write_error(self.now, id, "reset");
        }
        self.taps.retain(|tap| tap.id != id);
        self.slots.retain(|(_, link)| *link != id);
        self.model.emptied(id);
        assert!(self.pusher.handle_link_lost(self.now, id, "cut").is_some());
    }

    fn abort(&mut self) {
        let before = self.pusher.stats();
        let left = self.pusher.abort(self.now);
        let taken = (left.unsent.len() + left.unacked.len()) as u64;
        assert_eq!(taken, before.queued + before.in_flight, "ST-8: messages without an outcome are returned");
        self.aborted = true;
        self.taps.iter().for_each(|tap| self.model.emptied(tap.id));
        let now = self.now;
        for tap in &mut self.taps {
            tap.ending.get_or_insert(now);
        }
    }

    /// Loses every link and connects an honest puller; then each message must get its outcome.
    fn come_to_rest(mut self) {
        self.pass(2 * CLOSE_WAIT);
        for tap in std::mem::take(&mut self.taps) {
            self.model.emptied(tap.id);
            self.pusher.handle_link_lost(self.now, tap.id, "cut");
        }
        self.pusher.drain(self.now, true);
        // A nack may have asked for a delay of five minutes (OC-6).
        for _ in 0..400 {
            while self.pusher.take_rejected().is_some() {}
            if self.pusher.is_done() || self.aborted {
                break;
            }
            if self.taps.is_empty() {
                let peer = drive::peer(&mut Input::new(&[0x40]), Role::Puller, self.settings.max_message);
                self.admit(peer);
            }
            let id = self.taps[0].id;
            let honest = honest(&self.model.links[&id]);
            self.give(id, honest);
            self.pass(Duration::from_secs(1));
        }
        let s = self.pusher.stats();
        assert!(self.pusher.is_done() || self.aborted, "messages stay without an outcome: {s:?}");
        assert_eq!(s.accepted, s.acked + s.rejected + s.aborted, "nothing is lost: {s:?}");
        self.pass(2 * CLOSE_WAIT);
        assert!(self.aborted || self.pusher.link_count() == 0, "ST-4: every link is over");
    }
}

/// Acks everything and grants more.
fn honest(account: &Account) -> Bytes {
    let outcome = |id: u64| v1::Outcome { first: id, count: 1, verdict: 1, ..v1::Outcome::default() };
    wire::encode(v1::frame::Body::Ack(v1::Ack {
        outcomes: account.flight.keys().map(|id| outcome(*id)).collect(),
        message_limit: account.next_id.saturating_add(10),
        byte_limit: account.bytes.saturating_add(100_000),
        ..v1::Ack::default()
    }))
    .slice(4..)
}

/// An Ack for deliveries in flight, not always correct.
fn ack(input: &mut Input<'_>, account: &Account) -> Bytes {
    let outcome = |input: &mut Input<'_>| {
        let first = match account.flight.keys().nth(input.below(8)) {
            Some(id) => *id,
            None => input.near(account.next_id.saturating_sub(1)),
        };
        let count = input.byte();
        v1::Outcome {
            first,
            count: if count < 0xf0 { 1 + u64::from(count) / 64 } else { input.number() },
            verdict: match input.byte() {
                verdict @ 0..=0xf7 => 1 + i32::from(verdict % 4),
                _ => input.number() as i32,
            },
            delay_ms: if input.bool() { input.number() as u32 } else { 0 },
            reason: input.text(12),
        }
    };
    let flags = input.byte();
    let outcomes = (0..usize::from(flags & 7)).map(|_| outcome(input)).collect();
    let limits = match flags >> 3 & 7 {
        0 => (input.number(), input.number()),
        1 => (wire::MAX_COUNTER, wire::MAX_COUNTER),
        _ => {
            let (ids, bytes) = (u64::from(input.byte() / 16), u64::from(input.short()));
            (account.next_id.saturating_add(ids), account.bytes.saturating_add(bytes))
        }
    };
    let ack = v1::Ack {
        outcomes,
        message_limit: limits.0,
        byte_limit: limits.1,
        recall: flags >= 0xe0,
        leaving: flags >= 0xf8,
    };
    wire::encode(v1::frame::Body::Ack(ack)).slice(4..)
}
