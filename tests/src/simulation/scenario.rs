//! The plan of a simulation, drawn from a seed.

use std::time::Duration;

use tidegate::Window;

use super::{draw::Draw, history::Ending, transport::Break};

/// The largest message that any socket accepts.
pub const MAX_MESSAGE: usize = 60_000;

/// Which hosts connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialing {
    /// Pullers connect, pushers are bound.
    Pullers,
    /// Pushers connect, pullers are bound.
    Pushers,
    /// Depends on the indexes of each pair; all are bound.
    Mixed,
}

/// A pusher: its settings and the behaviour of its application.
#[derive(Clone, Debug)]
pub struct Pusher {
    /// Messages of each life.
    pub messages: usize,
    /// The range of payload sizes, in bytes.
    pub sizes: (u64, u64),
    /// The percentage of tracked messages.
    pub tracked: u64,
    /// The percentage of sends that are cancelled if they do not complete soon.
    pub hasty: u64,
    /// Tasks that send.
    pub senders: usize,
    /// The longest pause between two sends.
    pub pause: Duration,
    /// How the lives before the last end.
    pub ending: Ending,
    /// Settings of the same names.
    pub high_water_mark: usize,
    /// Settings of the same names.
    pub high_water_mark_bytes: usize,
    /// Settings of the same names.
    pub max_held: (usize, u64),
    /// Settings of the same names.
    pub max_in_flight: (usize, u64),
    /// Settings of the same names.
    pub max_unwritten: usize,
    /// Settings of the same names.
    pub max_attempts: Option<u32>,
    /// Settings of the same names.
    pub retry: (Duration, Duration),
    /// Settings of the same names.
    pub max_nack_delay: Duration,
    /// Settings of the same names.
    pub grace: Duration,
    /// Settings of the same names.
    pub settle_timeout: Option<Duration>,
}

/// How an application receives its deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    /// One by one.
    Recv,
    /// In batches, each settled at once.
    Many,
    /// One by one, out of batches of any size.
    Batches,
    /// By polling.
    Poll,
}

/// A puller: its settings and the behaviour of its application.
#[derive(Clone, Debug)]
pub struct Puller {
    /// The setting.
    pub window: Window,
    /// The setting.
    pub budget: (u64, u64),
    /// The setting.
    pub read_ahead: u64,
    /// The setting.
    pub ack_delay: Duration,
    /// Tasks that process jobs.
    pub workers: usize,
    /// How they receive jobs.
    pub taking: Taking,
    /// The maximum duration of a job.
    pub job: Duration,
    /// The percentages of nacks, nacks with a delay, rejects, releases and drops. All other deliveries are acked.
    pub bad: [u64; 5],
    /// The percentage of jobs that hang until the end of the faults.
    pub hanging: u64,
    /// When it leaves and connects again, if it does.
    pub leaving: Option<Duration>,
    /// The setting.
    pub memory: usize,
    /// The percentage of jobs that send `Working`.
    pub telling: u64,
    /// How long it waits for its jobs when it leaves.
    pub linger: Duration,
}

/// A fault, or its end.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Packets from the first host to the second are lost.
    CutOneWay(usize, usize),
    /// Packets in both directions are lost.
    Cut(usize, usize),
    /// Ends either kind of cut.
    Heal(usize, usize),
    /// Packets are held back, and none is lost.
    Hold(usize, usize),
    /// The held packets arrive.
    Release(usize, usize),
    /// Sets the latency between two hosts.
    Latency(usize, usize, Duration),
    /// Breaks the streams between two hosts.
    Break(usize, usize, Break, usize),
    /// Stalls the streams of a host.
    Stall(usize),
    /// Ends a stall.
    Resume(usize),
    /// The process is killed; its operating system closes its connections.
    Kill(usize),
    /// The machine loses power, and its peers receive nothing.
    PowerOff(usize),
    /// The host starts again.
    Start(usize),
}

/// Everything that the system under test does not decide.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The seed of all choices.
    pub seed: u64,
    /// Without faults, and no process stops early: no link may break.
    pub calm: bool,
    /// The step of the simulation.
    pub tick: Duration,
    /// The minimum and the maximum latency between hosts.
    pub latency: (Duration, Duration),
    /// The maximum number of segments in transit on one connection.
    pub segments: usize,
    /// The roles that connect.
    pub dialing: Dialing,
    /// Hosts 0 ….
    pub pushers: Vec<Pusher>,
    /// The hosts after those.
    pub pullers: Vec<Puller>,
    /// The heartbeat interval of every socket.
    pub heartbeat: Duration,
    /// Of every socket.
    pub handshake_timeout: Duration,
    /// Of every socket.
    pub close_wait: Duration,
    /// Of every socket.
    pub reconnect: (Duration, Duration),
    /// Of every pusher.
    pub write_stall: Duration,
    /// The faults with their times, in order.
    pub faults: Vec<(Duration, Fault)>,
    /// The end of all faults.
    pub healed_at: Duration,
}

