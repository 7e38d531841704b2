//! State shared by the world and the processes.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::{
    draw::Draw,
    history::{Pen, Process, Recorder, Tag, What},
    scenario::Scenario,
    transport::{Network, NetworkStreams},
};

/// The port of every host that is bound.
const PORT: u16 = 8_433;

/// A flag that becomes true once, and that tasks can wait for.
#[derive(Default)]
pub struct Flag {
    set: AtomicBool,
    changed: Notify,
}

impl Flag {
    /// Sets the flag.
    pub fn set(&self) {
        self.set.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Whether the flag is set.
    pub fn is_set(&self) -> bool {
        self.set.load(Ordering::SeqCst)
    }

    /// Waits until the flag is set.
    pub async fn wait(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_set() {
                return;
            }
            changed.await;
        }
    }
}

/// The shared state of a running scenario.
pub struct Stage {
    /// The scenario.
    pub scenario: Scenario,
    /// The recorder of the history.
    pub recorder: Recorder,
    /// All streams.
    pub lines: NetworkStreams,
    /// Set when the faults are over.
    pub healed: Flag,
    /// Set when every pusher has finished.
    pub over: Flag,
    lives: Mutex<Vec<u32>>,
    /// Hosts whose process is dead while their operating system runs.
    dead: Mutex<Vec<bool>>,
    exits: Mutex<Vec<(usize, bool)>>,
}

impl Stage {
    /// A stage without processes.
    #[must_use]
    pub fn new(scenario: Scenario) -> Arc<Self> {
        let lives = Mutex::new(vec![0; scenario.hosts()]);
        let dead = Mutex::new(vec![false; scenario.hosts()]);
        Arc::new(Self {
            scenario,
            recorder: Recorder::default(),
            lines: NetworkStreams::default(),
            healed: Flag::default(),
            over: Flag::default(),
            lives,
            dead,
            exits: Mutex::default(),
        })
    }

    /// Starts a process on a host.
    pub fn enter(self: &Arc<Self>, host: usize) -> Actor {
        let life = {
            let mut lives = self.lives.lock().unwrap();
            lives[host] += 1;
            lives[host]
        };
        let who = Process { host, life };
        let pen = self.recorder.pen(who);
        pen.write(What::Begun);
        let seed = Draw::new(self.scenario.seed, ((host as u64) << 32) + u64::from(life)).number();
        Actor { stage: self.clone(), who, pen, seed }
    }

    /// Whether the process of a host is dead.
    pub fn is_dead(&self, host: usize) -> bool {
        self.dead.lock().unwrap()[host]
    }

    /// Marks the process of a host as dead or alive.
    pub fn set_dead(&self, host: usize, dead: bool) {
        self.dead.lock().unwrap()[host] = dead;
    }

    /// The current life of a host.
    pub fn life(&self, host: usize) -> u32 {
        self.lives.lock().unwrap()[host]
    }

    /// Takes the hosts whose processes have ended, and whether permanently.
    pub fn take_exits(&self) -> Vec<(usize, bool)> {
        std::mem::take(&mut self.exits.lock().unwrap())
    }
}

/// A process.
#[derive(Clone)]
pub struct Actor {
    /// The stage that it runs on.
    pub stage: Arc<Stage>,
    /// The process's name.
    pub who: Process,
    /// The process's recorder.
    pub pen: Pen,
    /// The process's seed.
    pub seed: u64,
}

impl Actor {
    /// A source of choices for one part of the process.
    #[must_use]
    pub fn draw(&self, part: u64) -> Draw {
        Draw::new(self.seed, part)
    }

    /// The network as this process sees it.
    #[must_use]
    pub fn network(&self) -> Arc<Network> {
        let lines = self.stage.lines.clone();
        Arc::new(Network { host: self.who.host, pen: self.pen.clone(), lines, seed: self.seed })
    }

    /// The endpoints to connect to.
    #[must_use]
    pub fn connects(&self) -> Vec<String> {
        let others = self.stage.scenario.dials(self.who.host);
        others.into_iter().map(|other| format!("sim://{}:{PORT}", Network::name(other))).collect()
    }

    /// The endpoint to bind to, if other hosts connect.
    #[must_use]
    pub fn binds(&self) -> Option<String> {
        self.stage.scenario.is_bound(self.who.host).then(|| format!("sim://0.0.0.0:{PORT}"))
    }

    /// Ends the process, for good or until it is started again. Never returns, because the world shuts the host down.
    pub async fn exit(self, for_good: bool) {
        self.pen.write(What::Exited);
        self.stage.exits.lock().unwrap().push((self.who.host, for_good));
        std::future::pending::<()>().await;
    }
}

/// A payload of this size that starts with its tag; the other bytes follow from the tag.
#[must_use]
pub fn payload(tag: Tag, size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size);
    bytes.extend_from_slice(&(tag.from.host as u32).to_be_bytes());
    bytes.extend_from_slice(&tag.from.life.to_be_bytes());
    bytes.extend_from_slice(&tag.serial.to_be_bytes());
    bytes.extend((bytes.len()..size).map(|at| at as u8 ^ tag.serial as u8));
    bytes
}

/// The tag of a payload.
///
/// # Panics
/// The payload differs from the payload sent.
#[must_use]
pub fn tag(bytes: &[u8]) -> Tag {
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    let from = Process { host: number(0) as usize, life: number(4) };
    let tag = Tag { from, serial: number(8) };
    assert!(bytes == payload(tag, bytes.len()), "the payload of {tag:?} has changed in transit");
    tag
}

/// A random duration of up to `longest`.
#[must_use]
pub fn moment(draw: &mut Draw, longest: Duration) -> Duration {
    Duration::from_micros(draw.between(0, longest.as_micros() as u64))
}
