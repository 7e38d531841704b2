//! How the links of a slow worker share a fixed window, with machines connected in memory, with and without latency.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use tidegate_proto::{
    LinkId, Machine, PollBudget, PullStats, Puller, Pusher, Received, Role, Time, Verdict, Window,
    wire::FrameReader,
};
use tidegate_testkit::{World, conserved, peer, puller, pusher};

/// Ten pushers that always have messages, and a worker that takes 10 ms for each of 1,000. Returns how many messages of
/// each pusher were acked. `idle_first`: before that, it waits for each of 500 messages.
fn shares(window: u64, idle_first: bool) -> (Vec<u64>, PullStats) {
    let puller = puller(|s| s.window = Window::messages(window));
    let mut world = World::new((0..10).map(|_| pusher(|_| ())).collect(), vec![puller]);
    for push in 0..10 {
        world.join(push, 0);
    }
    if idle_first {
        for turn in 0..500 {
            let now = world.now;
            world.pullers[0].start_waiting(now);
            world.send(turn % 10, "x");
            let received = world.recv(0).unwrap();
            let now = world.now;
            world.pullers[0].stop_waiting(now);
            world.give(0, received, &Verdict::Ack);
            world.pass(Duration::from_millis(1));
        }
    }
    let mut done = 0;
    while done < 1_000 {
        for pusher in &mut world.pushers {
            while pusher.stats().queued < 3 {
                pusher.send(vec![7; 100].into(), false).unwrap();
            }
        }
        world.settle();
        let received = world.recv(0);
        world.pass(Duration::from_millis(10));
        if let Some(received) = received {
            world.give(0, received, &Verdict::Ack);
            done += 1;
        }
    }
    world.pass(Duration::from_millis(10)); // the last acks
    (world.pushers.iter().map(|pusher| pusher.stats().acked).collect(), world.pullers[0].stats())
}

#[test]
fn cr_5_the_shares_of_a_slow_worker_do_not_move_with_each_delivery() {
    // CR-5, RC-4
    for window in [1, 4, 10, 16, 100] {
        let (acked, stats) = shares(window, false);
        let what = format!("window {window}: {acked:?}, {stats:?}");
        assert_eq!(acked.iter().sum::<u64>(), 1_000, "{what}");
        assert!(acked.iter().all(|count| (80..=120).contains(count)), "{what}");
        assert_eq!((stats.released, stats.recalls), (0, 0), "{what}");
    }
    // A worker that has waited before moves them once more at most.
    let (acked, stats) = shares(100, true);
    let what = format!("{acked:?}, {stats:?}");
    assert_eq!(acked.iter().sum::<u64>(), 1_500, "{what}");
    assert!(stats.released <= 200, "{what}");
}

/// One end of a link, and the bytes on their way to it, with the times at which they arrive.
struct FarEnd {
    link: LinkId,
    reader: FrameReader,
    coming: VecDeque<(Time, Bytes)>,
}

impl FarEnd {
    fn new(link: LinkId, limit: usize) -> Self {
        let mut reader = FrameReader::new();
        reader.open(limit);
        Self { link, reader, coming: VecDeque::new() }
    }

    fn receive(&mut self, machine: &mut impl Machine, now: Time) {
        while self.coming.front().is_some_and(|(at, _)| *at <= now) {
            let (_, bytes) = self.coming.pop_front().unwrap();
            self.reader.buffer().extend_from_slice(&bytes);
            machine.feed(now, self.link, &mut self.reader, &mut PollBudget::unlimited());
        }
        machine.handle_would_block(self.link);
        if machine.poll_timeout(self.link).is_some_and(|at| at <= now) {
            machine.handle_timeout(now, self.link, self.reader.progress());
        }
    }

    fn send(&self, machine: &mut impl Machine, now: Time, to: &mut Self, one_way: Duration) {
        let mut out = VecDeque::new();
        machine.poll_transmit(now, self.link, &mut out);
        for bytes in out {
            machine.handle_written(now, self.link, bytes.len());
            to.coming.push_back((now + one_way, bytes));
        }
    }
}