impl Scenario {
    /// The scenario of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut draw = Draw::new(seed, 0);
        let draw = &mut draw;
        let calm = draw.chance(15);
        // Messages all at once with early faults, or for as long as the faults last.
        let healed_at = if draw.chance(30) { draw.millis(100, 800) } else { draw.millis(400, 2_500) };
        let pushers: Vec<_> =
            (0..draw.one(&[1, 1, 2, 2, 3])).map(|_| pusher(draw, calm, healed_at)).collect();
        let pullers: Vec<_> = (0..draw.one(&[1, 2, 2, 3, 4])).map(|_| puller(draw, calm)).collect();
        let hosts = pushers.len() + pullers.len();
        let faults = if calm { Vec::new() } else { faults(draw, pushers.len(), hosts, healed_at) };
        let longest = draw.one(&[2, 5, 10, 30]);
        let first = draw.millis(10, 50);
        Self {
            seed,
            calm,
            tick: Duration::from_millis(draw.one(&[2, 5, 5, 10])),
            latency: (Duration::from_millis(1), Duration::from_millis(longest)),
            segments: draw.one(&[64, 64, 256, 1_024]),
            dialing: draw.one(&[Dialing::Pullers, Dialing::Pushers, Dialing::Mixed]),
            pushers,
            pullers,
            heartbeat: draw.millis(150, 500),
            handshake_timeout: draw.millis(300, 800),
            close_wait: draw.millis(100, 400),
            reconnect: (first, draw.millis(50, 400)),
            write_stall: draw.millis(50, 600),
            faults,
            healed_at,
        }
    }

    /// The number of hosts.
    #[must_use]
    pub fn hosts(&self) -> usize {
        self.pushers.len() + self.pullers.len()
    }

    /// The hosts that this one connects to.
    #[must_use]
    pub fn dials(&self, host: usize) -> Vec<usize> {
        let pushes = host < self.pushers.len();
        let others = if pushes { self.pushers.len()..self.hosts() } else { 0..self.pushers.len() };
        let is_connector = |other: &usize| match self.dialing {
            Dialing::Pullers => !pushes,
            Dialing::Pushers => pushes,
            Dialing::Mixed => (host + other).is_multiple_of(2) == pushes,
        };
        others.filter(is_connector).collect()
    }

    /// Whether a pusher may be killed just after it has ended its stream, and then start another.
    #[must_use]
    pub fn streams_begin_again(&self) -> bool {
        let pusher = |host: &usize| *host < self.pushers.len();
        let kills =
            |fault: &Fault| matches!(fault, Fault::Kill(host) | Fault::PowerOff(host) if pusher(host));
        self.faults.iter().any(|(_, fault)| kills(fault))
    }

    /// Whether other hosts connect to this host.
    #[must_use]
    pub fn is_bound(&self, host: usize) -> bool {
        (0..self.hosts()).any(|other| self.dials(other).contains(&host))
    }
}

fn pusher(draw: &mut Draw, calm: bool, healed_at: Duration) -> Pusher {
    let large = draw.chance(15);
    let messages = draw.between(3, if large { 12 } else { 40 });
    let spread = healed_at * 2 / messages as u32;
    Pusher {
        messages: messages as usize,
        sizes: if large { (12, 50_000) } else { (12, draw.one(&[12, 100, 600])) },
        tracked: draw.one(&[0, 20, 50, 100]),
        hasty: draw.one(&[0, 0, 10, 30]),
        senders: draw.one(&[1, 1, 2, 3]),
        pause: draw.one(&[Duration::ZERO, spread / 4, spread, spread]),
        ending: if calm { Ending::Finish } else { draw.one(&[Ending::Finish, Ending::Drain, Ending::Abort]) },
        high_water_mark: draw.one(&[0, 1, 3, 20, 1_000]),
        high_water_mark_bytes: draw.one(&[1, 1_000, 64 << 20, 64 << 20]),
        max_held: draw.one(&[(1, 1 << 20), (10, 1 << 20), (1_000_000, 500), (1_000_000, 256 << 20)]),
        max_in_flight: draw.one(&[(1, 64 << 20), (5, 64 << 20), (100_000, 300), (100_000, 64 << 20)]),
        max_unwritten: draw.one(&[1, 1_000, 1 << 20, 1 << 20]),
        max_attempts: draw.one(&[None, None, Some(1), Some(2), Some(4)]),
        retry: (draw.millis(5, 60), draw.millis(60, 400)),
        max_nack_delay: draw.millis(10, 500),
        grace: Duration::from_millis(draw.one(&[0, 100, 300, 1_000])),
        settle_timeout: (!calm && draw.chance(12)).then(|| draw.millis(100, 600)),
    }
}

