//! Keeps an independent account of a pusher, from the frames on its wires and the rules of SPEC.md alone: the state and
//! the attempt number of each message, and what may be sent. Every `Deliver` of the pusher, and its counts, must agree
//! with this account.

mod link;
mod message;
mod sending;
mod settling;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tidegate::{Code, PushStats};
use tidegate_proto::Rule;

use super::{
    super::{
        history::{Ending, Entry, FrameSummary, History, Process, What, Wire},
        scenario::{Pusher, Scenario},
    },
    Faults, silence,
};
use link::{LinkAccount, Lost};
use message::{Back, Counts, Message, MessageState, Puller};

/// The tolerance for times: times are in microseconds, timers in milliseconds.
const GRAIN: Duration = Duration::from_millis(2);

/// Checks every pusher of a history.
pub(super) fn check(scenario: &Scenario, history: &History, faults: &mut Faults) {
    for who in history.processes() {
        if let Some(plan) = scenario.pushers.get(who.host) {
            let mut books = Books::new(plan, scenario);
            books.gives_up = silence::unseen(history.of(who), scenario.heartbeat);
            books.closes_silent = silence::closes(history.of(who));
            books.closes_silent.extend(books.gives_up.keys().cloned());
            for entry in history.of(who) {
                books.enter(entry, &mut faults.of(who, entry.at));
            }
        }
    }
}

struct Books<'a> {
    plan: &'a Pusher,
    heartbeat: Duration,
    write_stall: Duration,
    messages: BTreeMap<u64, Message>,
    lines: BTreeMap<Wire, LinkAccount>,
    accepted: u64,
    counts: Counts,
    stopping: bool,
    /// The number of links that were replaced or given up while their drivers may have had frames to write. Such frames
    /// count as written (RD-3), but the wire does not show them.
    unseen: u32,
    /// Links that the pusher closes with SILENT or TOO_SLOW at some time. A frame that was waiting to be written when
    /// the pusher gave up the link is written just before that Close.
    closes_silent: BTreeSet<Wire>,
    /// Links that the pusher gives up without a Close, with the time from which outcomes come too late.
    gives_up: BTreeMap<Wire, Duration>,
    /// Links that were dropped without a Close of the pusher, by name, until the event says why.
    dropped: BTreeMap<String, Lost>,
}

type Report<'a> = dyn FnMut(&str, String) + 'a;

impl<'a> Books<'a> {
    fn new(plan: &'a Pusher, scenario: &Scenario) -> Self {
        let (messages, lines, counts) = Default::default();
        Self {
            plan,
            heartbeat: scenario.heartbeat,
            write_stall: scenario.write_stall,
            messages,
            lines,
            accepted: 0,
            counts,
            stopping: false,
            unseen: 0,
            closes_silent: BTreeSet::new(),
            gives_up: BTreeMap::new(),
            dropped: BTreeMap::new(),
        }
    }

    fn enter(&mut self, entry: &Entry, wrong: &mut Report<'_>) {
        match &entry.what {
            What::Accepted(..) => self.accepted += 1,
            What::Sent(wire, FrameSummary::Hello(_, resume, _)) if wire.connector => {
                self.lines.entry(wire.clone()).or_default().shown = *resume;
            }
            // The handshake had failed before its answer arrived, for example after its deadline (HS-11).
            What::Read(wire, FrameSummary::Hello(..))
                if self.lines.get(wire).is_some_and(|line| line.closed) => {}
            What::Read(wire, FrameSummary::Hello(instance, resume, generation)) => {
                let shown = self.lines.get(wire).map_or(0, |line| line.shown);
                let puller = (*instance, if wire.connector { shown } else { *resume });
                if !wire.connector {
                    self.replace(entry.at, puller, *generation);
                }
                let line = self.lines.entry(wire.clone()).or_default();
                (line.read_at, line.sent_at) = (entry.at, entry.at);
                line.slot = (!wire.connector).then_some((puller, *generation));
                line.puller = Some(puller);
                self.returned(entry.at, puller, true);
            }
            What::Sent(wire, frame) => {
                self.sent(entry.at, wire, frame, wrong);
                self.lines.entry(wire.clone()).or_default().sent_at = entry.at;
            }
            What::Read(wire, frame) => {
                self.read(entry.at, wire, frame, wrong);
                self.lines.entry(wire.clone()).or_default().read_at = entry.at;
            }
            What::Dropped(wire) => {
                if let Some(lost) = self.requeue(entry.at, wire).filter(|lost| !lost.closed) {
                    self.dropped.insert(wire.name.to_string(), lost);
                }
                self.lines.remove(wire);
            }
            // The link was given up before, and its stream did not accept the Close, so the time is unknown.
            What::Disconnected(_, name, code, by_peer) => {
                let lost = self.dropped.remove(name);
                let (Some(mut lost), Some(code @ (Code::Silent | Code::TooSlow)), false) =
                    (lost, code, by_peer)
                else {
                    return;
                };
                self.unseen += 1;
                let late = std::mem::take(&mut lost.settled);
                for number in self.undo(entry.at, late, *code as i32) {
                    self.lose(entry.at, number, lost.waits_for);
                    lost.flight.push(number);
                }
                for number in lost.flight {
                    if let Some(message) = self.messages.get_mut(&number) {
                        message.vague = true;
                    }
                }
            }
            // ST-8: outcomes no longer count, from now or from the end of the linger time, which is not recorded.
            What::Stopping(ending) => self.stopping = *ending != Ending::Finish,
            What::PushStats(stats, _) if !self.stopping => self.compare(stats, wrong),
            What::Stopped(ending, stats, unsent, unacked) => {
                let whole = unsent.is_empty() && unacked.is_empty();
                if *ending == Ending::Finish || (*ending == Ending::Drain && whole) {
                    self.compare(stats, wrong);
                }
            }
            _ => {}
        }
    }

