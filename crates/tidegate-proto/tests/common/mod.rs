//! A world of machines connected in memory, without I/O and under a virtual clock. Invariants are checked after every
//! step.

#![allow(dead_code, unreachable_pub)] // each test file uses its part

use std::{collections::VecDeque, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use tidegate_proto::{
    InstanceId, LinkId, Machine, Peer, PeerKey, PollBudget, Puller, PullerSettings, Pusher, PusherSettings,
    Received, Role, Time, Verdict,
    wire::{self, Body, FrameReader, v1},
};

pub const SECOND: Duration = Duration::from_secs(1);

pub fn pusher(change: impl FnOnce(&mut PusherSettings)) -> Pusher {
    let mut settings = PusherSettings::default();
    change(&mut settings);
    Pusher::new(settings, InstanceId([7; 16]), 1).unwrap()
}

pub fn puller(change: impl FnOnce(&mut PullerSettings)) -> Puller {
    let mut settings = PullerSettings::default();
    change(&mut settings);
    Puller::new(settings).unwrap()
}

/// A peer, as a handshake would return it. `slot`: the slot and the generation of a connector; without it, its links
/// are never replaced.
pub fn peer(role: Role, instance: u8, slot: Option<(u64, u64)>) -> Peer {
    Peer {
        role,
        instance: InstanceId([instance; 16]),
        name: format!("peer {instance}"),
        address: "test".into(),
        names: Vec::new(),
        pipeline: String::new(),
        max_message: 16 << 20,
        heartbeat: 2 * SECOND,
        generation: slot.map(|(_, generation)| generation),
        resume: None,
        key: Some(PeerKey::new(
            u128::from(instance) << 64 | slot.map_or(0, |(slot, _)| u128::from(slot) + 1),
        )),
    }
}

/// The bytes of a frame without its length prefix.
pub fn frame(body: v1::frame::Body) -> Bytes {
    wire::encode(body).slice(4..)
}

pub fn ack(outcomes: Vec<v1::Outcome>, message_limit: u64, byte_limit: u64) -> Bytes {
    frame(v1::frame::Body::Ack(v1::Ack {
        outcomes,
        message_limit,
        byte_limit,
        recall: false,
        leaving: false,
    }))
}

pub fn outcome(first: u64, count: u64, verdict: v1::Verdict) -> v1::Outcome {
    v1::Outcome { first, count, verdict: verdict.into(), delay_ms: 0, reason: String::new() }
}

pub fn deliver(first_id: u64, payloads: &[&str]) -> Bytes {
    let message =
        |p: &&str| v1::Message { payload: Bytes::copy_from_slice(p.as_bytes()), ..Default::default() };
    let messages = payloads.iter().map(message).collect();
    frame(v1::frame::Body::Deliver(v1::Deliver { first_id, first_number: first_id, messages }))
}

/// The frames that a machine sends on a link now. All of them count as written.
pub fn sent<M: Machine>(machine: &mut M, now: Time, link: LinkId) -> Vec<Body> {
    let mut out = VecDeque::new();
    machine.poll_transmit(now, link, &mut out);
    let bytes: usize = out.iter().map(Bytes::len).sum();
    machine.handle_written(now, link, bytes);
    let mut all: BytesMut = out.into_iter().flatten().collect();
    let mut bodies = Vec::new();
    while !all.is_empty() {
        let length = all.get_u32() as usize;
        bodies.push(wire::decode(all.split_to(length).freeze(), 1 << 30).unwrap());
    }
    bodies
}

/// The `Close` that a machine sends on a link now, if any.
pub fn close_of<M: Machine>(machine: &mut M, now: Time, link: LinkId) -> Option<v1::Close> {
    sent(machine, now, link).into_iter().find_map(|body| match body {
        Body::Close(close) => Some(close),
        _ => None,
    })
}

/// One end of a wire.
struct WireEnd {
    link: LinkId,
    reader: FrameReader,
    /// Bytes on their way to the other end.
    out: VecDeque<u8>,
    /// Bytes from the machine that are not yet written.
    pending: VecDeque<Bytes>,
}

pub struct Wire {
    pub push: usize,
    pub pull: usize,
    push_end: WireEnd,
    pull_end: WireEnd,
    /// No bytes are carried, and neither machine is driven.
    pub hung: bool,
    /// The pusher cannot write.
    pub stuck: bool,
    pub open: bool,
}

/// Pushers, pullers, and the wires between them.
#[derive(Default)]
pub struct World {
    pub now: Time,
    pub pushers: Vec<Pusher>,
    pub pullers: Vec<Puller>,
    pub wires: Vec<Wire>,
}

impl World {
    pub fn new(pushers: Vec<Pusher>, pullers: Vec<Puller>) -> Self {
        Self { pushers, pullers, ..Self::default() }
    }

    /// Opens a wire. A peer that had one before is recognized.
    pub fn join(&mut self, push: usize, pull: usize) -> usize {
        self.join_by(push, pull, None).unwrap()
    }

    /// Opens a wire on which the puller is the connector, with this slot and generation.
    pub fn join_as(
        &mut self,
        push: usize,
        pull: usize,
        slot: (u64, u64),
    ) -> Result<usize, tidegate_proto::Violation> {
        self.join_by(push, pull, Some(slot))
    }

    fn join_by(
        &mut self,
        push: usize,
        pull: usize,
        slot: Option<(u64, u64)>,
    ) -> Result<usize, tidegate_proto::Violation> {
        let now = self.now;
        let push_link = self.pushers[push].open(now, peer(Role::Puller, 100 + pull as u8, slot))?;
        let pull_link = self.pullers[pull].open(now, peer(Role::Pusher, push as u8, None)).unwrap();
        let end = |link, limit| {
            let mut reader = FrameReader::new();
            reader.open(limit);
            WireEnd { link, reader, out: VecDeque::new(), pending: VecDeque::new() }
        };
        let push_end = end(push_link, self.pushers[push].frame_limit());
        let pull_end = end(pull_link, self.pullers[pull].frame_limit());
        self.wires.push(Wire { push, pull, push_end, pull_end, hung: false, stuck: false, open: true });
        Ok(self.wires.len() - 1)
    }

    pub fn push_link(&self, wire: usize) -> LinkId {
        self.wires[wire].push_end.link
    }

    pub fn pull_link(&self, wire: usize) -> LinkId {
        self.wires[wire].pull_end.link
    }

    /// Resets the connection. The bytes on their way are lost.
    pub fn cut(&mut self, wire: usize) {
        let wire = &mut self.wires[wire];
        if std::mem::replace(&mut wire.open, false) {
            self.pushers[wire.push].handle_link_lost(self.now, wire.push_end.link, "cut");
            self.pullers[wire.pull].handle_link_lost(self.now, wire.pull_end.link, "cut");
        }
        self.check();
    }

    /// Carries bytes until there are none left, without time passing.
    pub fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 10_000, "the machines never become idle");
            let mut moved = false;
            for index in 0..self.wires.len() {
                moved |= self.carry(index);
            }
            let mut wakes = Vec::new();
            self.pushers.iter_mut().for_each(|m| m.poll_ready_links(&mut wakes));
            self.pullers.iter_mut().for_each(|m| m.poll_ready_links(&mut wakes));
            self.check();
            if !moved && wakes.is_empty() {
                return;
            }
        }
    }

    fn carry(&mut self, index: usize) -> bool {
        let wire = &mut self.wires[index];
        if !wire.open || wire.hung {
            return false;
        }
        let now = self.now;
        let pusher = &mut self.pushers[wire.push];
        let puller = &mut self.pullers[wire.pull];
        let mut moved = step(pusher, &mut wire.push_end, &mut wire.pull_end.out, now, wire.stuck);
        moved |= step(puller, &mut wire.pull_end, &mut wire.push_end.out, now, false);
        let done = (pusher.is_finished(now, wire.push_end.link), puller.is_finished(now, wire.pull_end.link));
        if done.0 && done.1 || (done.0 || done.1) && !moved {
            wire.open = false;
            pusher.handle_link_lost(now, wire.push_end.link, "gone");
            puller.handle_link_lost(now, wire.pull_end.link, "gone");
            return true;
        }
        moved
    }

    /// Lets time pass, from deadline to deadline.
    pub fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        self.settle();
        let mut here = 0;
        loop {
            let next = self.next_deadline().filter(|at| *at <= until);
            let Some(next) = next else { break };
            here = if next <= self.now { here + 1 } else { 0 };
            assert!(here < 100, "a deadline in the past would make a driver spin");
            self.now = self.now.max(next);
            self.advance();
            self.settle();
        }
        self.now = until;
    }

    fn next_deadline(&self) -> Option<Time> {
        let open = self.wires.iter().filter(|wire| wire.open && !wire.hung);
        let links = open.flat_map(|wire| {
            let push = self.pushers[wire.push].poll_timeout(wire.push_end.link);
            [push, self.pullers[wire.pull].poll_timeout(wire.pull_end.link)]
        });
        let sockets = self.pushers.iter().map(Machine::poll_socket_timeout);
        let pullers = self.pullers.iter().map(Machine::poll_socket_timeout);
        links.chain(sockets).chain(pullers).flatten().min()
    }

    fn advance(&mut self) {
        let now = self.now;
        for pusher in &mut self.pushers {
            if pusher.poll_socket_timeout().is_some_and(|at| at <= now) {
                pusher.handle_socket_timeout(now);
            }
        }
        for puller in &mut self.pullers {
            if puller.poll_socket_timeout().is_some_and(|at| at <= now) {
                puller.handle_socket_timeout(now);
            }
        }
        for wire in self.wires.iter_mut().filter(|wire| wire.open && !wire.hung) {
            tick(&mut self.pushers[wire.push], &wire.push_end, now);
            tick(&mut self.pullers[wire.pull], &wire.pull_end, now);
        }
    }

    /// Checks conservation of messages and the bounds, on both sides.
    pub fn check(&self) {
        for pusher in &self.pushers {
            let s = pusher.stats();
            assert_eq!(s.accepted, s.acked + s.rejected + s.aborted + s.in_flight + s.queued, "{s:?}");
            let flying: u64 = pusher.link_stats().iter().map(|link| link.in_flight).sum();
            assert_eq!(s.in_flight, flying, "in flight, by links: {s:?}");
        }
        for puller in &self.pullers {
            let s = puller.stats();
            let settled = s.acked + s.nacked + s.rejected + s.released + s.dropped;
            assert_eq!(s.received, settled + s.in_flight + s.queued + s.duplicates_waiting, "{s:?}");
            let links = puller.link_stats();
            let committed: u64 = links.iter().map(|link| link.credit_messages + link.unsettled).sum();
            assert_eq!(s.committed, committed, "committed, by links: {s:?}");
            assert_eq!(s.queued, links.iter().map(|link| link.queued).sum::<u64>());
            assert!(s.in_flight <= s.max_in_flight, "CR-5, the hard cap: {s:?}");
            if s.links == s.links_opened && s.overdue_recalls == 0 {
                // No link was lost, so that there is no credit for redelivered messages beyond the cap (RD-9).
                let credit: u64 =
                    links.iter().filter(|link| !link.closing).map(|link| link.credit_messages).sum();
                let places = s.in_flight + s.queued + credit;
                assert!(places <= s.max_in_flight, "CR-5: {places} places are taken: {s:?}");
            }
        }
    }

    pub fn send(&mut self, push: usize, payload: &str) {
        self.pushers[push].send(payload.to_owned().into(), false).unwrap();
        self.settle();
    }

    pub fn recv(&mut self, pull: usize) -> Option<Received> {
        let received = self.pullers[pull].recv();
        self.settle();
        received
    }

    pub fn give(&mut self, pull: usize, received: Received, verdict: &Verdict) {
        self.pullers[pull].settle(&received, verdict);
        self.settle();
    }

    /// Receives and acks all deliveries of a puller, and returns the payload and attempt of each.
    pub fn ack_all(&mut self, pull: usize) -> Vec<(String, u32)> {
        let mut all = Vec::new();
        while let Some(received) = self.recv(pull) {
            all.push((text(&received), received.attempt()));
            self.give(pull, received, &Verdict::Ack);
        }
        all
    }
}

pub fn text(received: &Received) -> String {
    String::from_utf8_lossy(received.payload()).into_owned()
}

fn step<M: Machine>(
    machine: &mut M,
    end: &mut WireEnd,
    from: &mut VecDeque<u8>,
    now: Time,
    stuck: bool,
) -> bool {
    let mut moved = false;
    if machine.wants_read(now, end.link) {
        if from.is_empty() {
            machine.handle_would_block(end.link);
        } else {
            end.reader.buffer().extend_from_slice(from.make_contiguous());
            from.clear();
            moved = true;
            machine.feed(now, end.link, &mut end.reader, &mut PollBudget::unlimited());
        }
    }
    if end.pending.is_empty() {
        machine.poll_transmit(now, end.link, &mut end.pending);
    }
    if !stuck {
        for piece in end.pending.drain(..) {
            moved = true;
            end.out.extend(&piece);
            machine.handle_written(now, end.link, piece.len());
        }
    }
    moved
}

fn tick<M: Machine>(machine: &mut M, end: &WireEnd, now: Time) {
    if machine.poll_timeout(end.link).is_some_and(|at| at <= now) {
        machine.handle_timeout(now, end.link, end.reader.progress());
    }
}