fn puller(draw: &mut Draw, calm: bool) -> Puller {
    let taking = draw.one(&[Taking::Recv, Taking::Recv, Taking::Many, Taking::Batches, Taking::Poll]);
    // CR-7: with a window of 0, only a waiting application gets credit.
    let messages = draw.one(&[if taking == Taking::Poll { 1 } else { 0 }, 1, 2, 5, 100]);
    let window = match draw.below(4) {
        0 => Window::Auto,
        1 => Window::fixed(messages, draw.one(&[1, 200, 5_000])),
        _ => Window::messages(messages),
    };
    let bad = match draw.below(3) {
        0 => [0; 5],
        1 => [draw.between(0, 20), draw.between(0, 20), draw.between(0, 5), draw.between(0, 20), 5],
        _ => [draw.between(0, 50), 0, 0, 0, 0],
    };
    Puller {
        window,
        budget: draw.one(&[(1, 1 << 20), (4, 1 << 20), (100_000, 1_000), (100_000, 64 << 20)]),
        read_ahead: draw.one(&[1, 1_000, 256 << 10, 256 << 10]),
        ack_delay: Duration::from_millis(draw.one(&[0, 1, 1, 20])),
        workers: draw.one(&[1, 1, 2, 4]),
        taking,
        job: Duration::from_millis(draw.one(&[0, 1, 5, 25, 200, 400])),
        bad,
        hanging: if calm { 0 } else { draw.one(&[0, 0, 5, 20]) },
        leaving: (!calm && draw.chance(30)).then(|| draw.millis(100, 2_000)),
        memory: draw.one(&[0, 2, 65_536, 65_536, 65_536]),
        telling: draw.one(&[0, 0, 30]),
        linger: draw.one(&[Duration::ZERO, Duration::from_millis(300), Duration::from_secs(5)]),
    }
}

/// Draws the faults. No two faults of one pair of hosts, or of one host, overlap; all end before `healed_at`.
fn faults(draw: &mut Draw, pushers: usize, hosts: usize, healed_at: Duration) -> Vec<(Duration, Fault)> {
    let mut faults = Vec::new();
    let end = healed_at.as_millis() as u64;
    for push in 0..pushers {
        for pull in pushers..hosts {
            let mut at = draw.between(0, end / 2);
            for _ in 0..draw.below(4) {
                let (one, other) = if draw.chance(50) { (push, pull) } else { (pull, push) };
                let until = (at + draw.between(1, end / 2)).min(end);
                let (begin, over) = (Duration::from_millis(at), Duration::from_millis(until));
                match draw.below(7) {
                    0 => {
                        faults.push((begin, Fault::CutOneWay(one, other)));
                        faults.push((over, Fault::Heal(one, other)));
                    }
                    1 => {
                        faults.push((begin, Fault::Cut(one, other)));
                        faults.push((over, Fault::Heal(one, other)));
                    }
                    2 => {
                        faults.push((begin, Fault::Hold(one, other)));
                        faults.push((over, Fault::Release(one, other)));
                    }
                    3 => faults.push((begin, Fault::Latency(one, other, draw.millis(1, 200)))),
                    _ => {
                        let how = draw.one(&[Break::Reset, Break::Writing, Break::Silence, Break::Reading]);
                        let bytes = draw.one(&[0, 1, 10, 100, 1_000, 10_000]);
                        let bytes = draw.below(bytes + 1);
                        faults.push((begin, Fault::Break(one, other, how, bytes)));
                    }
                }
                at = until + 1;
                if at >= end {
                    break;
                }
            }
        }
    }
    for host in 0..hosts {
        let mut at = draw.between(0, end / 2);
        for _ in 0..draw.one(&[0, 0, 1, 1, 2]) {
            let until = (at + draw.between(1, end / 2)).min(end);
            let (begin, over) = (Duration::from_millis(at), Duration::from_millis(until));
            let (first, second) = match draw.below(3) {
                0 => (Fault::Kill(host), Fault::Start(host)),
                1 => (Fault::PowerOff(host), Fault::Start(host)),
                _ => (Fault::Stall(host), Fault::Resume(host)),
            };
            faults.push((begin, first));
            faults.push((over, second));
            at = until + 1;
            if at >= end {
                break;
            }
        }
    }
    // A stable sort keeps the order of draws at equal times.
    faults.sort_by_key(|(at, _)| *at);
    faults
}
