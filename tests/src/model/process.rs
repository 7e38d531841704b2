//! The processes of a world: a machine, its clock, and the deliveries that its application holds.

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use tidegate_proto::{
    InstanceId, LinkEnd, LinkId, Machine, Message, NUMBER_BLOCK, Peer, PeerKey, Puller, PullerSettings,
    Pusher, PusherEvent, PusherSettings, Received, Restored, RestoredMessage, Role, Time, Window,
    wire::FrameProgress,
};
use tidegate_testkit::frames;

use super::{
    bounds::{Bounds, Grace},
    relative::{ORIGIN, Relative},
};

/// Deadlines later than this never pass. Heartbeats and the time for an answer to Close are later.
pub const HORIZON: Duration = Duration::from_secs(5);
const FAR: Duration = Duration::from_secs(60);

/// A machine and its clock, which moves only from deadline to deadline.
#[derive(Clone, Debug)]
pub struct Process<M> {
    pub machine: M,
    pub now: Time,
}

impl<M: Hash> Process<M> {
    /// A hash of the machine's state and of `also`.
    fn mark(&self, also: impl Hash) -> u64 {
        let horizon = u64::try_from(HORIZON.as_micros()).unwrap_or(u64::MAX);
        let mut hasher = Relative::new(self.now, horizon);
        self.machine.hash(&mut hasher);
        also.hash(&mut hasher);
        hasher.finish()
    }
}

impl<M: Machine> Process<M> {
    fn new(machine: M) -> Self {
        Self { machine, now: ORIGIN }
    }

    /// Whether [`Self::fire`] has something to do.
    pub fn is_due(&self, link: LinkId) -> bool {
        self.machine.poll_timeout(link).is_some_and(|at| at < self.now + HORIZON)
    }

    /// Passes the link's deadline.
    pub fn fire(&mut self, link: LinkId) {
        let Some(at) = self.machine.poll_timeout(link) else { return };
        self.now = self.now.max(at);
        self.machine.handle_timeout(self.now, link, FrameProgress::default());
    }

    /// All frames that the machine wants to send on a link now, without their lengths.
    pub fn transmit(&mut self, link: LinkId, written: bool) -> Vec<Bytes> {
        let (frames, size) = frames::unwritten(&mut self.machine, self.now, link);
        if written {
            self.machine.handle_written(self.now, link, size);
        }
        frames
    }

    /// Whether this link is woken, whether it is finished, and whether it has a deadline.
    pub fn asks(&self, link: LinkId) -> (bool, bool, bool) {
        let machine = &self.machine;
        (machine.is_link_ready(link), machine.is_finished(self.now, link), self.is_due(link))
    }

    /// Whether [`Self::fire_socket`] has something to do.
    pub fn is_socket_due(&self) -> bool {
        self.machine.poll_socket_timeout().is_some_and(|at| at < self.now + HORIZON)
    }

    pub fn fire_socket(&mut self) {
        let Some(at) = self.machine.poll_socket_timeout() else { return };
        self.now = self.now.max(at);
        self.machine.handle_socket_timeout(self.now);
    }

    pub fn receive(&mut self, link: LinkId, frame: Bytes) {
        self.machine.handle_frame(self.now, link, frame);
    }

    pub fn fail_write(&mut self, link: LinkId) {
        self.machine.handle_write_error(self.now, link, "broken pipe");
    }

    pub fn lose(&mut self, link: LinkId) -> Option<LinkEnd> {
        self.machine.handle_link_lost(self.now, link, "cut")
    }

    /// Discards the list of woken links: the model asks the machine link by link.
    pub fn forget_wakes(&mut self) {
        self.machine.poll_ready_links(&mut Vec::new());
    }
}

/// A pusher's process.
#[derive(Clone, Debug)]
pub struct Pushing {
    pub process: Process<Pusher>,
    pub sent: u64,
    pub draining: bool,
    /// What the store knows: the last attempt of each message that may have been written, and its puller. Empty if no
    /// pusher restarts.
    pub written: BTreeMap<u64, (u32, Option<PeerKey>)>,
    pub mark: u64,
}

impl Pushing {
    pub fn new(bounds: &Bounds, index: usize) -> Self {
        let machine = Pusher::new(pusher_settings(bounds), instance(Role::Pusher, index, 0), 1).unwrap();
        let process = Process::new(machine);
        Self { process, sent: 0, draining: false, written: BTreeMap::new(), mark: 0 }
    }

