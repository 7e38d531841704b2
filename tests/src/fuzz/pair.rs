//! A pusher and two pullers, joined by wires that stall and are cut anywhere. No message is lost, whatever the order of
//! events.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tidegate_proto::{
    InstanceId, Machine, Message, Peer, Puller, PullerSettings, Pusher, PusherSettings, Received, Role, Time,
    Verdict, Window,
};
use tidegate_testkit::{LinkDriver, conserved};

use super::Input;

const MAX_WIRES: usize = 20;
const MAX_MESSAGES: u64 = 300;
const MAX_MESSAGE_SIZE: u64 = 64 << 10;

struct Wire {
    pull: usize,
    push_end: LinkDriver,
    pull_end: LinkDriver,
    open: bool,
}

struct Run {
    now: Time,
    pusher: Pusher,
    pullers: Vec<Puller>,
    wires: Vec<Wire>,
    held: Vec<(usize, Received)>,
    sent: u64,
    /// For each message, by number: the last attempt seen, and the number of final outcomes given.
    seen: BTreeMap<u64, (u32, u32)>,
    waiting: [usize; 2],
    /// The messages that each puller holds, or has acked or rejected: they must not run again there (RD-9).
    taken: [BTreeSet<u64>; 2],
    /// Whether there is a settle time-out, which requeues a message that a puller still processes (OC-12).
    timed: bool,
}

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut push = PusherSettings::default();
    (push.high_water_mark, push.max_message) = (input.below(30), MAX_MESSAGE_SIZE);
    push.max_in_flight = 1 + input.below(40);
    push.max_unwritten = 1 + usize::from(input.short());
    push.grace = Duration::from_millis(u64::from(input.byte()) * 10);
    let timed = input.byte() >= 0xc0;
    // Longer than the pullers take in `come_to_rest`; otherwise every message would time out again.
    push.settle_timeout = timed.then(|| Duration::from_millis(1_000 + u64::from(input.byte()) * 20));
    let pull = |input: &mut Input<'_>| {
        let mut s = PullerSettings::default();
        s.window = match input.byte() {
            0..=0x7f => Window::Auto,
            few => Window::fixed(u64::from(few & 0x1f), 1 + u64::from(input.short())),
        };
        (s.budget, s.read_ahead) = (1 + u64::from(input.byte()), 1 + u64::from(input.short()));
        (s.max_message, s.budget_bytes) = (MAX_MESSAGE_SIZE, 1 + u64::from(input.short()));
        Puller::new(s).expect("the settings are valid")
    };
    let mut run = Run {
        now: Time(1_000_000),
        pusher: Pusher::new(push, InstanceId([9; 16]), 1).expect("the settings are valid"),
        pullers: vec![pull(&mut input), pull(&mut input)],
        wires: Vec::new(),
        held: Vec::new(),
        sent: 0,
        seen: BTreeMap::new(),
        waiting: [0, 0],
        taken: Default::default(),
        timed,
    };
    run.join(0);
    run.join(1);
    while !input.is_empty() {
        run.step(&mut input);
        run.check();
    }
    run.come_to_rest();
}

/// A peer that is never replaced, and that is recognized on every link.
fn peer(role: Role, who: usize) -> Peer {
    Peer { max_message: MAX_MESSAGE_SIZE, ..tidegate_testkit::peer(role, who as u8, None) }
}

