//! Runs a scenario: the clock, the network and the faults.

use std::{
    cell::{Cell, RefCell},
    panic,
    sync::{Arc, Once},
    time::{Duration, SystemTime},
};

use turmoil::Sim;

use super::{
    history::{History, Process, What},
    puller, pusher,
    scenario::{Fault, Scenario},
    stage::Stage,
    transport::Network,
};

/// How long the system may take to come to rest after the faults: hundreds of times the longest wait.
const MAX_SETTLING_TIME: Duration = Duration::from_secs(60);
/// How long a process that ended by itself stays stopped.
const AWAY: Duration = Duration::from_millis(50);

/// The result of a scenario.
pub struct Played {
    /// All events.
    pub history: History,
    /// Whether every pusher finished and every puller left.
    pub at_rest: bool,
    /// Panics of any task, because a runtime does not propagate them.
    pub panics: Vec<String>,
}

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From now on, records the panics of this thread and prints the seed, because a second panic aborts the process.
fn watch_panics(seed: u64) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if let Some(seed) = SEED.get() {
                // The simulated network panics if a connection is reset before it is accepted.
                let text = info.to_string();
                if !text.contains("turmoil-") || !text.ends_with("missing stream socket") {
                    PANICS.with_borrow_mut(|panics| panics.push(text));
                }
                eprintln!("in the simulation of seed {seed}:");
            }
            before(info);
        }));
    });
    PANICS.take();
    SEED.set(Some(seed));
}

/// Runs a scenario to its end.
///
/// # Panics
/// When a process panics.
#[must_use]
pub fn play(scenario: &Scenario) -> Played {
    watch_panics(scenario.seed);
    let mut builder = turmoil::Builder::new();
    builder
        .tick_duration(scenario.tick)
        .min_message_latency(scenario.latency.0)
        .max_message_latency(scenario.latency.1)
        .simulation_duration(Duration::from_secs(100_000))
        .epoch(SystemTime::UNIX_EPOCH)
        .tcp_capacity(scenario.segments)
        .rng_seed(scenario.seed)
        .enable_random_order();
    let stage = Stage::new(scenario.clone());
    let mut sim = builder.build();
    for host in 0..scenario.hosts() {
        let stage = stage.clone();
        sim.host(Network::name(host), move || {
            let (stage, dead) = (stage.clone(), stage.is_dead(host));
            async move {
                if dead {
                    stage.lines.bury();
                    return std::future::pending().await;
                }
                let actor = stage.enter(host);
                if host < stage.scenario.pushers.len() {
                    pusher::run(actor).await;
                } else {
                    puller::run(actor).await;
                }
                Ok(())
            }
        });
    }
    let hosts = vec![Host::Running; scenario.hosts()];
    let mut world = SimulationWorld { stage, sim, hosts, faults: scenario.faults.clone().into() };
    let at_rest = world.play();
    let SimulationWorld { stage, sim, .. } = world;
    stage.recorder.world(Some(sim.elapsed()));
    let history = stage.recorder.take();
    drop(sim);
    SEED.set(None);
    Played { history, at_rest, panics: PANICS.take() }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Host {
    Running,
    /// Down until a fault ends, or until this time.
    Down(Option<Duration>),
    Done,
}

struct SimulationWorld<'a> {
    stage: Arc<Stage>,
    sim: Sim<'a>,
    hosts: Vec<Host>,
    faults: std::collections::VecDeque<(Duration, Fault)>,
}

