//! A puller against pushers that send anything, an application that calls anything, and a network that fails.

use std::time::Duration;

use bytes::Bytes;
use tidegate_proto::{
    LinkId, Machine, Peer, Puller, PullerSettings, Received, Role, Rule, Time, Verdict, Window,
    wire::{self, v1},
};

use super::{
    Input,
    drive::{self, CLOSE_WAIT, Tap, pick},
    puller_model::{Account, Model},
};

/// Links in one run: enough for taking turns, replacements and the limit on links.
const MAX_LINKS: usize = 24;
/// Deliveries that the application holds at once.
const MAX_HELD: usize = 200;

struct Run {
    puller: Puller,
    settings: PullerSettings,
    now: Time,
    taps: Vec<Tap>,
    model: Model,
    held: Vec<Received>,
    waiting: usize,
    opened: usize,
}

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let settings = settings(&mut input);
    let mut run = Run {
        puller: Puller::new(settings.clone()).expect("the settings are valid"),
        settings,
        now: Time(1_000_000),
        taps: Vec::new(),
        model: Model::default(),
        held: Vec::new(),
        waiting: 0,
        opened: 0,
    };
    run.open(&mut input);
    while !input.is_empty() {
        run.step(&mut input);
        run.model.check(&run.puller, &run.settings);
    }
    run.come_to_rest();
}

fn settings(input: &mut Input<'_>) -> PullerSettings {
    let mut s = PullerSettings::default();
    s.window = match input.byte() {
        0..=0x5f => Window::Auto,
        few => Window::fixed(u64::from(few & 0x1f), 1 + u64::from(input.short())),
    };
    s.budget = 1 + u64::from(input.byte());
    s.budget_bytes = 1 + u64::from(input.short()) * 4;
    s.max_message = 1 + u64::from(input.short());
    s.read_ahead = 1 + u64::from(input.short());
    s.max_links = 1 + input.below(5);
    s.memory = input.below(20);
    s.close_wait = CLOSE_WAIT;
    s
}

