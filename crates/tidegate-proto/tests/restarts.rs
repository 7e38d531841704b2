//! Random operations with a pusher that is killed or aborted, and restarted with its store, again and again (RD-11). In
//! the end all messages are settled and none is lost. No puller runs a message again that it has done or is running,
//! and a number never names two messages.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::{prelude::*, test_runner::Config};
use tidegate_proto::{
    InstanceId, Machine, Pusher, PusherSettings, Received, Restored, RestoredMessage, Role, StoreRecord,
    Time, Verdict, Window,
};
use tidegate_testkit::{SECOND, World, peer, puller, text};

const PULLERS: usize = 2;

#[derive(Clone, Debug)]
enum Op {
    Send,
    Recv { pull: usize },
    Settle { which: usize, how: u8 },
    Join { pull: usize },
    Cut { wire: usize },
    Hang { wire: usize },
    Wake { wire: usize },
    Pass { millis: u64 },
    Sync,
    Kill { block: u64 },
    Abort { block: u64 },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => Just(Op::Send),
        8 => (0..PULLERS).prop_map(|pull| Op::Recv { pull }),
        8 => (any::<usize>(), 0..10u8).prop_map(|(which, how)| Op::Settle { which, how }),
        2 => (0..PULLERS).prop_map(|pull| Op::Join { pull }),
        1 => any::<usize>().prop_map(|wire| Op::Cut { wire }),
        2 => any::<usize>().prop_map(|wire| Op::Hang { wire }),
        1 => any::<usize>().prop_map(|wire| Op::Wake { wire }),
        2 => (0..20_000u64).prop_map(|millis| Op::Pass { millis }),
        1 => Just(Op::Sync),
        2 => (1..6u64).prop_map(|block| Op::Kill { block }),
        1 => (1..6u64).prop_map(|block| Op::Abort { block }),
    ]
}

/// The store of the pusher, and what the applications have seen.
struct Ledger {
    /// The end of the last block of numbers that was synced.
    reserved: u64,
    accepted: u64,
    /// The payload of each number.
    names: BTreeMap<u64, String>,
    /// The highest attempt that a puller has received, and its puller.
    seen: BTreeMap<u64, (u32, usize)>,
    held: Vec<(usize, Received)>,
    /// Acked or rejected at this puller.
    done: BTreeSet<(usize, u64)>,
    settled: BTreeSet<u64>,
}

impl Ledger {
    fn received(&mut self, pull: usize, received: Received) {
        let (number, attempt) = (received.id().number, received.attempt());
        assert_eq!(self.names.get(&number), Some(&text(&received)), "number {number} names one message");
        assert!(!self.done.contains(&(pull, number)), "puller {pull} runs {number} again");
        let running = |(at, other): &(usize, Received)| *at == pull && other.id().number == number;
        assert!(!self.held.iter().any(running), "puller {pull} runs {number} twice at once");
        self.seen.insert(number, (attempt, pull));
        self.held.push((pull, received));
    }

    fn settle(&mut self, w: &mut World, which: usize, how: u8) {
        if self.held.is_empty() {
            return;
        }
        let (pull, received) = self.held.swap_remove(which % self.held.len());
        let number = received.id().number;
        let verdict = match how {
            0 => Verdict::Nack { delay_ms: 0, reason: "again".into() },
            1 => Verdict::Release,
            2 => Verdict::Reject { reason: "never".into() },
            _ => Verdict::Ack,
        };
        if how >= 2 {
            self.done.insert((pull, number));
            self.settled.insert(number);
        }
        w.give(pull, received, &verdict);
    }

    /// What the store has: everything that was accepted and not settled. It has not seen the outcomes in transit.
    fn restored(&mut self, old: &Pusher, now: Time, block: u64) -> Restored {
        let leftover = old.leftover(now);
        let unsent = leftover.unsent.into_iter().map(|left| (left.attempt - 1, left));
        let unacked = leftover.unacked.into_iter().map(|left| (left.attempt, left));
        let messages = unsent.chain(unacked).map(|(attempts, left)| {
            let number = left.id.number;
            let puller = self.seen.get(&number).map(|(_, pull)| key(*pull));
            let message = left.message;
            let (failures, timed_out, tracked) = (0, false, false);
            RestoredMessage { number, message, attempts, failures, timed_out, tracked, puller }
        });
        let messages = messages.collect();
        let numbers = self.reserved..self.reserved + block;
        self.reserved = numbers.end;
        Restored { instance: INSTANCE, numbers, messages, ended: false }
    }
}

const INSTANCE: InstanceId = InstanceId([7; 16]);

fn key(pull: usize) -> tidegate_proto::PeerKey {
    peer(Role::Puller, 100 + pull as u8, None).key.unwrap()
}

fn restore(store: Restored, now: Time) -> Pusher {
    Pusher::restore(PusherSettings::default(), store, 1, now).unwrap()
}