/// Pushers at a distance, and a worker.
struct Distant {
    now: Time,
    one_way: Duration,
    pushers: Vec<(Pusher, FarEnd)>,
    puller: Puller,
    ends: Vec<FarEnd>,
    /// The delivery that is being worked on, and when it is done.
    work: Option<(Time, Received)>,
    waits: bool,
    /// It polls instead of waiting.
    polls: bool,
    done: u64,
}

impl Distant {
    fn new(window: u64, links: u16, round_trip: Duration, polls: bool) -> Self {
        let mut puller = puller(|s| s.window = Window::messages(window));
        let (mut pushers, mut ends) = (Vec::new(), Vec::new());
        for index in 0..links {
            let mut pusher = pusher(|_| ());
            let link = pusher.open(Time(0), peer(Role::Puller, 1, None)).unwrap();
            let end = FarEnd::new(link, pusher.frame_limit());
            pushers.push((pusher, end));
            let mut other = peer(Role::Pusher, 0, None);
            other.instance.0[..2].copy_from_slice(&index.to_be_bytes());
            ends.push(FarEnd::new(puller.open(Time(0), other).unwrap(), puller.frame_limit()));
        }
        let one_way = round_trip / 2;
        Self { now: Time(0), one_way, pushers, puller, ends, work: None, waits: false, polls, done: 0 }
    }

    /// Runs in steps, while the pusher with this index always has messages. A job takes `job`, at most one step.
    fn run(&mut self, busy: usize, time: Duration, job: Duration) -> u64 {
        let (until, before) = (self.now + time, self.done);
        while self.now < until {
            let pusher = &mut self.pushers[busy].0;
            while pusher.stats().queued < 500 {
                pusher.send(vec![7; 10].into(), false).unwrap();
            }
            for ((pusher, there), here) in self.pushers.iter_mut().zip(&mut self.ends) {
                there.receive(pusher, self.now);
                here.receive(&mut self.puller, self.now);
            }
            self.work(job);
            for ((pusher, there), here) in self.pushers.iter_mut().zip(&mut self.ends) {
                here.send(&mut self.puller, self.now, there, self.one_way);
                there.send(pusher, self.now, here, self.one_way);
            }
            self.now = self.now + job;
        }
        self.done - before
    }

    fn work(&mut self, job: Duration) {
        if let Some((_, received)) = self.work.take_if(|(at, _)| *at <= self.now) {
            self.puller.settle(&received, &Verdict::Ack);
            self.done += 1;
        }
        if self.work.is_some() {
            return;
        }
        self.work = self.puller.recv().map(|received| (self.now + job, received));
        if self.polls {
            if self.work.is_none() {
                self.puller.handle_empty_poll();
            }
        } else if self.waits != self.work.is_none() {
            self.waits = !self.waits;
            if self.waits {
                self.puller.start_waiting(self.now);
            } else {
                self.puller.stop_waiting(self.now);
            }
        }
    }
}

#[test]
fn cr_5_a_fixed_window_follows_need_to_another_link_although_that_one_is_short_of_credit() {
    // CR-5: a worker that waits shows the need, before the window was settled once.
    const JOB: Duration = Duration::from_millis(1);
    let second = Duration::from_secs(1);
    for polls in [false, true] {
        // Each link has an equal part of 10 messages at first: 500/s at this distance, and half of the worker's rate.
        let mut world = Distant::new(1_000, 100, Duration::from_millis(20), polls);
        let counts = [0, 0, 1, 1].map(|busy| world.run(busy, second, JOB));
        assert!(counts[1] > 950 && counts[3] > 950, "polls: {polls}, {counts:?} of 1,000 jobs each");
        world.pushers.iter().for_each(|(pusher, _)| conserved::assert_pusher(&pusher.stats()));
        conserved::assert_puller(&world.puller.stats());
    }
}
