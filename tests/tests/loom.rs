//! Every order in which deliveries and the socket may use the words of a page.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use loom::sync::atomic;

#[allow(dead_code)]
#[path = "../../crates/tidegate/src/pull/words.rs"]
mod words;

use loom::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};
use words::{WordState, Words};

const DONE: u32 = 7;

/// The socket: its lock is the lane's.
struct Socket {
    words: Words,
    /// What each delivery's task has written before its ack: the task that collects the ack must see it.
    work: [AtomicU32; 2],
    lane: Mutex<Vec<(u32, u32)>>,
}

impl Socket {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            words: Words::new(2),
            work: [AtomicU32::new(0), AtomicU32::new(0)],
            lane: Mutex::new(Vec::new()),
        })
    }

    fn ack(&self, index: u32, size: u32) {
        self.work[index as usize].store(DONE, Ordering::Relaxed);
        if self.words.ack(index, size) {
            self.collect();
        }
    }

    fn collect(&self) {
        let mut settled = self.lane.lock().unwrap();
        for index in 0..2 {
            if let WordState::Acked(size) = self.words.state(index) {
                assert_eq!(self.work[index as usize].load(Ordering::Relaxed), DONE);
                self.words.collect(index);
                settled.push((index, size));
            }
        }
    }

    fn settled(&self) -> Vec<(u32, u32)> {
        let mut settled = self.lane.lock().unwrap().clone();
        settled.sort_unstable();
        settled
    }
}

#[test]
fn each_ack_is_collected_once_in_every_order_of_acks_and_collections() {
    // With three threads, every order would take minutes.
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let socket = Socket::new();
        let acks: Vec<_> = [(0, 10), (1, 0)]
            .into_iter()
            .map(|(index, size)| {
                let socket = socket.clone();
                thread::spawn(move || socket.ack(index, size))
            })
            .collect();
        socket.words.attend(); // the watch becomes quiet
        socket.collect();
        acks.into_iter().for_each(|ack| ack.join().unwrap());
        socket.collect(); // its next tick
        assert_eq!(socket.settled(), [(0, 10), (1, 0)]);
    });
}

#[test]
fn words_are_not_used_again_while_a_delivery_may_store_its_ack() {
    loom::model(|| {
        let socket = Socket::new();
        let ack = thread::spawn({
            let socket = socket.clone();
            move || socket.ack(0, 10)
        });
        socket.words.collect(1); // settled in another way
        socket.collect();
        let reused = socket.words.reopen(2);
        assert_eq!(reused, socket.settled() == [(0, 10)]);
        if reused {
            // The second life: nothing of the first one is left, and nothing of it comes later.
            assert_eq!(socket.words.state(0), WordState::Open);
            socket.ack(1, 20);
        }
        ack.join().unwrap();
        socket.collect();
        let all: &[_] = if reused { &[(0, 10), (1, 20)] } else { &[(0, 10)] };
        assert_eq!(socket.settled(), all);
    });
}

#[test]
fn an_ack_that_sees_the_flag_is_settled_when_it_returns() {
    loom::model(|| {
        let socket = Socket::new();
        socket.words.attend();
        let collector = thread::spawn({
            let socket = socket.clone();
            move || socket.collect()
        });
        socket.ack(0, 10);
        assert_eq!(socket.settled(), [(0, 10)]);
        collector.join().unwrap();
        assert_eq!(socket.settled(), [(0, 10)]);
    });
}