fn sync(w: &mut World, ledger: &mut Ledger) {
    while let Some(record) = w.pushers[0].poll_store() {
        if let StoreRecord::NumbersUntil(until) = record {
            assert!(until > ledger.reserved, "a block is new");
            ledger.reserved = until;
        }
        let now = w.now;
        w.pushers[0].handle_synced(now, record);
    }
}

/// Replaces the pusher by one with the same store. With `closes`, it closes its links with ABORTED first.
fn kill(w: &mut World, ledger: &mut Ledger, block: u64, closes: bool) {
    let store = ledger.restored(&w.pushers[0], w.now, block);
    let unsettled = w.pushers[0].stats();
    assert_eq!(store.messages.len() as u64, unsettled.queued + unsettled.in_flight);
    if closes {
        let now = w.now;
        w.pushers[0].abort(now);
        w.settle();
    }
    for wire in 0..w.wires.len() {
        if std::mem::replace(&mut w.wires[wire].open, false) {
            let (now, link, pull) = (w.now, w.pull_link(wire), w.wires[wire].pull);
            w.pullers[pull].handle_link_lost(now, link, "reset");
        }
    }
    w.pushers[0] = restore(store, w.now);
    w.settle();
}

fn step(w: &mut World, ledger: &mut Ledger, op: Op) {
    let wires = w.wires.len();
    match op {
        Op::Send => {
            let name = format!("message {}", ledger.accepted);
            if let Ok(accepted) = w.pushers[0].send(name.clone().into(), false) {
                assert!(accepted.number < ledger.reserved, "the number is reserved");
                assert_eq!(ledger.names.insert(accepted.number, name), None, "a number is used once");
                ledger.accepted += 1;
            }
        }
        Op::Recv { pull } => {
            if let Some(received) = w.recv(pull) {
                ledger.received(pull, received);
            }
        }
        Op::Settle { which, how } => ledger.settle(w, which, how),
        Op::Join { pull } => {
            w.join(0, pull);
        }
        Op::Cut { wire } => w.cut(wire % wires),
        Op::Hang { wire } => w.wires[wire % wires].hung = true,
        Op::Wake { wire } => w.wires[wire % wires].hung = false,
        Op::Pass { millis } => w.pass(Duration::from_millis(millis)),
        Op::Sync => sync(w, ledger),
        Op::Kill { block } => kill(w, ledger, block, false),
        Op::Abort { block } => kill(w, ledger, block, true),
    }
    w.settle();
    while w.pushers[0].poll_event().is_some() {}
}

fn run(window: u64, ops: Vec<Op>) {
    let settings = |s: &mut tidegate_proto::PullerSettings| s.window = Window::messages(window);
    let mut ledger = Ledger {
        reserved: 3,
        accepted: 0,
        names: BTreeMap::new(),
        seen: BTreeMap::new(),
        held: Vec::new(),
        done: BTreeSet::new(),
        settled: BTreeSet::new(),
    };
    let store = Restored { instance: INSTANCE, numbers: 0..3, messages: Vec::new(), ended: false };
    let pullers = (0..PULLERS).map(|_| puller(settings)).collect();
    let mut w = World::new(vec![restore(store, Time::default())], pullers);
    (0..PULLERS).for_each(|pull| assert!(w.join(0, pull) < PULLERS));
    w.settle();
    for op in ops {
        step(&mut w, &mut ledger, op);
    }
    come_to_rest(&mut w, &mut ledger);
}

fn come_to_rest(w: &mut World, ledger: &mut Ledger) {
    (0..w.wires.len()).for_each(|wire| w.wires[wire].hung = false);
    (0..PULLERS).for_each(|pull| assert!(w.join(0, pull) > 0));
    let now = w.now;
    w.pushers[0].drain(now, true);
    for _ in 0..100 {
        w.pass(SECOND);
        for pull in 0..PULLERS {
            while let Some(received) = w.recv(pull) {
                ledger.received(pull, received);
            }
            w.pullers[pull].handle_empty_poll();
        }
        while !ledger.held.is_empty() {
            ledger.settle(w, 0, 9);
        }
        sync(w, ledger);
        if w.pushers[0].is_done() {
            break;
        }
    }
    assert!(w.pushers[0].is_done(), "not all messages are settled: {:?}", w.pushers[0].stats());
    assert_eq!(ledger.settled.len() as u64, ledger.accepted, "each message has an outcome, and none is lost");
    assert_eq!(ledger.names.len() as u64, ledger.accepted);
}

proptest! {
    // The seed of a failing case is printed, and saved next to this file.
    #![proptest_config(Config { cases: 128, max_shrink_iters: 2_000, ..Config::default() })]

    #[test]
    fn rd_11_a_pusher_that_restarts_with_its_store_loses_nothing_whatever_happens(
        window in 1..20u64,
        ops in prop::collection::vec(op(), 1..200),
    ) {
        run(window, ops);
    }
}
