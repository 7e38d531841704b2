//! Keeps the books of a pusher by what was on its wires, and by the rules of SPEC.md alone: which message is where, at which
//! attempt, and what may be sent. The pusher's every `Deliver` must be what these books say, and so must its counts.

use std::{collections::BTreeMap, time::Duration};

use tidegate::PushStats;
use tidegate_proto::InstanceId;

use super::{
    super::{
        history::{Ack, Ending, Entry, Frame, History, Item, Process, Range, Verdict, What, Wire},
        scenario::{Pusher, Scenario},
    },
    Faults,
};

/// Times are in microseconds, timers in milliseconds.
const GRAIN: Duration = Duration::from_millis(1);

/// Checks every pusher of a history.
pub(super) fn check(scenario: &Scenario, history: &History, faults: &mut Faults) {
    for who in history.processes() {
        if let Some(plan) = scenario.pushers.get(who.host) {
            let mut books = Books::new(plan);
            for entry in history.of(who) {
                books.enter(entry, &mut faults.of(who, entry.at));
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// With the pusher; not to be sent before this time.
    Waiting(Duration),
    Flying,
    Acked,
    Rejected,
}

struct Message {
    place: Place,
    /// Of the delivery under way, or of the next one.
    attempt: u32,
    losses: u32,
}

#[derive(Default)]
struct Line {
    /// Whose it is, if the peer connected.
    slot: Option<(InstanceId, u64, u64)>,
    next_id: u64,
    octets: u64,
    limits: (u64, u64),
    flight: BTreeMap<u64, (u64, u64)>,
    /// A message that must be alone is in flight.
    alone: bool,
    recalls: u32,
    leaving: bool,
    skipped: bool,
    ended: bool,
    closed: bool,
    /// What was un-acked has been taken back.
    over: bool,
}

struct Books<'a> {
    plan: &'a Pusher,
    messages: BTreeMap<u64, Message>,
    lines: BTreeMap<Wire, Line>,
    accepted: u64,
    counts: Counts,
    aborted: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    acked: u64,
    nacked: u64,
    rejected: u64,
    released: u64,
}

type Report<'a> = dyn FnMut(&str, String) + 'a;

impl<'a> Books<'a> {
    fn new(plan: &'a Pusher) -> Self {
        let (messages, lines) = Default::default();
        Self { plan, messages, lines, accepted: 0, counts: Counts::default(), aborted: false }
    }

    fn enter(&mut self, entry: &Entry, wrong: &mut Report<'_>) {
        match &entry.what {
            What::Accepted(..) => self.accepted += 1,
            What::Read(wire, Frame::Hello(instance, slot, generation)) if !wire.connector => {
                self.replace(entry.at, (*instance, *slot, *generation));
                self.lines.entry(wire.clone()).or_default().slot = Some((*instance, *slot, *generation));
            }
            What::Sent(wire, frame) => self.sent(entry.at, wire, frame, wrong),
            What::Read(wire, frame) => self.read(entry.at, wire, frame, wrong),
            What::Dropped(wire) => {
                self.take_back(entry.at, wire);
                self.lines.remove(wire);
            }
            What::Stopping(Ending::Abort) => {
                // ST-8: from now on nothing that comes counts.
                self.aborted = true;
            }
            What::PushStats(stats, _) => self.compare(stats, wrong),
            What::Stopped(ending, stats, unsent, unacked) => {
                let whole = unsent.is_empty() && unacked.is_empty();
                if *ending == Ending::Finish || whole {
                    self.compare(stats, wrong);
                }
            }
            _ => {}
        }
    }

    /// The counts that the pusher tells are those of the books.
    fn compare(&self, stats: &PushStats, wrong: &mut Report<'_>) {
        let PushStats { acked, nacked, rejected, released, .. } = *stats;
        let told = Counts { acked, nacked, rejected, released };
        if !self.aborted && told != self.counts {
            wrong("OC-1", format!("the pusher counts {told:?}, but the wire had {:?}", self.counts));
        }
    }

    /// HS-9: a higher generation takes over.
    fn replace(&mut self, now: Duration, (instance, slot, generation): (InstanceId, u64, u64)) {
        let older =
            |line: &Line| line.slot.is_some_and(|(i, s, g)| (i, s) == (instance, slot) && g < generation);
        let wires: Vec<_> =
            self.lines.iter().filter(|(_, line)| older(line)).map(|(w, _)| w.clone()).collect();
        for wire in wires {
            self.take_back(now, &wire);
        }
    }

    /// RD-3, RD-4.
    fn take_back(&mut self, now: Duration, wire: &Wire) {
        let Some(line) = self.lines.get_mut(wire).filter(|line| !line.over) else { return };
        line.over = true;
        for (number, _) in std::mem::take(&mut line.flight).into_values() {
            let Some(message) = self.messages.get_mut(&number) else { continue };
            message.attempt += 1;
            message.losses += 1;
            let alone = message.losses >= 2;
            let wait = if alone { grown(self.plan, message.losses - 1) } else { Duration::ZERO };
            message.place = Place::Waiting(now + wait);
        }
    }

    fn sent(&mut self, now: Duration, wire: &Wire, frame: &Frame, wrong: &mut Report<'_>) {
        let unsettled = self.accepted - self.counts.acked - self.counts.rejected;
        let line = self.lines.entry(wire.clone()).or_default();
        match frame {
            Frame::Hello(..) | Frame::Sign => {}
            Frame::Deliver(first, items) => {
                if *first != line.next_id {
                    wrong("DL-1", format!("first_id is {first}, but {} is next", line.next_id));
                }
                if line.ended || line.closed || line.over || (line.leaving && line.skipped) {
                    wrong("ST-7", "Deliver after End, Close or the Skip for one who leaves".to_owned());
                }
                let many = items.len() > 1;
                for item in items {
                    self.deliver(now, wire, *item, many, wrong);
                }
            }
            Frame::Skip(next_id, octets) => {
                if line.recalls == 0 {
                    wrong("RC-3", "a Skip that nobody asked for".to_owned());
                }
                line.recalls = line.recalls.saturating_sub(1);
                let right = (line.limits.0.max(line.next_id), line.limits.1.saturating_sub(line.octets));
                if (*next_id, *octets) != right {
                    wrong("RC-1", format!("Skip gives {:?} up, but {right:?} is unused", (next_id, octets)));
                }
                (line.next_id, line.octets) = (*next_id, line.octets + octets);
                line.skipped = true;
            }
            Frame::End => {
                if unsettled > 0 {
                    wrong("ST-2", format!("End while {unsettled} messages have no outcome"));
                }
                if line.ended || line.closed {
                    wrong("ST-7", "a second End, or one after Close".to_owned());
                }
                line.ended = true;
            }
            Frame::Close(_) => line.closed = true,
            Frame::Ack(_) => wrong("FR-5", "Ack from a pusher".to_owned()),
        }
    }

    fn deliver(&mut self, now: Duration, wire: &Wire, item: Item, many: bool, wrong: &mut Report<'_>) {
        let Some(line) = self.lines.get_mut(wire) else { return };
        let Item { number, attempt, size } = item;
        if line.next_id >= line.limits.0 || line.octets >= line.limits.1 {
            let used = (line.next_id, line.octets);
            wrong("CR-2", format!("message {number} goes at {used:?}, but the limits are {:?}", line.limits));
        }
        let octets: u64 = line.flight.values().map(|(_, size)| size).sum();
        let (most, most_octets) = self.plan.max_in_flight;
        if line.flight.len() >= most || octets >= most_octets {
            let flying = line.flight.len();
            wrong("CR-8", format!("message {number} goes while {flying} of {octets} octets are un-acked"));
        }
        let fresh = Message { place: Place::Waiting(Duration::ZERO), attempt: 1, losses: 0 };
        let message = self.messages.entry(number).or_insert(fresh);
        match message.place {
            Place::Waiting(until) if now + GRAIN < until => {
                wrong("OC-6", format!("message {number} goes {:?} too early", until - now));
            }
            Place::Waiting(_) => {}
            other => wrong("RD-3", format!("message {number} is sent while it is {other:?}")),
        }
        if attempt != message.attempt {
            wrong("DL-3", format!("message {number} is sent as attempt {attempt}, not {}", message.attempt));
        }
        if line.alone || (message.losses >= 2 && (many || !line.flight.is_empty())) {
            let losses = message.losses;
            wrong("RD-4", format!("message {number}, lost {losses} times, shares a link with a suspect"));
        }
        message.place = Place::Flying;
        line.alone |= message.losses >= 2;
        line.flight.insert(line.next_id, (number, size));
        line.next_id += 1;
        line.octets += size;
    }

    fn read(&mut self, now: Duration, wire: &Wire, frame: &Frame, wrong: &mut Report<'_>) {
        match frame {
            Frame::Ack(ack) => self.ack(now, wire, ack, wrong),
            Frame::Close(_) => self.take_back(now, wire),
            _ => {}
        }
    }

    fn ack(&mut self, now: Duration, wire: &Wire, ack: &Ack, wrong: &mut Report<'_>) {
        let Some(line) = self.lines.get_mut(wire).filter(|line| !line.over) else { return };
        let mut settled = Vec::new();
        for range in &ack.outcomes {
            for id in range.first..range.first + range.count {
                match line.flight.remove(&id) {
                    Some((number, _)) => settled.push((number, *range)),
                    None => wrong("OC-1", format!("an outcome for delivery {id}, which has none to get")),
                }
            }
        }
        line.limits = (line.limits.0.max(ack.message_limit), line.limits.1.max(ack.byte_limit));
        line.recalls += u32::from(ack.recall || ack.leaving);
        line.leaving |= ack.leaving;
        line.alone &= !line.flight.is_empty();
        for (number, range) in settled {
            self.settle(now, number, range);
        }
    }

    fn settle(&mut self, now: Duration, number: u64, range: Range) {
        let Some(message) = self.messages.get_mut(&number) else { return };
        let counts = &mut self.counts;
        message.place = match range.verdict {
            Verdict::Ack => {
                counts.acked += 1;
                Place::Acked
            }
            Verdict::Reject => {
                counts.rejected += 1;
                Place::Rejected
            }
            Verdict::Release => {
                counts.released += 1;
                Place::Waiting(now) // OC-8
            }
            Verdict::Nack => {
                counts.nacked += 1;
                let failures = message.attempt - message.losses;
                if self.plan.max_attempts.is_some_and(|most| failures >= most) {
                    counts.rejected += 1; // OC-11
                    Place::Rejected
                } else {
                    message.attempt += 1;
                    let asked = Duration::from_millis(range.delay_ms.into()).min(self.plan.max_nack_delay);
                    Place::Waiting(now + asked.max(grown(self.plan, failures)))
                }
            }
        };
    }
}

/// OC-6: the wait after so many failures, without what is added at random.
fn grown(plan: &Pusher, failures: u32) -> Duration {
    plan.retry.0.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(plan.retry.1)
}

/// A process whose books these are.
pub(super) fn is_pusher(scenario: &Scenario, who: Process) -> bool {
    who.host < scenario.pushers.len()
}