impl Run {
    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(17) {
            0..=2 => self.send(input),
            3 | 4 => {
                let pull = input.below(2);
                self.recv(pull);
            }
            5 | 6 => self.settle(input.byte(), input.byte()),
            7..=10 => {
                let (wire, bytes) = (input.byte(), usize::from(input.short()) + 1);
                self.carry(wire.into(), bytes);
            }
            11 => {
                for wire in 0..self.wires.len() {
                    self.carry(wire, usize::MAX);
                }
            }
            12 => {
                let wire = usize::from(input.byte());
                self.cut(wire);
            }
            13 => {
                if self.wires.iter().filter(|wire| wire.open).count() < MAX_WIRES {
                    self.join(input.below(2));
                }
            }
            14 => self.wait(input),
            15 => {
                let which = usize::from(input.byte());
                if let Some((pull, received)) = self.held.get(which % self.held.len().max(1)) {
                    self.pullers[*pull].working(received.link(), received.delivery());
                }
            }
            _ => {
                let time = super::drive::time(input);
                self.pass(time, input.bool());
            }
        }
    }

    fn join(&mut self, pull: usize) {
        let Ok(push_link) = self.pusher.open(self.now, peer(Role::Puller, pull)) else { return };
        let pull_link = self.pullers[pull]
            .open(self.now, peer(Role::Pusher, 9))
            .expect("the limit on links is not reached");
        self.wires.push(Wire {
            pull,
            push_end: LinkDriver::new(push_link, self.pusher.frame_limit()),
            pull_end: LinkDriver::new(pull_link, self.pullers[pull].frame_limit()),
            open: true,
        });
    }

    fn send(&mut self, input: &mut Input<'_>) {
        let payload = input.payload();
        if self.sent < MAX_MESSAGES && self.pusher.send(Message::new(payload), input.bool()).is_ok() {
            self.sent += 1;
        }
    }

    fn recv(&mut self, pull: usize) {
        let Some(received) = self.pullers[pull].recv() else { return };
        let number = received.id().number;
        assert!(number < self.sent, "message {number} was never sent");
        let seen = self.seen.entry(number).or_default();
        let attempt = received.attempt();
        // An earlier attempt may wait on a slow link while a later one is delivered (OC-12).
        assert!(attempt >= seen.0 || self.timed, "DL-3: attempt {attempt} after {}", seen.0);
        seen.0 = attempt.max(seen.0);
        let first = self.taken[pull].insert(number);
        assert!(first || self.timed, "RD-9: {number} runs a second time on puller {pull}");
        self.held.push((pull, received));
    }

    fn settle(&mut self, which: u8, how: u8) {
        if self.held.is_empty() {
            return;
        }
        let (pull, received) = self.held.swap_remove(usize::from(which) % self.held.len());
        let verdict = match how {
            0..=0x9f => Verdict::Ack,
            0xa0..=0xbf => Verdict::Nack { delay_ms: 5, reason: "again".into() },
            0xc0..=0xdf => Verdict::Reject { reason: "never".into() },
            _ => Verdict::Release,
        };
        let number = received.id().number;
        if matches!(verdict, Verdict::Ack | Verdict::Reject { .. }) {
            self.seen.entry(number).or_default().1 += 1;
        } else {
            self.taken[pull].remove(&number);
        }
        self.pullers[pull].settle(&received, &verdict);
    }

    fn wait(&mut self, input: &mut Input<'_>) {
        let pull = input.below(2);
        if input.bool() && self.waiting[pull] > 0 {
            self.waiting[pull] -= 1;
            self.pullers[pull].stop_waiting(self.now);
        } else if self.waiting[pull] < 3 {
            self.waiting[pull] += 1;
            self.pullers[pull].start_waiting(self.now);
        }
    }

    /// Moves up to `bytes` bytes in each direction. Returns whether anything moved.
    fn carry(&mut self, wire: usize, bytes: usize) -> bool {
        let at = wire % self.wires.len();
        let wire = &mut self.wires[at];
        if !wire.open {
            return false;
        }
        let (now, pusher, puller) = (self.now, &mut self.pusher, &mut self.pullers[wire.pull]);
        let (push_end, pull_end) = (&mut wire.push_end, &mut wire.pull_end);
        let mut moved = push_end.read(pusher, now, bytes);
        moved |= pull_end.read(puller, now, bytes);
        moved |= push_end.write(pusher, now, pull_end, bytes);
        moved |= pull_end.write(puller, now, push_end, bytes);
        let over = (pusher.is_finished(now, push_end.link), puller.is_finished(now, pull_end.link));
        if over.0 && over.1 || (over.0 || over.1) && !moved {
            self.hang_up(at);
            return true;
        }
        moved
    }

    fn cut(&mut self, wire: usize) {
        self.hang_up(wire % self.wires.len());
    }

    fn hang_up(&mut self, wire: usize) {
        let wire = &mut self.wires[wire];
        if std::mem::replace(&mut wire.open, false) {
            self.pusher.handle_link_lost(self.now, wire.push_end.link, "cut");
            self.pullers[wire.pull].handle_link_lost(self.now, wire.pull_end.link, "cut");
        }
    }

    /// Advances time from deadline to deadline. With `carries`, the wires carry bytes meanwhile.
    fn pass(&mut self, time: Duration, carries: bool) {
        let until = self.now + time;
        let mut here = 0;
        loop {
            self.carry_all(carries);
            let open = self.wires.iter().filter(|wire| wire.open);
            let links = open.flat_map(|wire| {
                let push = self.pusher.poll_timeout(wire.push_end.link);
                [push, self.pullers[wire.pull].poll_timeout(wire.pull_end.link)]
            });
            let next = links.chain([self.pusher.poll_socket_timeout()]).flatten().min();
            let Some(next) = next.filter(|at| *at <= until && carries) else { break };
            here = if next <= self.now { here + 1 } else { 0 };
            assert!(here < 100, "a deadline in the past makes the driver spin");
            self.now = self.now.max(next);
            self.advance();
            self.check();
        }
        self.now = until;
    }

    fn carry_all(&mut self, carries: bool) {
        for round in 0.. {
            assert!(round < 10_000, "the machines never stop exchanging frames");
            let moved =
                carries && (0..self.wires.len()).fold(false, |moved, at| moved | self.carry(at, usize::MAX));
            super::drive::wakes(&mut self.pusher);
            for puller in &mut self.pullers {
                super::drive::wakes(puller);
            }
            if !moved {
                return;
            }
        }
    }

    fn advance(&mut self) {
        let now = self.now;
        if self.pusher.poll_socket_timeout().is_some_and(|at| at <= now) {
            self.pusher.handle_socket_timeout(now);
        }
        for wire in self.wires.iter_mut().filter(|wire| wire.open) {
            wire.push_end.tick(&mut self.pusher, now);
            wire.pull_end.tick(&mut self.pullers[wire.pull], now);
        }
    }

    fn check(&self) {
        let s = self.pusher.stats();
        conserved::assert_pusher(&s);
        assert_eq!(s.accepted, self.sent);
        let ended: u64 = self.seen.values().map(|seen| u64::from(seen.1 > 0)).sum();
        assert!(s.acked + s.rejected <= ended, "more outcomes than pullers gave: {ended}, {s:?}");
        for puller in &self.pullers {
            conserved::assert_puller(&puller.stats());
        }
    }

    /// Repairs the wires and lets the pullers process everything. Each message must get exactly one outcome at the
    /// pusher.
    fn come_to_rest(mut self) {
        self.pusher.drain(self.now, true);
        self.join(0);
        for _ in 0..400 {
            // With a window of 0, only a waiting puller grants credit (CR-7).
            self.pullers.iter_mut().for_each(|puller| puller.start_waiting(self.now));
            self.pass(Duration::from_millis(500), true);
            self.pullers.iter_mut().for_each(|puller| puller.stop_waiting(self.now));
            for pull in 0..2 {
                for _ in 0..50 {
                    self.recv(pull);
                }
                self.pullers[pull].handle_empty_poll();
            }
            while !self.held.is_empty() {
                self.settle(0, 0);
            }
            if self.pusher.is_done() {
                break;
            }
            if self.wires.iter().all(|wire| !wire.open) {
                self.join(1);
            }
        }
        self.pass(Duration::from_secs(5), true);
        let s = self.pusher.stats();
        let links: Vec<_> = self.pullers.iter().map(|p| (p.stats(), p.link_stats())).collect();
        assert!(
            self.pusher.is_done(),
            "messages stay without an outcome: {s:?}, {:?}, {links:?}",
            self.pusher.link_stats()
        );
        assert_eq!((s.acked + s.rejected, s.queued, s.in_flight, s.links), (self.sent, 0, 0, 0), "{s:?}");
        assert_eq!(
            self.seen.values().filter(|seen| seen.1 > 0).count() as u64,
            self.sent,
            "a message was not processed"
        );
        for puller in &self.pullers {
            let s = puller.stats();
            assert_eq!((s.committed, s.committed_bytes, s.queued, s.in_flight), (0, 0, 0, 0), "{s:?}");
        }
    }
}