impl Run {
    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(23) {
            0 => self.open(input),
            1..=4 => self.receive(input, deliver),
            5 => self.receive(input, skip),
            6 => self.receive(input, |input, _| drive::other(input)),
            7 => self.stream(input),
            8..=10 => self.transmit(input, usize::MAX),
            11 => {
                let bytes = usize::from(input.short());
                self.transmit(input, bytes);
            }
            12 => {
                let time = drive::time(input);
                self.pass(time);
            }
            13 => self.lose(input),
            14 | 15 => self.recv(),
            16 | 17 => self.settle(input),
            18 => self.batch(input),
            22 => {
                let which = usize::from(input.byte());
                if let Some(received) = self.held.get(which % self.held.len().max(1)) {
                    self.puller.working(received.link(), received.delivery());
                }
            }
            19 => self.wait(input),
            20 => match pick(&mut self.taps, input) {
                Some(tap) if input.bool() => self.puller.handle_bytes(tap.id),
                Some(tap) => self.puller.handle_would_block(tap.id),
                None => {}
            },
            _ => match input.byte() {
                0..=0x7f => self.puller.handle_empty_poll(),
                0x80..=0xf7 => while self.puller.poll_event().is_some() {},
                0xf8..=0xfb => self.puller.leave(),
                _ => {
                    self.puller.abandon(self.now);
                    self.closing();
                }
            },
        }
        drive::wakes(&mut self.puller);
    }

    /// Every link may be closing although no Close has been written.
    fn closing(&mut self) {
        let now = self.now;
        for tap in &mut self.taps {
            tap.ending.get_or_insert(now);
        }
        self.model.links.values_mut().for_each(|account| account.doubtful = true);
    }

    fn open(&mut self, input: &mut Input<'_>) {
        if self.opened < MAX_LINKS {
            let peer = drive::peer(input, Role::Pusher, self.settings.max_message);
            self.admit(peer);
        }
    }

    fn admit(&mut self, peer: Peer) {
        let Ok(id) = self.puller.open(self.now, peer) else { return };
        self.opened += 1;
        // An older link of this peer may be closing (HS-9).
        self.model.links.values_mut().for_each(|account| account.doubtful = true);
        self.taps.push(Tap::new(id, self.settings.max_message, self.puller.frame_limit()));
        self.model.links.insert(id, Account::default());
    }

    fn receive(&mut self, input: &mut Input<'_>, make: fn(&mut Input<'_>, &Account) -> Bytes) {
        let Some(tap) = pick(&mut self.taps, input) else { return };
        let id = tap.id;
        let frame = make(input, &self.model.links[&id]);
        self.give(id, frame);
    }

    fn give(&mut self, id: LinkId, frame: Bytes) {
        let Some(tap) = self.taps.iter_mut().find(|tap| tap.id == id && !tap.unreadable) else { return };
        let body = tap.receives(&frame, self.now);
        self.model.receives(id, body.as_ref(), &self.puller);
        self.puller.handle_bytes(id);
        self.puller.handle_frame(self.now, id, frame);
        self.model.received(&self.puller);
    }

    /// Bytes arrive, as a part of a stream.
    fn stream(&mut self, input: &mut Input<'_>) {
        let Some(tap) = pick(&mut self.taps, input) else { return };
        if tap.unreadable || !self.puller.wants_read(self.now, tap.id) {
            return;
        }
        let mut bytes = input.some(80);
        while !bytes.is_empty() && !tap.unreadable {
            let (piece, frame) = tap.next_piece(&mut bytes);
            if let Some(frame) = frame {
                let body = tap.receives(&frame, self.now);
                self.model.receives(tap.id, body.as_ref(), &self.puller);
            }
            tap.feed(&mut self.puller, self.now, piece);
            if tap.unreadable {
                self.model.receives(tap.id, None, &self.puller);
            }
            self.model.received(&self.puller);
        }
    }

    fn recv(&mut self) {
        if self.held.len() < MAX_HELD
            && let Some(received) = self.puller.recv()
        {
            assert!(received.size() <= self.settings.max_message, "{}", Rule::Dl4);
            if let Some(account) = self.model.links.get_mut(&received.link()) {
                account.hands(received.delivery());
            }
            self.held.push(received);
        }
    }

    fn settle(&mut self, input: &mut Input<'_>) {
        let which = usize::from(input.byte());
        let how = input.byte();
        if self.held.is_empty() {
            return;
        }
        let received = self.held.swap_remove(which % self.held.len());
        let verdict = match how {
            0..=0x9f => Verdict::Ack,
            0xa0..=0xcf => Verdict::Nack { delay_ms: input.number() as u32, reason: "é".repeat(how.into()) },
            0xd0..=0xdf => Verdict::Reject { reason: input.text(20) },
            _ => Verdict::Release,
        };
        self.puller.settle(&received, &verdict);
    }

    /// Receives a batch: some messages are processed, the others returned.
    fn batch(&mut self, input: &mut Input<'_>) {
        let take = input.below(6);
        let Some(mut batch) = self.puller.recv_batch(1..=u64::MAX) else { return };
        let link = batch.link();
        for _ in 0..take {
            let Some(item) = batch.take() else { break };
            if let Some(account) = self.model.links.get_mut(&link) {
                account.hands(item.id);
            }
            self.puller.settle_item(link, &item, &Verdict::Ack);
        }
        self.puller.return_batch(batch);
    }

    fn wait(&mut self, input: &mut Input<'_>) {
        if input.bool() && self.waiting > 0 {
            self.waiting -= 1;
            self.puller.stop_waiting(self.now);
        } else if self.waiting < 5 {
            self.waiting += 1;
            self.puller.start_waiting(self.now);
        }
    }

    fn transmit(&mut self, input: &mut Input<'_>, bytes: usize) {
        if let Some(tap) = pick(&mut self.taps, input) {
            tap.stuck = bytes < usize::MAX;
            let sent = tap.transmit(&mut self.puller, self.now);
            self.model.sent(tap.id, &sent, &self.puller, &self.settings);
            tap.write(&mut self.puller, self.now, bytes);
        }
    }

    /// Runs every driver once and removes finished links.
    fn turn(&mut self) {
        let now = self.now;
        for round in 0.. {
            assert!(round < 1_000, "the machine never stops waking its drivers");
            // A driver that cannot write still asks whether it should read.
            for tap in self.taps.iter().filter(|tap| tap.stuck) {
                self.puller.wants_read(now, tap.id);
            }
            for tap in self.taps.iter_mut().filter(|tap| !tap.stuck) {
                tap.write(&mut self.puller, now, usize::MAX);
                let sent = tap.transmit(&mut self.puller, now);
                self.model.sent(tap.id, &sent, &self.puller, &self.settings);
                tap.write(&mut self.puller, now, usize::MAX);
                self.puller.wants_read(now, tap.id);
            }
            if !drive::wakes(&mut self.puller) {
                break;
            }
        }
        let over: Vec<Tap> = self.taps.extract_if(.., |tap| tap.is_over(&self.puller, now)).collect();
        for tap in over {
            self.model.links.remove(&tap.id);
            self.puller.handle_link_lost(now, tap.id, "over");
        }
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        let mut here = 0;
        self.turn();
        while let Some(next) = drive::deadline(&self.puller, &self.taps).filter(|at| *at <= until) {
            here = if next <= self.now { here + 1 } else { 0 };
            assert!(here < 100, "a deadline in the past makes the driver spin");
            self.now = self.now.max(next);
            drive::advance(&mut self.puller, &self.taps, self.now);
            // Silence and slowness may have closed a link although no Close has been written.
            self.model.links.values_mut().for_each(|account| account.doubtful = true);
            self.turn();
            self.model.check(&self.puller, &self.settings);
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
            self.model.receives(id, None, &self.puller);
            return self.puller.handle_write_error(self.now, id, "reset");
        }
        self.taps.retain(|tap| tap.id != id);
        self.model.links.remove(&id);
        assert!(self.puller.handle_link_lost(self.now, id, "cut").is_some());
    }

    /// Settles all deliveries and ends all links; then nothing must be left of them.
    fn come_to_rest(mut self) {
        while let Some(received) = self.held.pop() {
            self.puller.settle(&received, &Verdict::Ack);
        }
        for _ in 0..1_000 {
            let Some(received) = self.puller.recv() else { break };
            self.puller.settle(&received, &Verdict::Ack);
        }
        self.puller.abandon(self.now);
        self.closing();
        self.taps.iter_mut().for_each(|tap| tap.stuck = false);
        self.pass(2 * CLOSE_WAIT);
        assert_eq!(self.puller.link_count(), 0, "ST-4: every link is over");
        let s = self.puller.stats();
        assert_eq!((s.committed, s.committed_bytes, s.queued, s.in_flight), (0, 0, 0, 0), "{s:?}");
        self.model.check(&self.puller, &self.settings);
    }
}

