//! The driver's side of a link: reads what the machine writes as a peer would, and advances time from deadline to
//! deadline.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tidegate_proto::{
    LinkId, Machine, Peer, PeerKey, PollBudget, Role, Time,
    wire::{self, Body, FrameReader, MAX_CONTROL_FRAME, v1},
};
use tidegate_testkit::frames;

use super::Input;

/// How long the machines in the fuzzer wait for the answer to Close.
pub(super) const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// One link of a machine.
pub(super) struct Tap {
    pub(super) id: LinkId,
    max_message: u64,
    /// The peer's output, as the machine's driver reads it.
    incoming: FrameReader,
    /// The largest `Deliver` that the machine must read.
    limit: usize,
    /// The part of a frame that the peer has sent.
    begun: BytesMut,
    /// Bytes that the machine has produced and the driver has not reported as written.
    pub(super) unwritten: usize,
    /// The driver has reported a failed write, so nothing more is written.
    pub(super) failed: bool,
    /// The peer does not read, so written bytes wait.
    pub(super) stuck: bool,
    /// The peer sends nothing more: its stream cannot be read any further.
    pub(super) unreadable: bool,
    /// When the machine learned that the link ends.
    pub(super) ending: Option<Time>,
    pub(super) said_close: bool,
    pub(super) pings: usize,
    pongs: usize,
}

impl Tap {
    /// `max_message` limits the messages that the machine may send, `limit` the frames that it must read.
    pub(super) fn new(id: LinkId, max_message: u64, limit: usize) -> Self {
        let mut incoming = FrameReader::new();
        incoming.open(limit);
        Self {
            id,
            max_message,
            incoming,
            limit,
            begun: BytesMut::new(),
            unwritten: 0,
            failed: false,
            stuck: false,
            unreadable: false,
            ending: None,
            said_close: false,
            pings: 0,
            pongs: 0,
        }
    }

    /// Writes the machine's next frames, and returns them. While earlier bytes are unwritten a driver does not ask for
    /// more, so there are none.
    pub(super) fn transmit<M: Machine>(&mut self, machine: &mut M, now: Time) -> Vec<Body> {
        if self.unwritten > 0 || self.failed {
            return Vec::new();
        }
        let (frames, size) = frames::unwritten(machine, now, self.id);
        self.unwritten = size;
        let bodies: Vec<Body> = frames.into_iter().map(|frame| self.decoded(frame)).collect();
        for body in &bodies {
            self.sent(body, machine.role(), now);
        }
        bodies
    }

    fn decoded(&self, frame: Bytes) -> Body {
        let limit = wire::deliver_limit(self.max_message);
        assert!(has_legal_length(&frame, limit), "FR-2, FR-3: a frame of {} bytes", frame.len());
        wire::decode(frame, self.max_message).expect("the machine writes valid frames")
    }

    /// Checks the rules for both roles (SPEC.md §10, LV-4, ST-4).
    fn sent(&mut self, body: &Body, role: Role, now: Time) {
        assert!(!self.said_close, "{body:?} after Close");
        match body {
            Body::Pong(_) => {
                self.pongs += 1;
                assert!(self.pongs <= self.pings, "LV-4: more Pongs than Pings");
            }
            Body::Close(_) => {
                self.said_close = true;
                self.ending.get_or_insert(now);
            }
            Body::Ping(_) => {}
            Body::Deliver(_) | Body::Skip(_) | Body::End => assert_eq!(role, Role::Pusher, "{body:?}"),
            Body::Ack(_) | Body::Working(_) => assert_eq!(role, Role::Puller, "{body:?}"),
            Body::Hello(_) | Body::Unknown => panic!("{body:?} on an open link"),
        }
    }

    /// Reports bytes as written.
    pub(super) fn write<M: Machine>(&mut self, machine: &mut M, now: Time, bytes: usize) {
        let bytes = bytes.min(self.unwritten);
        if bytes > 0 && !self.failed {
            self.unwritten -= bytes;
            machine.handle_written(now, self.id, bytes);
            assert_eq!(machine.is_idle(self.id), self.unwritten == 0);
        }
    }

    /// Records a frame that the machine is about to receive, for rules that hold for both roles.
    pub(super) fn receives(&mut self, frame: &Bytes, now: Time) -> Option<Body> {
        let body = wire::decode(frame.clone(), self.max_message).ok()?;
        match body {
            Body::Ping(_) => self.pings += 1,
            Body::Close(_) => {
                self.ending.get_or_insert(now);
            }
            _ => {}
        }
        Some(body)
    }