    /// The process that replaces this one, with everything that was accepted and not settled (RD-11). Outcomes that the
    /// pusher has not seen are not in the store.
    pub fn restarted(&self, bounds: &Bounds) -> Self {
        let now = self.process.now;
        let leftover = self.process.machine.leftover(now);
        let messages = leftover.unsent.into_iter().chain(leftover.unacked).map(|left| {
            let number = left.id.number;
            let (attempts, puller) = self.written.get(&number).copied().unwrap_or_default();
            let message = left.message;
            let (failures, timed_out, tracked) = (0, false, false);
            RestoredMessage { number, message, attempts, failures, timed_out, tracked, puller }
        });
        let restored = Restored {
            instance: self.process.machine.instance(),
            numbers: self.sent..self.sent + NUMBER_BLOCK,
            messages: messages.collect(),
            ended: false,
        };
        let machine = Pusher::restore(pusher_settings(bounds), restored, 1, now).unwrap();
        Self { process: Process { machine, now }, ..self.clone() }
    }

    pub fn send(&mut self, tracked: bool) {
        let payload = [u8::try_from(self.sent).unwrap()];
        self.process.machine.send(Message::from(payload.to_vec()), tracked).unwrap();
        self.sent += 1;
    }

    /// Call it after the last change: the mark is compared in place of the state.
    pub fn seal(&mut self) {
        self.mark = self.process.mark((self.sent, self.draining, &self.written));
    }

    pub fn events(&mut self) -> Vec<PusherEvent> {
        std::iter::from_fn(|| self.process.machine.poll_event()).collect()
    }
}

/// The settings of every pusher of a check.
fn pusher_settings(bounds: &Bounds) -> PusherSettings {
    let mut settings = PusherSettings::default();
    (settings.heartbeat, settings.close_wait, settings.write_stall) = (FAR, FAR, Duration::MAX);
    settings.grace = match bounds.grace {
        Grace::None => Duration::ZERO,
        Grace::Short => Duration::from_secs(1),
        Grace::Long => FAR,
    };
    settings.settle_timeout = (bounds.timeouts > 0).then_some(Duration::from_secs(1));
    // A retry is due at once, and may happen at any time after that.
    (settings.min_retry_delay, settings.max_retry_delay) = (Duration::ZERO, Duration::ZERO);
    settings.restart_grace = settings.grace;
    settings
}

/// A delivery that an application holds.
#[derive(Clone, Debug, Hash)]
pub struct Held {
    pub received: Arc<Received>,
    /// The wire that carried it.
    pub wire: u8,
}

/// A puller's process and its application.
#[derive(Clone, Debug)]
pub struct Pulling {
    pub process: Process<Puller>,
    /// How often the process has restarted.
    pub life: u8,
    pub held: Vec<Held>,
    /// Whether a `recv` is waiting.
    pub waiting: bool,
    /// Pushers that have ended their streams.
    pub ended: Vec<usize>,
    pub mark: u64,
}

impl Pulling {
    pub fn new(bounds: &Bounds, life: u8) -> Self {
        let mut settings = PullerSettings::default();
        settings.window = Window::fixed(bounds.window, bounds.window_bytes);
        settings.budget = bounds.budget;
        (settings.heartbeat, settings.close_wait) = (FAR, FAR);
        let machine = Puller::new(settings).unwrap();
        let process = Process::new(machine);
        Self { process, life, held: Vec::new(), waiting: false, ended: Vec::new(), mark: 0 }
    }

    /// Call it after the last change: the mark is compared in place of the state.
    pub fn seal(&mut self) {
        self.mark = self.process.mark((self.life, &self.held, self.waiting, &self.ended));
    }

    pub fn start_waiting(&mut self) {
        self.process.machine.start_waiting(self.process.now);
        self.waiting = true;
    }

    pub fn stop_waiting(&mut self) {
        if std::mem::take(&mut self.waiting) {
            self.process.machine.stop_waiting(self.process.now);
        }
    }
}

/// A peer as a handshake would describe it.
pub fn peer(role: Role, index: usize, life: u8, slot: Option<(u64, u64)>) -> Peer {
    Peer {
        instance: instance(role, index, life),
        name: String::new(),
        heartbeat: FAR,
        key: Some(key(role, index, life, slot)),
        ..tidegate_testkit::peer(role, 0, slot)
    }
}

/// The key that the handshake would derive from a peer's secret: each slot is a peer of its own.
fn key(role: Role, index: usize, life: u8, slot: Option<(u64, u64)>) -> PeerKey {
    let (InstanceId(bytes), slot) = (instance(role, index, life), slot.map_or(0, |(slot, _)| slot + 1));
    PeerKey::new(u128::from_be_bytes(bytes) | u128::from(slot))
}

/// A pusher's instance has its index in the second byte.
pub fn instance(role: Role, index: usize, life: u8) -> InstanceId {
    let mut bytes = [0; 16];
    (bytes[0], bytes[1], bytes[2]) = (role as u8, u8::try_from(index).unwrap(), life);
    InstanceId(bytes)
}
