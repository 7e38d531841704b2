//! Machines connected in memory, without I/O and under a virtual clock.

use std::time::Duration;

use tidegate_proto::{LinkId, Machine, Puller, Pusher, Received, Role, Time, Verdict, Violation, Window};

use crate::{LinkDriver, conserved, peer, puller, pusher, text};

/// A connection between a pusher and a puller.
#[derive(Debug)]
pub struct Wire {
    /// The index of the pusher.
    pub push: usize,
    /// The index of the puller.
    pub pull: usize,
    push_end: LinkDriver,
    pull_end: LinkDriver,
    /// No bytes are carried, and neither machine is driven.
    pub hung: bool,
    /// The pusher cannot write.
    pub stuck: bool,
    /// Whether the connection exists.
    pub open: bool,
}

/// Pushers, pullers, and the wires between them. Invariants are checked after every step.
#[derive(Debug, Default)]
pub struct World {
    /// The virtual time.
    pub now: Time,
    /// The pushers.
    pub pushers: Vec<Pusher>,
    /// The pullers.
    pub pullers: Vec<Puller>,
    /// All wires, including those that are no longer open.
    pub wires: Vec<Wire>,
}

impl World {
    /// A world without wires, at time 0.
    #[must_use]
    pub fn new(pushers: Vec<Pusher>, pullers: Vec<Puller>) -> Self {
        Self { pushers, pullers, ..Self::default() }
    }

    /// A pusher and two pullers. The first puller has a wire and this window, and the messages "0", "1", … are in
    /// flight on it. Returns the wire, too.
    #[must_use]
    pub fn in_flight(messages: usize, window: u64) -> (Self, usize) {
        let pullers = vec![puller(|s| s.window = Window::messages(window)), puller(|_| ())];
        let mut world = Self::new(vec![pusher(|_| ())], pullers);
        let wire = world.join(0, 0);
        world.settle();
        for number in 0..messages {
            world.send(0, &number.to_string());
        }
        (world, wire)
    }

    /// Opens a wire. A peer that had one before is recognized.
    pub fn join(&mut self, push: usize, pull: usize) -> usize {
        self.join_by(push, pull, None).unwrap()
    }

    /// Opens a wire on which the puller is the connector, with this slot and generation.
    ///
    /// # Errors
    /// The pusher refuses the link.
    pub fn join_as(&mut self, push: usize, pull: usize, slot: (u64, u64)) -> Result<usize, Violation> {
        self.join_by(push, pull, Some(slot))
    }

    fn join_by(&mut self, push: usize, pull: usize, slot: Option<(u64, u64)>) -> Result<usize, Violation> {
        let now = self.now;
        let push_link = self.pushers[push].open(now, peer(Role::Puller, 100 + pull as u8, slot))?;
        let pull_link = self.pullers[pull].open(now, peer(Role::Pusher, push as u8, None)).unwrap();
        let push_end = LinkDriver::new(push_link, self.pushers[push].frame_limit());
        let pull_end = LinkDriver::new(pull_link, self.pullers[pull].frame_limit());
        self.wires.push(Wire { push, pull, push_end, pull_end, hung: false, stuck: false, open: true });
        Ok(self.wires.len() - 1)
    }

    /// The pusher's link of a wire.
    #[must_use]
    pub fn push_link(&self, wire: usize) -> LinkId {
        self.wires[wire].push_end.link
    }

    /// The puller's link of a wire.
    #[must_use]
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
        let (pusher, puller) = (&mut self.pushers[wire.push], &mut self.pullers[wire.pull]);
        let (push_end, pull_end) = (&mut wire.push_end, &mut wire.pull_end);
        let mut moved = push_end.read(pusher, now, usize::MAX);
        moved |= push_end.write(pusher, now, pull_end, if wire.stuck { 0 } else { usize::MAX });
        moved |= pull_end.read(puller, now, usize::MAX);
        moved |= pull_end.write(puller, now, push_end, usize::MAX);
        let done = (pusher.is_finished(now, push_end.link), puller.is_finished(now, pull_end.link));
        if done.0 && done.1 || (done.0 || done.1) && !moved {
            wire.open = false;
            pusher.handle_link_lost(now, push_end.link, "gone");
            puller.handle_link_lost(now, pull_end.link, "gone");
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
            wire.push_end.tick(&mut self.pushers[wire.push], now);
            wire.pull_end.tick(&mut self.pullers[wire.pull], now);
        }
    }

    /// Checks conservation of messages and the bounds, on both sides.
    pub fn check(&self) {
        for pusher in &self.pushers {
            let s = pusher.stats();
            conserved::assert_pusher(&s);
            let flying: u64 = pusher.link_stats().iter().map(|link| link.in_flight).sum();
            assert_eq!(s.in_flight, flying, "in flight, by links: {s:?}");
        }
        for puller in &self.pullers {
            let s = puller.stats();
            conserved::assert_puller(&s);
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

    /// Sends a message for which there is room.
    pub fn send(&mut self, push: usize, payload: &str) {
        self.pushers[push].send(payload.to_owned().into(), false).unwrap();
        self.settle();
    }

    /// Takes the next delivery of a puller.
    pub fn recv(&mut self, pull: usize) -> Option<Received> {
        let received = self.pullers[pull].recv();
        self.settle();
        received
    }

    /// Gives a delivery its outcome.
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
