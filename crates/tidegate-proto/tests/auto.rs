//! Simulates `Window::Auto` with a pusher, pullers with workers of known speed, and links with latency. The time is
//! virtual, so that every run is the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at once

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use tidegate_proto::{
    LinkId, Machine, PollBudget, PullStats, Puller, Pusher, Received, Role, Time, Verdict, wire::FrameReader,
};
use tidegate_testkit::{peer, puller, pusher};

/// The time that a worker needs for the job with this number, in microseconds.
type Service = fn(u64) -> u64;

/// A puller, its workers, and its link to the pusher.
struct Node {
    puller: Puller,
    here: TimedEnd,
    there: TimedEnd,
    /// The job of each worker, and when it will be done. `None`: the worker waits.
    workers: Vec<Option<(u64, Received)>>,
    service: Service,
    worked: u64,
}

struct TimedEnd {
    link: LinkId,
    reader: FrameReader,
    /// Bytes on their way to this end, with the time of their arrival.
    coming: VecDeque<(u64, Bytes)>,
}

struct Sim {
    now: u64,
    one_way: u64,
    pusher: Pusher,
    nodes: Vec<Node>,
    jobs: u64,
}

impl Sim {
    fn new(round_trip: Duration, workers: &[(usize, Service)]) -> Self {
        let mut pusher = pusher(|s| (s.high_water_mark, s.max_held) = (2_000_000, 3_000_000));
        let mut nodes = Vec::new();
        for (index, (count, service)) in workers.iter().enumerate() {
            let mut puller = puller(|_| ());
            let slot = Some((index as u64 + 1, 1));
            let there = pusher.open(Time(0), peer(Role::Puller, index as u8 + 1, slot)).unwrap();
            let here = puller.open(Time(0), peer(Role::Pusher, 0, None)).unwrap();
            let end = |link, limit| {
                let mut reader = FrameReader::new();
                reader.open(limit);
                TimedEnd { link, reader, coming: VecDeque::new() }
            };
            let here = end(here, puller.frame_limit());
            let there = end(there, pusher.frame_limit());
            let workers = (0..*count).map(|_| None).collect();
            let mut node = Node { puller, here, there, workers, service: *service, worked: 0 };
            for _ in 0..*count {
                node.puller.start_waiting(Time(0));
            }
            nodes.push(node);
        }
        Self { now: 0, one_way: round_trip.as_micros() as u64 / 2, pusher, nodes, jobs: 0 }
    }

    /// Sends `count` jobs, with consecutive numbers.
    fn send(&mut self, count: u64) {
        for _ in 0..count {
            let number = Bytes::copy_from_slice(&self.jobs.to_be_bytes());
            self.pusher.send(number.into(), false).unwrap();
            self.jobs += 1;
        }
    }

    /// Runs until the time `until`, or until every job is done, and returns the time of the end.
    fn run(&mut self, until: Duration) -> u64 {
        self.pass(until, true)
    }

    fn pass(&mut self, until: Duration, or_done: bool) -> u64 {
        let until = until.as_micros() as u64;
        loop {
            self.step();
            if or_done && self.pusher.stats().acked == self.jobs {
                return self.now;
            }
            let next = self.next();
            if next > until {
                self.now = until;
                return until;
            }
            self.now = next.max(self.now + 1);
        }
    }

    fn step(&mut self) {
        let now = Time(self.now);
        if self.pusher.poll_socket_timeout().is_some_and(|at| at <= now) {
            self.pusher.handle_socket_timeout(now);
        }
        for node in &mut self.nodes {
            arrive(&mut self.pusher, &mut node.there, now);
            arrive(&mut node.puller, &mut node.here, now);
            node.work(now);
            send(&mut node.puller, &node.here, &mut node.there, now, self.one_way);
        }
        for node in &mut self.nodes {
            send(&mut self.pusher, &node.there, &mut node.here, now, self.one_way);
        }
        let mut wakes = Vec::new();
        self.pusher.poll_ready_links(&mut wakes);
        self.nodes.iter_mut().for_each(|node| node.puller.poll_ready_links(&mut wakes));
    }

    fn next(&self) -> u64 {
        let nodes = self.nodes.iter().flat_map(|node| {
            let coming =
                [&node.here, &node.there].into_iter().filter_map(|end| end.coming.front()).map(|c| c.0);
            let done = node.workers.iter().flatten().map(|(at, _)| *at);
            let deadlines =
                [node.puller.poll_timeout(node.here.link), self.pusher.poll_timeout(node.there.link)];
            coming.chain(done).chain(deadlines.into_iter().flatten().map(|at| at.0)).collect::<Vec<_>>()
        });
        nodes.chain(self.pusher.poll_socket_timeout().map(|at| at.0)).min().unwrap()
    }

