//! What the world and the processes share.

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
    transport::{Lines, Network},
};

/// The port of every host that is bound.
const PORT: u16 = 8_433;

/// Something that becomes true once, and that can be waited for.
#[derive(Default)]
pub struct Flag {
    set: AtomicBool,
    changed: Notify,
}

impl Flag {
    /// It is true from now on.
    pub fn set(&self) {
        self.set.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Whether it is.
    pub fn is_set(&self) -> bool {
        self.set.load(Ordering::SeqCst)
    }

    /// Waits until it is.
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

/// The stage on which a scenario is played.
pub struct Stage {
    /// What is played.
    pub scenario: Scenario,
    /// Where it is written down.
    pub recorder: Recorder,
    /// Every stream.
    pub lines: Lines,
    /// No more faults.
    pub healed: Flag,
    /// Every pusher has finished.
    pub over: Flag,
    lives: Mutex<Vec<u32>>,
    /// Hosts whose process is dead while their system lives.
    dead: Mutex<Vec<bool>>,
    exits: Mutex<Vec<(usize, bool)>>,
}

impl Stage {
    /// An empty stage.
    #[must_use]
    pub fn new(scenario: Scenario) -> Arc<Self> {
        let lives = Mutex::new(vec![0; scenario.hosts()]);
        let dead = Mutex::new(vec![false; scenario.hosts()]);
        Arc::new(Self {
            scenario,
            recorder: Recorder::default(),
            lines: Lines::default(),
            healed: Flag::default(),
            over: Flag::default(),
            lives,
            dead,
            exits: Mutex::default(),
        })
    }

    /// A process begins on a host.
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

    /// It is, or is not any more.
    pub fn set_dead(&self, host: usize, dead: bool) {
        self.dead.lock().unwrap()[host] = dead;
    }

    /// The life that a host is in.
    pub fn life(&self, host: usize) -> u32 {
        self.lives.lock().unwrap()[host]
    }

    /// Hosts whose processes have come to their end, and whether for good.
    pub fn take_exits(&self) -> Vec<(usize, bool)> {
        std::mem::take(&mut self.exits.lock().unwrap())
    }
}

/// A process.
#[derive(Clone)]
pub struct Actor {
    /// Where it acts.
    pub stage: Arc<Stage>,
    /// Who it is.
    pub who: Process,
    /// Its pen.
    pub pen: Pen,
    /// Of its own.
    pub seed: u64,
}

impl Actor {
    /// A part of its chance.
    #[must_use]
    pub fn draw(&self, part: u64) -> Draw {
        Draw::new(self.seed, part)
    }

    /// The network as it sees it.
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

    /// The endpoint to bind to, if anybody connects.
    #[must_use]
    pub fn binds(&self) -> Option<String> {
        self.stage.scenario.is_bound(self.who.host).then(|| format!("sim://0.0.0.0:{PORT}"))
    }

    /// Comes to the end, for good or to be started again; never returns, for the world takes its host down.
    pub async fn exit(self, for_good: bool) {
        self.pen.write(What::Exited);
        self.stage.exits.lock().unwrap().push((self.who.host, for_good));
        std::future::pending::<()>().await;
    }
}

/// A payload of this size that can be recognised: who sent it, and then bytes that follow from that.
#[must_use]
pub fn payload(tag: Tag, size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size);
    bytes.extend_from_slice(&(tag.from.host as u32).to_be_bytes());
    bytes.extend_from_slice(&tag.from.life.to_be_bytes());
    bytes.extend_from_slice(&tag.serial.to_be_bytes());
    bytes.extend((bytes.len()..size).map(|at| at as u8 ^ tag.serial as u8));
    bytes
}

/// Who sent it.
///
/// # Panics
/// It is not what was sent.
#[must_use]
pub fn tag(bytes: &[u8]) -> Tag {
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    let from = Process { host: number(0) as usize, life: number(4) };
    let tag = Tag { from, serial: number(8) };
    assert!(bytes == payload(tag, bytes.len()), "the payload of {tag:?} has changed on its way");
    tag
}

/// A moment.
#[must_use]
pub fn moment(draw: &mut Draw, longest: Duration) -> Duration {
    Duration::from_micros(draw.between(0, longest.as_micros() as u64))
}