/// The next deliveries, usually within the limits.
fn deliver(input: &mut Input<'_>, account: &Account) -> Bytes {
    let count = 1 + input.below(6);
    let odd = input.byte();
    let first_id = if odd >= 0xf0 { input.near(account.next_id) } else { account.next_id };
    let room = account.limits.0.saturating_sub(account.next_id);
    // Usually within the message limit; the byte limit is reached by chance.
    let count = if odd & 15 == 0 { count } else { count.min(usize::try_from(room).unwrap_or(count)).max(1) };
    let message = |input: &mut Input<'_>| v1::Message {
        attempt: u32::from(input.byte() / 100),
        tracked: input.byte() & 3 == 0,
        payload: input.payload(),
        ..v1::Message::default()
    };
    let messages = (0..count).map(|_| message(input)).collect();
    let deliver = v1::Deliver { first_id, first_number: account.next_id, messages };
    wire::encode(v1::frame::Body::Deliver(deliver)).slice(4..)
}

/// The answer to a recall, not always correct.
fn skip(input: &mut Input<'_>, account: &Account) -> Bytes {
    let unused = account.limits.1.saturating_sub(account.bytes);
    let (next_id, bytes) = match input.byte() {
        0..=0xbf => (account.limits.0, unused),
        0xc0..=0xdf => (input.near(account.next_id), u64::from(input.short()).min(unused)),
        _ => (input.near(account.limits.0), input.near(unused)),
    };
    wire::encode(v1::frame::Body::Skip(v1::Skip { next_id, bytes })).slice(4..)
}