    /// Compares the pusher's counts with this account.
    fn compare(&self, stats: &PushStats, wrong: &mut Report<'_>) {
        let PushStats { acked, nacked, rejected, released, .. } = *stats;
        let told = Counts { acked, nacked, rejected, released };
        if self.plan.settle_timeout.is_none() && told != self.counts {
            wrong(Rule::Oc1.id(), format!("the pusher counts {told:?}, but the wire had {:?}", self.counts));
        }
    }

    /// HS-9: a link with a higher generation replaces the older link.
    fn replace(&mut self, now: Duration, puller: Puller, generation: u64) {
        let older =
            |line: &LinkAccount| line.slot.is_some_and(|(peer, older)| peer == puller && older < generation);
        let wires: Vec<_> =
            self.lines.iter().filter(|(_, line)| older(line)).map(|(w, _)| w.clone()).collect();
        for wire in wires {
            self.unseen += 1;
            self.requeue(now, &wire);
            if let Some(line) = self.lines.get_mut(&wire) {
                line.replaced = true;
            }
        }
    }

    /// Requeues the un-acked messages of a link (RD-3, RD-4, RD-8). `None` if this was done before.
    fn requeue(&mut self, now: Duration, wire: &Wire) -> Option<Lost> {
        let line = self.lines.get_mut(wire).filter(|line| !line.over)?;
        line.over = true;
        let flight: Vec<u64> =
            std::mem::take(&mut line.flight).into_values().map(|(number, _)| number).collect();
        let (settled, puller) = (std::mem::take(&mut line.settled), line.puller);
        let interruptions = [Code::Silent, Code::TooSlow, Code::Replaced].map(|code| code as i32);
        let interrupted = line.code.is_none_or(|code| interruptions.contains(&code));
        let waits = interrupted && !line.leaving && !self.plan.grace.is_zero();
        let waits_for = puller.filter(|_| waits);
        let closed = line.code.is_some();
        // The grace started when the link was given up, some time before the Close was written.
        let silent = [Code::Silent, Code::TooSlow].map(|code| code as i32);
        let unseen = line.code.is_some_and(|code| silent.contains(&code));
        self.unseen += u32::from(unseen);
        for message in self.messages.values_mut() {
            if let MessageState::Absent(absent, _, back @ Back::Here { .. }) = &mut message.place
                && Some(*absent) == puller
            {
                *back = Back::Gone;
                // The message may have been assigned to the link without being written. Then it goes to another link at
                // once.
                message.vague = true;
            }
        }
        for &number in &flight {
            self.lose(now, number, waits_for);
            if let Some(message) = self.messages.get_mut(&number) {
                message.vague |= unseen;
            }
        }
        if let Some(puller) = waits_for {
            let is_here = |line: &LinkAccount| {
                line.puller == Some(puller) && !line.over && line.code.is_none() && !line.leaving
            };
            if self.lines.values().any(is_here) {
                self.returned(now, puller, false);
            }
        }
        Some(Lost { flight, settled, waits_for, closed })
    }

    /// A message was lost with a link. It is held for its puller, if that may reconnect.
    fn lose(&mut self, now: Duration, number: u64, waits_for: Option<Puller>) {
        let Some(message) = self.messages.get_mut(&number) else { return };
        message.attempt += 1;
        message.losses += 1;
        match waits_for {
            Some(puller) => message.place = MessageState::Absent(puller, now + self.plan.grace, Back::No),
            None => message.die(now, self.plan),
        }
    }

    /// A puller has reconnected: it gets its messages again, within another grace.
    fn returned(&mut self, now: Duration, puller: Puller, fresh: bool) {
        for message in self.messages.values_mut() {
            let MessageState::Absent(absent, until, back) = message.place else { continue };
            if absent != puller || matches!(back, Back::Here { .. }) {
                continue;
            }
            if until + GRAIN < now {
                message.give_up(until, self.plan);
            } else {
                message.vague |= now + GRAIN > until;
                let until = if back == Back::Gone { until } else { now + self.plan.grace };
                message.place = MessageState::Absent(absent, until, Back::Here { fresh });
            }
        }
    }
}

/// Whether a process is a pusher.
pub(super) fn is_pusher(scenario: &Scenario, who: Process) -> bool {
    who.host < scenario.pushers.len()
}
