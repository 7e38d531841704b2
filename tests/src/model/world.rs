//! A state of the model, and the effect of an action on it.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use bytes::Bytes;
use tidegate_proto::{
    Code, FinalOutcome, LinkEnd, LinkId, Machine, PusherEvent, Role, Verdict,
    wire::{Body, decode},
};

use super::{
    action::Action,
    bounds::{Bounds, Faults},
    ledger::{Fate, Ledger, Run},
    process::{Held, Pulling, Pushing, peer},
    property,
    relative::{ORIGIN, Relative},
    seen::{Event, Seen},
    wire::{EndState, MachineSide, Wire},
};

/// Processes, the wires between them, and the ledger of messages.
#[derive(Clone, Debug)]
pub struct ModelWorld {
    pub bounds: Arc<Bounds>,
    pub seen: Arc<Seen>,
    pub pushers: Vec<Arc<Pushing>>,
    pub pullers: Vec<Arc<Pulling>>,
    pub wires: Vec<Arc<Wire>>,
    pub ledger: Arc<Ledger>,
    /// Faults that may still happen.
    pub left: Faults,
    /// Settle time-outs that may still happen.
    pub timeouts: u8,
    /// The number of wires created so far.
    serial: u8,
    /// The first failure.
    pub broken: Option<Arc<str>>,
}

impl Hash for ModelWorld {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.pushers.iter().for_each(|it| it.mark.hash(state));
        self.pullers.iter().for_each(|it| it.mark.hash(state));
        self.wires.hash(state);
        self.ledger.hash(state);
        self.left.hash(state);
        (self.serial, self.timeouts).hash(state);
        self.broken.hash(state);
    }
}

/// As in the checker: worlds with equal hashes are equal.
impl PartialEq for ModelWorld {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint() == other.fingerprint()
    }
}

type Step = Result<(), String>;

impl ModelWorld {
    /// The world in which a check starts.
    pub fn new(bounds: Bounds) -> Self {
        let mut world = Self {
            pushers: (0..bounds.pushers).map(|index| Arc::new(Pushing::new(&bounds, index))).collect(),
            pullers: (0..bounds.pullers).map(|_| Arc::new(Pulling::new(&bounds, 0))).collect(),
            wires: Vec::new(),
            ledger: Arc::new(Ledger::new(bounds.pushers)),
            left: bounds.faults,
            timeouts: bounds.timeouts,
            serial: 0,
            broken: None,
            seen: Arc::default(),
            bounds: Arc::new(bounds),
        };
        for push in 0..world.pushers.len().min(world.bounds.joined) {
            for pull in 0..world.pullers.len() {
                world.connect(push, pull).unwrap();
                world.greet(world.wires.len() - 1);
            }
        }
        for wire in 0..if world.bounds.granted { world.wires.len() } else { 0 } {
            world.flush(wire, MachineSide::Puller);
            world.carry(wire, MachineSide::Pusher);
        }
        for push in 0..if world.bounds.sent { world.pushers.len() } else { 0 } {
            (0..world.bounds.messages).for_each(|_| world.send(push));
        }
        world.seal();
        world
    }

    pub fn fingerprint(&self) -> u64 {
        let mut hasher = Relative::new(ORIGIN, 0);
        self.hash(&mut hasher);
        hasher.finish()
    }