    fn stats(&self, node: usize) -> PullStats {
        self.nodes[node].puller.stats()
    }

    /// The fraction of the time since `since` in which the workers of a node had work.
    fn busy(&self, node: usize, worked_before: u64, since: u64) -> f64 {
        let node = &self.nodes[node];
        (node.worked - worked_before) as f64 / ((self.now - since) * node.workers.len() as u64) as f64
    }
}

impl Node {
    fn work(&mut self, now: Time) {
        for index in 0..self.workers.len() {
            if let Some((at, received)) = self.workers[index].take_if(|(at, _)| *at <= now.0) {
                assert!(at == now.0, "a worker was forgotten");
                self.puller.settle(&received, &Verdict::Ack);
                self.begin(index, now, false);
            } else if self.workers[index].is_none() {
                self.begin(index, now, true);
            }
        }
    }

    fn begin(&mut self, index: usize, now: Time, waits: bool) {
        match self.puller.recv() {
            Some(received) => {
                if waits {
                    self.puller.stop_waiting(now);
                }
                let number = u64::from_be_bytes(received.payload().try_into().unwrap());
                let time = (self.service)(number).max(1);
                self.worked += time;
                self.workers[index] = Some((now.0 + time, received));
            }
            None if !waits => self.puller.start_waiting(now),
            None => {}
        }
    }
}

fn arrive<M: Machine>(machine: &mut M, end: &mut TimedEnd, now: Time) {
    let mut any = false;
    while end.coming.front().is_some_and(|(at, _)| *at <= now.0) && machine.wants_read(now, end.link) {
        let (_, bytes) = end.coming.pop_front().unwrap();
        end.reader.buffer().extend_from_slice(&bytes);
        machine.feed(now, end.link, &mut end.reader, &mut PollBudget::unlimited());
        any = true;
    }
    if !any {
        machine.handle_would_block(end.link);
    }
    if machine.poll_timeout(end.link).is_some_and(|at| at <= now) {
        machine.handle_timeout(now, end.link, end.reader.progress());
    }
}

fn send<M: Machine>(machine: &mut M, end: &TimedEnd, to: &mut TimedEnd, now: Time, one_way: u64) {
    let mut out = VecDeque::new();
    machine.poll_transmit(now, end.link, &mut out);
    for bytes in out {
        machine.handle_written(now, end.link, bytes.len());
        to.coming.push_back((now.0 + one_way, bytes));
    }
}

/// The time that a dispatcher without latency needs, which gives each job to the first worker that is free.
fn ideal(jobs: std::ops::Range<u64>, services: &[Service]) -> u64 {
    let mut free = vec![0; services.len()];
    for job in jobs {
        let first = (0..free.len()).min_by_key(|i| free[*i]).unwrap();
        free[first] += services[first](job);
    }
    free.into_iter().max().unwrap()
}