impl SimulationWorld<'_> {
    /// Runs the simulation. Returns whether everything came to rest.
    fn play(&mut self) -> bool {
        let healed_at = self.stage.scenario.healed_at;
        loop {
            let now = self.sim.elapsed();
            self.stage.recorder.world(Some(now));
            while let Some((_, fault)) = self.faults.pop_front_if(|(at, _)| *at <= now) {
                self.note(format!("{fault:?}"));
                self.apply(&fault);
            }
            if now >= healed_at && !self.stage.healed.is_set() {
                self.heal();
            }
            self.take_down(now);
            self.bring_up(now);
            if self.hosts.iter().all(|host| *host == Host::Done) {
                return true;
            }
            if now > healed_at + MAX_SETTLING_TIME {
                return false;
            }
            self.stage.recorder.world(None);
            self.sim.step().expect("a process failed");
        }
    }

    fn note(&self, text: String) {
        self.stage.recorder.write(None, What::Fault(text));
    }

    fn heal(&mut self) {
        let count = self.hosts.len();
        let latency = self.stage.scenario.latency.1;
        for one in 0..count {
            self.stage.lines.stall(one, false);
            for other in 0..one {
                let (a, b) = (Network::name(one), Network::name(other));
                self.sim.release(a.clone(), b.clone());
                self.sim.set_link_latency(a, b, latency);
            }
        }
        let down: Vec<_> = (0..count).filter(|host| matches!(self.hosts[*host], Host::Down(_))).collect();
        for host in down {
            self.start(host);
        }
        self.note("the faults are over".to_owned());
        self.stage.healed.set();
    }

    /// Takes down the hosts of processes that have ended.
    fn take_down(&mut self, now: Duration) {
        for (host, for_good) in self.stage.take_exits() {
            if self.hosts[host] == Host::Running {
                self.end(host, true);
                self.hosts[host] = if for_good { Host::Done } else { Host::Down(Some(now + AWAY)) };
            }
        }
        let pushers = self.stage.scenario.pushers.len();
        if self.hosts[..pushers].iter().all(|host| *host == Host::Done) && !self.stage.over.is_set() {
            self.note("every pusher has finished".to_owned());
            self.stage.over.set();
        }
    }

    fn bring_up(&mut self, now: Duration) {
        for host in 0..self.hosts.len() {
            if matches!(self.hosts[host], Host::Down(Some(at)) if at <= now) {
                self.start(host);
            }
        }
    }

    fn start(&mut self, host: usize) {
        self.stage.set_dead(host, false);
        self.sim.bounce(Network::name(host));
        self.hosts[host] = Host::Running;
    }

    fn kill(&mut self, host: usize, system_lives: bool) {
        self.end(host, system_lives);
        self.hosts[host] = Host::Down(None);
        self.stage.recorder.write(Some(Process { host, life: self.stage.life(host) }), What::Killed);
    }

    /// Ends a process. If its operating system still runs, that closes the connections and refuses new ones. Otherwise
    /// the peers receive nothing, and packets to the host are lost.
    fn end(&mut self, host: usize, system_lives: bool) {
        let (lines, sim) = (&self.stage.lines, &mut self.sim);
        lines.while_killing(|| sim.crash(Network::name(host)));
        if system_lives {
            self.stage.set_dead(host, true);
            self.sim.bounce(Network::name(host));
        } else {
            lines.bury();
        }
    }

    fn apply(&mut self, fault: &Fault) {
        let name = |host: &usize| Network::name(*host);
        match fault {
            Fault::CutOneWay(from, to) => self.sim.partition_oneway(name(from), name(to)),
            Fault::Cut(one, other) => self.sim.partition(name(one), name(other)),
            Fault::Heal(one, other) => self.sim.repair(name(one), name(other)),
            Fault::Hold(one, other) => self.sim.hold(name(one), name(other)),
            Fault::Release(one, other) => self.sim.release(name(one), name(other)),
            Fault::Latency(one, other, time) => self.sim.set_link_latency(name(one), name(other), *time),
            Fault::Break(one, other, how, bytes) => {
                let count = self.stage.lines.cut(*one, *other, *how, *bytes);
                self.note(format!("{count} streams are affected"));
            }
            Fault::Stall(host) => self.stage.lines.stall(*host, true),
            Fault::Resume(host) => self.stage.lines.stall(*host, false),
            Fault::Kill(host) if self.hosts[*host] == Host::Running => self.kill(*host, true),
            Fault::PowerOff(host) if self.hosts[*host] == Host::Running => self.kill(*host, false),
            Fault::Start(host) if self.hosts[*host] == Host::Down(None) => self.start(*host),
            Fault::Kill(_) | Fault::PowerOff(_) | Fault::Start(_) => {}
        }
    }
}