    /// The world after an action; `None` if it changes nothing. [`Self::broken`] holds any failure.
    pub fn after(&self, action: Action) -> Option<Self> {
        let mut next = self.clone();
        // A panic of a machine is a failure, and the path to it is more useful than its backtrace.
        let step = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let changed = next.step(action)?;
            next.collect_events()?;
            next.wires.retain(|wire| MachineSide::BOTH.iter().any(|side| !wire.is_gone(*side)));
            property::check_changed(self, &next)?;
            Ok::<_, String>(changed)
        }));
        match step {
            Ok(Ok(changed)) => return changed.then_some(next),
            Ok(Err(wrong)) => next.broken = Some(wrong.into()),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                next.broken = Some(format!("a panic: {}", text.unwrap_or_default()).into());
            }
        }
        Some(next)
    }

    fn step(&mut self, action: Action) -> Result<bool, String> {
        match action {
            Action::Flush { wire, side } => self.flush(wire, side),
            Action::Carry { wire, to } => self.carry(wire, to),
            Action::Greet { wire } => self.greet(wire),
            Action::Notice { wire, side } | Action::Remove { wire, side } => self.drop_end(wire, side)?,
            Action::Connect { push, pull } => return self.connect(push, pull),
            Action::Recv { pull } => self.recv(pull)?,
            Action::Settle { pull, held, fate } => self.settle(pull, held, fate)?,
            Action::Wait { pull } => self.pull(pull).start_waiting(),
            Action::Fire { wire, side } => {
                let (here, link) = self.end(wire, side);
                match side {
                    MachineSide::Pusher => {
                        self.timeouts -= 1;
                        self.seen.note(Event::TimedOut);
                        self.push(here.push).process.fire(link);
                    }
                    MachineSide::Puller => self.pull(here.pull).process.fire(link),
                }
            }
            Action::Retry { push } => self.push(push).process.fire_socket(),
            Action::Send { push } => self.send(push),
            Action::Drain { push } => {
                let end = self.bounds.drain == Some(true);
                let pushing = self.push(push);
                pushing.draining = true;
                pushing.process.machine.drain(pushing.process.now, end);
            }
            Action::Cancel { pull } => {
                self.left.cancels -= 1;
                self.pull(pull).stop_waiting();
            }
            Action::Leave { pull } => {
                self.left.leaves -= 1;
                let pulling = self.pull(pull);
                pulling.process.machine.leave();
                pulling.stop_waiting();
            }
            Action::Cut { wire } => {
                self.left.cuts -= 1;
                self.wire(wire).cut = true;
            }
            Action::FailWrite { wire, side } => self.fail_write(wire, side),
            Action::Restart { pull } => self.restart(pull),
            Action::RestartPusher { push } => self.restart_pusher(push),
        }
        Ok(true)
    }

    fn push(&mut self, push: usize) -> &mut Pushing {
        Arc::make_mut(&mut self.pushers[push])
    }

    fn pull(&mut self, pull: usize) -> &mut Pulling {
        Arc::make_mut(&mut self.pullers[pull])
    }

    fn wire(&mut self, wire: usize) -> &mut Wire {
        Arc::make_mut(&mut self.wires[wire])
    }

    fn end(&self, wire: usize, side: MachineSide) -> (Arc<Wire>, LinkId) {
        let here = self.wires[wire].clone();
        let link = here.link(side).unwrap();
        (here, link)
    }

    fn send(&mut self, push: usize) {
        let tracked = self.bounds.tracked;
        self.push(push).send(tracked);
        Arc::make_mut(&mut self.ledger).sent(push);
    }

    fn transmit(&mut self, wire: usize, side: MachineSide, written: bool) -> Vec<Bytes> {
        let (here, link) = self.end(wire, side);
        match side {
            MachineSide::Pusher => {
                let frames = self.push(here.push).process.transmit(link, written);
                if self.bounds.faults.pusher_restarts > 0 {
                    self.store(&here, &frames);
                }
                frames
            }
            MachineSide::Puller => self.pull(here.pull).process.transmit(link, written),
        }
    }

    /// The store of a pusher keeps which attempts may have been written, and to which puller.
    fn store(&mut self, wire: &Wire, frames: &[Bytes]) {
        let puller = peer(Role::Puller, wire.pull, wire.life, Some((wire.push as u64, 0))).key;
        let pushing = self.push(wire.push);
        for frame in frames {
            if let Ok(Body::Deliver(batch)) = decode(frame.clone(), u64::MAX) {
                let sent = batch.items().map(|item| (item.number, (item.attempt, puller)));
                pushing.written.extend(sent);
            }
        }
    }

    fn flush(&mut self, wire: usize, side: MachineSide) {
        let frames = self.transmit(wire, side, true);
        for frame in &frames {
            let body = decode(frame.clone(), u64::MAX);
            if let Ok(Body::Close(_)) = body {
                self.wire(wire).closing = true;
            }
            self.seen.frame(&body);
        }
        self.wire(wire).put(side, frames);
    }

    /// A write fails before any byte is sent; the driver continues to read (RD-2).
    fn fail_write(&mut self, wire: usize, side: MachineSide) {
        self.left.failed_writes -= 1;
        self.transmit(wire, side, false);
        let (here, link) = self.end(wire, side);
        match side {
            MachineSide::Pusher => self.push(here.push).process.fail_write(link),
            MachineSide::Puller => self.pull(here.pull).process.fail_write(link),
        }
        self.wire(wire).end_mut(side).failed = true;
        self.seen.note(Event::FailedWrite);
    }

    fn carry(&mut self, wire: usize, to: MachineSide) {
        let (here, link) = self.end(wire, to);
        let Some(frame) = self.wire(wire).end_mut(to).inbox.pop_front() else { return };
        match to {
            MachineSide::Pusher => self.push(here.push).process.receive(link, frame),
            MachineSide::Puller => self.pull(here.pull).process.receive(link, frame),
        }
    }

    fn connect(&mut self, push: usize, pull: usize) -> Result<bool, String> {
        let generation = u64::from(self.serial) + 1;
        let peer = peer(Role::Puller, pull, self.pullers[pull].life, Some((push as u64, generation)));
        let pushing = self.push(push);
        let opened = pushing.process.machine.open(pushing.process.now, peer);
        let link = match opened {
            Ok(link) => link,
            Err(violation) if violation.code == Code::GoingAway => return Ok(false),
            Err(violation) => return Err(format!("a puller that reconnects is refused: {violation}")),
        };
        let life = self.pullers[pull].life;
        for wire in &mut self.wires {
            let replaced = (wire.push, wire.pull, wire.life) == (push, pull, life);
            if replaced && !wire.is_gone(MachineSide::Pusher) && !wire.closing {
                Arc::make_mut(wire).closing = true;
                self.seen.note(Event::Replaced);
            }
        }
        self.wires.push(Arc::new(Wire::new(self.serial, push, (pull, life), link)));
        self.serial += 1;
        Ok(true)
    }

    fn greet(&mut self, wire: usize) {
        let here = self.wires[wire].clone();
        let peer = peer(Role::Pusher, here.push, 0, None);
        let pulling = self.pull(here.pull);
        match pulling.process.machine.open(pulling.process.now, peer) {
            Ok(link) => self.wire(wire).end_mut(MachineSide::Puller).state = EndState::Open(link),
            Err(_) => self.wire(wire).drop_end(MachineSide::Puller), // the puller is leaving
        }
    }

    fn drop_end(&mut self, wire: usize, side: MachineSide) -> Step {
        let here = self.wires[wire].clone();
        let end = here.link(side).and_then(|link| match side {
            MachineSide::Pusher => self.push(here.push).process.lose(link),
            MachineSide::Puller => {
                let pulling = self.pull(here.pull);
                if pulling.process.machine.has_ended(link) && !pulling.ended.contains(&here.push) {
                    pulling.ended.push(here.push);
                    pulling.ended.sort_unstable();
                }
                pulling.process.lose(link)
            }
        });
        self.wire(wire).drop_end(side);
        end.map_or(Ok(()), |end| judge(&here, side, &end))
    }

    fn recv(&mut self, pull: usize) -> Step {
        let wires = self.wires.clone();
        let pulling = self.pull(pull);
        let Some(received) = pulling.process.machine.recv() else {
            return Err(format!("puller {pull} reports a waiting delivery, but returns none"));
        };
        let over = |wire: &&Arc<Wire>| {
            wire.pull == pull
                && wire.link(MachineSide::Puller) == Some(received.link())
                && wire.life == pulling.life
        };
        let wire = wires.iter().find(over).ok_or("a delivery of an ended link is handed out")?;
        let (number, attempt) = (received.id().number, received.attempt());
        if received.payload() != [u8::try_from(number).unwrap_or_default()] {
            return Err(format!("message {number} has the payload {:?}", received.payload()));
        }
        pulling.held.push(Held { received: Arc::new(received), wire: wire.serial });
        pulling.stop_waiting();
        let alive = |serial| {
            wires.iter().any(|w| w.serial == serial && w.link(MachineSide::Pusher).is_some() && !w.closing)
        };
        // A settle time-out may requeue a delivery of a link that is in use (OC-12).
        let alive = |serial| self.bounds.timeouts == 0 && alive(serial);
        let run = Run { attempt, wire: wire.serial, puller: (pull, wire.life), fate: Fate::Held };
        if attempt > 1 {
            self.seen.note(Event::Redelivered);
        }
        Arc::make_mut(&mut self.ledger).ran(wire.push, number, run, &self.bounds, alive)
    }

    fn settle(&mut self, pull: usize, held: usize, fate: Fate) -> Step {
        let verdict = match fate {
            Fate::Held | Fate::Acked => Verdict::Ack,
            Fate::Nacked => Verdict::Nack { delay_ms: 0, reason: String::new() },
            Fate::Rejected => Verdict::Reject { reason: String::new() },
            Fate::Released => Verdict::Release,
        };
        let left = &mut self.left;
        match fate {
            Fate::Held | Fate::Acked => {}
            Fate::Nacked => left.nacks -= 1,
            Fate::Rejected => left.rejects -= 1,
            Fate::Released => left.releases -= 1,
        }
        let pulling = self.pull(pull);
        let puller = (pull, pulling.life);
        let Held { received, wire } = pulling.held.remove(held);
        pulling.process.machine.settle(&received, &verdict);
        let push = usize::from(received.id().instance.0[1]);
        let run = Run { attempt: received.attempt(), wire, puller, fate };
        // After a settle time-out, a message may return to a puller that has settled it.
        let again = self.bounds.timeouts > 0;
        Arc::make_mut(&mut self.ledger).decided(push, received.id().number, run, again)
    }

    fn restart(&mut self, pull: usize) {
        self.left.restarts -= 1;
        let life = self.pullers[pull].life;
        for wire in
            self.wires.iter_mut().filter(|wire| wire.pull == pull && !wire.is_gone(MachineSide::Puller))
        {
            let wire = Arc::make_mut(wire);
            wire.cut = true;
            wire.drop_end(MachineSide::Puller);
        }
        self.pullers[pull] = Arc::new(Pulling::new(&self.bounds, life + 1));
    }

    /// A pusher dies and restarts with its store, before its pullers notice that their links are lost.
    fn restart_pusher(&mut self, push: usize) {
        self.left.pusher_restarts -= 1;
        for wire in
            self.wires.iter_mut().filter(|wire| wire.push == push && !wire.is_gone(MachineSide::Pusher))
        {
            let wire = Arc::make_mut(wire);
            wire.cut = true;
            wire.drop_end(MachineSide::Pusher);
        }
        self.pushers[push] = Arc::new(self.pushers[push].restarted(&self.bounds));
    }

    fn seal(&mut self) {
        if self.pullers.iter().any(|pulling| pulling.process.machine.stats().duplicates_suppressed > 0) {
            self.seen.note(Event::Recognised);
        }
        for pushing in self.pushers.iter_mut().filter_map(Arc::get_mut) {
            pushing.process.forget_wakes();
            pushing.seal();
        }
        for pulling in self.pullers.iter_mut().filter_map(Arc::get_mut) {
            pulling.process.forget_wakes();
            pulling.seal();
        }
    }

    /// Collects the events that pushers report to their applications.
    fn collect_events(&mut self) -> Step {
        for push in 0..self.pushers.len() {
            if Arc::strong_count(&self.pushers[push]) > 1 {
                continue; // unchanged by this step
            }
            for event in self.push(push).events() {
                let ledger = Arc::make_mut(&mut self.ledger);
                match event {
                    PusherEvent::Settled(number, settled) => {
                        ledger.told(push, number, settled == FinalOutcome::Acked)?;
                    }
                    PusherEvent::Drained => ledger.drained[push] += 1,
                    other => return Err(format!("an unknown event: {other:?}")),
                }
            }
        }
        for pulling in self.pullers.iter_mut().filter(|pulling| Arc::strong_count(pulling) == 1) {
            let machine = &mut Arc::make_mut(pulling).process.machine;
            while machine.poll_event().is_some() {}
        }
        self.seal();
        Ok(())
    }
}

/// Between two correct machines, no link ends because of a violation.
fn judge(wire: &Wire, side: MachineSide, end: &LinkEnd) -> Step {
    match end.code {
        None | Some(Code::Normal | Code::GoingAway | Code::Replaced) => Ok(()),
        Some(_) => Err(format!("wire {}: the {side} ends its link {end}", wire.serial)),
    }
}