    /// Adds bytes to the peer's stream, at most up to the end of a frame. Returns the frame, if they complete one, and
    /// leaves the other bytes in `bytes`.
    pub(super) fn next_piece<'a>(&mut self, bytes: &mut &'a [u8]) -> (&'a [u8], Option<Bytes>) {
        let length =
            |begun: &[u8]| begun.first_chunk().map_or(0, |head: &[u8; 4]| u32::from_be_bytes(*head) as usize);
        let begun = self.begun.len();
        let missing = if begun < 4 { 4 - begun } else { 4 + length(&self.begun) - begun };
        let (piece, rest) = bytes.split_at(missing.min(bytes.len()));
        *bytes = rest;
        self.begun.extend_from_slice(piece);
        let is_whole = self.begun.len() >= 4
            && self.begun.len() == 4 + length(&self.begun)
            && has_legal_length(&self.begun[4..], self.limit);
        (piece, is_whole.then(|| self.begun.split().freeze().slice(4..)))
    }

    /// Feeds a piece of the peer's stream to the machine, as its driver would.
    pub(super) fn feed<M: Machine>(&mut self, machine: &mut M, now: Time, piece: &[u8]) {
        self.incoming.buffer().extend_from_slice(piece);
        machine.feed(now, self.id, &mut self.incoming, &mut PollBudget::unlimited());
        // After a violation, the reader drops the frame that has begun.
        self.unreadable |= self.incoming.progress().partial != self.begun.len();
    }

    /// Whether the link is over. ST-4: no machine waits longer than `CLOSE_WAIT` for a Close.
    pub(super) fn is_over<M: Machine>(&self, machine: &M, now: Time) -> bool {
        let finished = machine.is_finished(now, self.id);
        if let Some(since) = self.ending {
            let (said, heard) = (self.said_close || self.failed, now >= since + CLOSE_WAIT);
            assert!(finished || !heard || !said, "ST-4: a link that ends is over in close_wait");
        }
        finished
    }
}

/// FR-2, FR-3.
fn has_legal_length(frame: &[u8], deliver_limit: usize) -> bool {
    let is_batch = frame.first() == Some(&0x12);
    (1..=if is_batch { deliver_limit } else { MAX_CONTROL_FRAME }).contains(&frame.len())
}

/// The next time at which the driver must call.
pub(super) fn deadline<M: Machine>(machine: &M, taps: &[Tap]) -> Option<Time> {
    taps.iter().filter_map(|tap| machine.poll_timeout(tap.id)).chain(machine.poll_socket_timeout()).min()
}

/// Calls the machine for every deadline that has passed.
pub(super) fn advance<M: Machine>(machine: &mut M, taps: &[Tap], now: Time) {
    if machine.poll_socket_timeout().is_some_and(|at| at <= now) {
        machine.handle_socket_timeout(now);
    }
    for tap in taps {
        if machine.poll_timeout(tap.id).is_some_and(|at| at <= now) {
            machine.handle_timeout(now, tap.id, tap.incoming.progress());
        }
    }
}

/// Takes the wakes and returns whether there were any. The caller polls every link anyway.
pub(super) fn wakes<M: Machine>(machine: &mut M) -> bool {
    let mut wakes = Vec::new();
    machine.poll_ready_links(&mut wakes);
    assert!(!machine.has_ready_links());
    !wakes.is_empty()
}

/// A duration: usually short, sometimes longer than any time-out.
pub(super) fn time(input: &mut Input<'_>) -> Duration {
    match input.byte() {
        short @ 0..=0x7f => Duration::from_micros(u64::from(short) * 100),
        long @ 0x80..=0xef => Duration::from_millis(u64::from(long - 0x80) * 50),
        minutes => Duration::from_secs(u64::from(minutes - 0xef) * 20),
    }
}

/// A peer that a handshake could produce.
pub(super) fn peer(input: &mut Input<'_>, role: Role, max_message: u64) -> Peer {
    let (who, heartbeat) = (input.byte(), input.below(3));
    let slot = (who & 0x40 == 0).then(|| (u64::from(who >> 4 & 1), input.number().max(1)));
    let key = u128::from(who % 3) << 8 | u128::from(slot.map_or(0, |(slot, _)| slot + 1));
    Peer {
        max_message,
        heartbeat: [Duration::from_secs(2), Duration::from_millis(100), Duration::from_secs(60)][heartbeat],
        // Some peers send nothing that identifies them when they reconnect.
        key: (who & 0x80 == 0).then_some(PeerKey::new(key)),
        ..tidegate_testkit::peer(role, who % 3, slot)
    }
}

/// One of the links, if there are any.
pub(super) fn pick<'a>(taps: &'a mut [Tap], input: &mut Input<'_>) -> Option<&'a mut Tap> {
    let which = input.byte();
    let count = taps.len();
    (count > 0).then(|| &mut taps[usize::from(which) % count])
}

/// A frame of any type except the role's main one.
pub(super) fn other(input: &mut Input<'_>) -> Bytes {
    use v1::frame::Body as Wire;
    let body = match input.below(13) {
        0..=2 => Wire::Ping(v1::Ping { data: input.number() }),
        3 | 4 => Wire::Pong(v1::Pong { data: input.number() }),
        5 => Wire::Skip(v1::Skip { next_id: input.number(), bytes: input.number() }),
        6 => Wire::Hello(v1::Hello::default()),
        7 => Wire::Ack(v1::Ack { message_limit: input.number(), ..v1::Ack::default() }),
        8 => Wire::End(v1::End {}),
        9 => Wire::Deliver(v1::Deliver { messages: vec![v1::Message::default()], ..v1::Deliver::default() }),
        10 => Wire::Close(v1::Close {
            code: input.number() as i32,
            reason: input.text(255) + &"r".repeat(input.below(256)),
            retry_after_ms: input.number() as u32,
        }),
        11 => {
            Wire::Working(v1::Working { deliveries: (0..input.below(5)).map(|_| input.number()).collect() })
        }
        _ => return Bytes::copy_from_slice(input.some(64)),
    };
    wire::encode(body).slice(4..)
}