/// Pseudo-random numbers that are the same in every run.
fn mixed(n: u64) -> u64 {
    let n = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (n ^ n >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32
}

const LAN: Duration = Duration::from_micros(100);
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_window_of_a_fast_worker_is_its_work_of_a_round_trip_and_a_millisecond() {
    let mut sim = Sim::new(LAN, &[(1, |_| 2)]);
    sim.send(60_000);
    sim.run(Duration::from_millis(60));
    let (worked, since) = (sim.nodes[0].worked, sim.now);
    sim.run(Duration::from_millis(110));
    let stats = sim.stats(0);
    assert!((450_000..=550_000).contains(&stats.service_rate), "{stats:?}");
    assert_eq!(stats.round_trip, Some(LAN));
    assert!((500..=650).contains(&stats.window), "{stats:?}");
    assert!(sim.busy(0, worked, since) > 0.97, "{}", sim.busy(0, worked, since));
}

#[test]
fn a_slow_worker_gets_one_message_at_a_time_and_releases_those_that_it_got_first() {
    let mut sim = Sim::new(LAN, &[(1, |_| 10_000_000), (1, |_| 10_000_000)]);
    sim.send(40);
    sim.run(SECOND);
    for node in 0..2 {
        let stats = sim.stats(node);
        assert_eq!((stats.queued, stats.in_flight), (0, 1), "{stats:?}");
        assert_eq!(stats.committed, 1, "no credit for a second one: {stats:?}");
    }
    assert_eq!(sim.pusher.stats().queued, 38, "all but two are queued at the pusher, for other pullers");
    assert!(sim.run(250 * SECOND) < 201_000_000);
}

#[test]
fn a_pool_of_slow_workers_gets_one_message_for_each() {
    let mut sim = Sim::new(LAN, &[(8, |_| 50_000)]);
    sim.send(2_000);
    sim.run(2 * SECOND);
    let (worked, since) = (sim.nodes[0].worked, sim.now);
    sim.run(6 * SECOND);
    let stats = sim.stats(0);
    assert_eq!(stats.in_flight, 8, "{stats:?}");
    assert!((8..=12).contains(&stats.window), "{stats:?}");
    assert!(sim.busy(0, worked, since) > 0.97, "{}", sim.busy(0, worked, since));
}

#[test]
fn a_worker_behind_a_long_round_trip_is_kept_busy() {
    let mut sim = Sim::new(Duration::from_millis(200), &[(1, |_| 1_000)]);
    sim.send(20_000);
    sim.run(3 * SECOND);
    let (worked, since) = (sim.nodes[0].worked, sim.now);
    sim.run(8 * SECOND);
    assert!(sim.busy(0, worked, since) > 0.95, "{} {:?}", sim.busy(0, worked, since), sim.stats(0));
    assert!(sim.stats(0).window < 500, "{:?}", sim.stats(0));
}

#[test]
fn messages_that_wait_behind_a_stalled_worker_are_released() {
    // Job 30,000 needs a second, all others 2 microseconds.
    let stall: Service = |job| if job == 30_000 { 1_000_000 } else { 2 };
    let mut sim = Sim::new(LAN, &[(1, stall), (1, stall)]);
    sim.send(100_000);
    let end = sim.run(5 * SECOND);
    let stalled = sim.nodes.iter().map(|node| node.puller.stats().released).max().unwrap();
    assert!(stalled > 0, "the messages behind it were released");
    // The last message to be done is the one that needed a second.
    assert!(end < 1_200_000, "the others were not kept waiting: {end}");
}

#[test]
fn a_worker_is_without_work_only_for_a_short_time_after_a_burst_begins() {
    let mut sim = Sim::new(LAN, &[(1, |_| 20)]);
    for burst in 1..=50u64 {
        sim.send(1_000);
        let end = sim.run(Duration::from_millis(burst * 40));
        let spent = end - (burst - 1) * 40_000;
        assert!(
            burst < 3 || spent < 22_000,
            "burst {burst} of 20 ms of work took {spent} µs: {:?}",
            sim.stats(0)
        );
        sim.pass(Duration::from_millis(burst * 40), false);
    }
}

#[test]
fn unequal_workers_finish_a_list_of_jobs_within_1_05_of_the_ideal_time() {
    // Jobs of 1 to 50 ms, speeds 1:2:4:8.
    const WORKERS: [Service; 4] = [|n| time(n), |n| time(n) / 2, |n| time(n) / 4, |n| time(n) / 8];
    fn time(n: u64) -> u64 {
        1_000 + mixed(n) % 49_000
    }
    assert_makespan(&WORKERS, 20_000, 1.05);
}

#[test]
fn unequal_workers_finish_jobs_of_which_some_are_20_times_as_long() {
    const WORKERS: [Service; 4] = [|n| time(n), |n| time(n) / 2, |n| time(n) / 4, |n| time(n) / 8];
    fn time(n: u64) -> u64 {
        (1_000 + mixed(n) % 49_000) * if mixed(n + 7).is_multiple_of(10) { 20 } else { 1 }
    }
    assert_makespan(&WORKERS, 20_000, 1.15);
}

#[test]
fn unequal_workers_finish_long_jobs_after_short_ones_have_made_windows_large() {
    const WORKERS: [Service; 4] = [|n| time(n), |n| time(n) / 2, |n| time(n) / 4, |n| time(n) / 8];
    fn time(n: u64) -> u64 {
        if n < 50_000 { 2 } else { 1_000 + mixed(n) % 49_000 }
    }
    assert_makespan(&WORKERS, 55_000, 1.05);
}

fn assert_makespan(workers: &[Service], jobs: u64, most: f64) {
    let pools: Vec<_> = workers.iter().map(|service| (1, *service)).collect();
    let mut sim = Sim::new(LAN, &pools);
    sim.send(jobs);
    let took = sim.run(10_000 * SECOND);
    let ideal = ideal(0..jobs, workers);
    let ratio = took as f64 / ideal as f64;
    let stats: Vec<_> = sim.nodes.iter().map(|node| node.puller.stats()).collect();
    assert!(ratio <= most, "{took} µs, {ratio:.3} of the ideal {ideal}: {stats:#?}");
    assert_eq!(stats.iter().map(|s| s.acked).sum::<u64>(), jobs);
}
