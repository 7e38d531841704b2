//! Keeps an independent account of a pusher, from the frames on its wires and the rules of SPEC.md alone: the state and
//! the attempt number of each message, and what may be sent. Every `Deliver` of the pusher, and its counts, must agree
//! with this account.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tidegate::{Code, PushStats};
use tidegate_proto::{InstanceId, Rule};

use super::{
    super::{
        history::{
            Ack, DeliveredItem, Ending, Entry, FrameSummary, History, Process, Range, Verdict, What, Wire,
        },
        scenario::{Pusher, Scenario},
    },
    Faults, silence,
};

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

/// A puller's identity (HS-9): its instance, and the `resume` that the connector of the link sent. If this side was the
/// connector, that stands for the slot.
type Puller = (InstanceId, u128);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MessageState {
    /// Queued; not to be sent before this time.
    Waiting(Duration),
    Flying,
    Acked,
    Rejected,
    /// Held for this puller until this time, because its link was lost (RD-8); whether the puller has reconnected.
    Absent(Puller, Duration, Back),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Back {
    No,
    /// It had reconnected, over a link that is lost again.
    Gone,
    /// It has reconnected, over a link that was open already or is new.
    Here {
        fresh: bool,
    },
}

#[derive(Clone)]
struct Message {
    place: MessageState,
    /// The attempt number of the current delivery, or of the next one.
    attempt: u32,
    losses: u32,
    /// Losses after which the puller did not reconnect.
    deaths: u32,
    /// Its puller reconnected about when the grace ended, so both results are possible.
    vague: bool,
    /// The value of [`Books::unseen`] when the message was last sent.
    unseen: u32,
}

#[derive(Default)]
struct LinkAccount {
    puller: Option<Puller>,
    /// The `resume` that this side sent, if it is the connector.
    shown: u128,
    /// The code of the first Close, from either side.
    code: Option<i32>,
    /// The puller and its generation, if the peer is the connector.
    slot: Option<(Puller, u64)>,
    next_id: u64,
    bytes: u64,
    limits: (u64, u64),
    flight: BTreeMap<u64, (u64, u64)>,
    /// A message in quarantine is in flight.
    alone: bool,
    recalls: u32,
    leaving: bool,
    /// The Skip for a leaving puller has been sent.
    gone: bool,
    ended: bool,
    closed: bool,
    /// The peer has replaced this link: frames still being written here have no effect.
    replaced: bool,
    /// The un-acked messages have been requeued.
    over: bool,
    /// The pusher gave the link up before any frame showed it.
    given_up: bool,
    /// Recent outcomes on this link, in order.
    settled: Vec<CountedOutcome>,
    /// The time of the last frame that was read.
    read_at: Duration,
    /// The time of the last frame that was sent.
    sent_at: Duration,
}

/// An outcome that counts, unless it turns out that the link had been given up when it was read.
#[derive(Clone)]
struct CountedOutcome {
    at: Duration,
    number: u64,
    before: Message,
    counted: Counts,
    after: MessageState,
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

/// The final state of a line that has ended.
struct Lost {
    /// The messages in flight on it.
    flight: Vec<u64>,
    settled: Vec<CountedOutcome>,
    /// The puller for which they are held (RD-8).
    waits_for: Option<Puller>,
    /// A Close was sent or received.
    closed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    acked: u64,
    nacked: u64,
    rejected: u64,
    released: u64,
}

impl Counts {
    fn minus(self, other: Self) -> Self {
        Self {
            acked: self.acked - other.acked,
            nacked: self.nacked - other.nacked,
            rejected: self.rejected - other.rejected,
            released: self.released - other.released,
        }
    }
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

    fn sent(&mut self, now: Duration, wire: &Wire, frame: &FrameSummary, wrong: &mut Report<'_>) {
        // A settle time-out rejects without a frame on the wire (OC-12), so the number of unsettled messages is unknown
        // then.
        let known = self.counts.acked + self.counts.rejected;
        let unsettled =
            if self.plan.settle_timeout.is_some() { 0 } else { self.accepted.saturating_sub(known) };
        let closes_silent = self.closes_silent.contains(wire);
        let line = self.lines.entry(wire.clone()).or_default();
        match frame {
            FrameSummary::Hello(..) | FrameSummary::Sign => {}
            FrameSummary::Deliver(..) if line.replaced => {}
            FrameSummary::Deliver(first, items) => {
                if *first != line.next_id {
                    wrong(Rule::Dl1.id(), format!("first_id is {first}, but {} is next", line.next_id));
                }
                // A frame that waited when the link was given up is written just before the Close.
                let over = line.over && !(line.given_up && closes_silent);
                if line.ended || line.closed || over || line.gone {
                    wrong(
                        Rule::St7.id(),
                        "Deliver after End, after Close, or after the Skip for a leaving puller".to_owned(),
                    );
                }
                let many = items.len() > 1;
                for item in items {
                    self.deliver(now, wire, *item, many, wrong);
                }
            }
            FrameSummary::Skip(next_id, bytes) => {
                if line.recalls == 0 {
                    wrong(Rule::Rc3.id(), "a Skip without a recall".to_owned());
                }
                line.recalls = line.recalls.saturating_sub(1);
                let right = (line.limits.0.max(line.next_id), line.limits.1.saturating_sub(line.bytes));
                if (*next_id, *bytes) != right {
                    wrong(
                        Rule::Rc1.id(),
                        format!("Skip gives {:?} up, but {right:?} is unused", (next_id, bytes)),
                    );
                }
                (line.next_id, line.bytes) = (*next_id, line.bytes + bytes);
                line.gone |= line.leaving; // ST-1
            }
            FrameSummary::End => {
                if unsettled > 0 {
                    wrong(Rule::St2.id(), format!("End while {unsettled} messages have no outcome"));
                }
                if line.ended || line.closed {
                    wrong(Rule::St7.id(), "a second End, or one after Close".to_owned());
                }
                line.ended = true;
            }
            FrameSummary::Close(code) => {
                let silent = [Code::Silent, Code::TooSlow].map(|code| code as i32);
                if line.given_up && !silent.contains(code) {
                    wrong(
                        Rule::Rd3.id(),
                        format!("a link is closed with {code}, but its messages were requeued before"),
                    );
                }
                line.closed = true;
                line.code.get_or_insert(*code);
                // The link is given up: its messages go to other links, and later outcomes have no effect.
                if silent.contains(code) {
                    let late = std::mem::take(&mut line.settled);
                    let late = self.undo(now, late, *code);
                    if let Some(line) = self.lines.get_mut(wire) {
                        // From here on only the numbers of the messages in flight matter, not the delivery ids.
                        let free = line.next_id;
                        line.flight
                            .extend(late.into_iter().zip(free..).map(|(number, id)| (id, (number, 0))));
                    }
                    self.requeue(now, wire);
                }
            }
            FrameSummary::Working(_) | FrameSummary::Ack(_) => {
                wrong(Rule::Fr5.id(), "a pusher sends what only a puller may".to_owned());
            }
        }
    }

    /// LV-3, LV-8: a link that was given up may be unable to carry the Close with the reason. Its messages are sent
    /// again before any frame shows it. If the Close comes, its code must agree.
    fn give_up_unseen(&mut self, now: Duration, number: u64, wire: &Wire) {
        let flies =
            |line: &LinkAccount| !line.over && line.flight.values().any(|(flying, _)| *flying == number);
        let other = self.lines.iter().find(|(other, line)| *other != wire && flies(line));
        let Some(other) = other.map(|(other, _)| other.clone()) else { return };
        let Some(line) = self.lines.get_mut(&other) else { return };
        line.given_up = true;
        self.unseen += 1;
        let flying: Vec<u64> = line.flight.values().map(|(flying, _)| *flying).collect();
        self.requeue(now, &other);
        for number in flying {
            if let Some(message) = self.messages.get_mut(&number) {
                message.vague = true; // the start of its grace was not seen
            }
        }
    }

    /// LV-3, LV-8: a link may have been given up while the network was stalled, and frames may have been read before
    /// that showed. For SILENT nothing had arrived for two whole intervals by then, so outcomes read since then came
    /// too late to count. Returns the messages that have no outcome after all.
    fn undo(&mut self, now: Duration, settled: Vec<CountedOutcome>, code: i32) -> Vec<u64> {
        let quiet = if code == Code::Silent as i32 { self.heartbeat * 2 } else { GRAIN };
        let mut undone = Vec::new();
        for CountedOutcome { number, before, counted, after, .. } in
            settled.into_iter().filter(|one| now < one.at + quiet)
        {
            // If the message was sent again, the outcome did count.
            if let Some(message) = self.messages.get_mut(&number).filter(|message| message.place == after) {
                *message = before;
                self.counts = self.counts.minus(counted);
                undone.push(number);
            }
        }
        undone
    }

    fn deliver(
        &mut self,
        now: Duration,
        wire: &Wire,
        item: DeliveredItem,
        many: bool,
        wrong: &mut Report<'_>,
    ) {
        let DeliveredItem { number, attempt, size } = item;
        let is_older = self.messages.get(&number).is_some_and(|message| attempt < message.attempt);
        if is_older && self.closes_silent.contains(wire) {
            // The message was requeued before this frame was written, and has gone over another link since then.
            if let Some(line) = self.lines.get_mut(wire) {
                (line.next_id, line.bytes) = (line.next_id + 1, line.bytes + size);
            }
            return;
        }
        if self.plan.settle_timeout.is_none() {
            self.give_up_unseen(now, item.number, wire);
        }
        let Some(line) = self.lines.get_mut(wire) else { return };
        if line.given_up {
            wrong(Rule::Rd3.id(), format!("message {number} goes over a link whose messages were requeued"));
        }
        if line.next_id >= line.limits.0 || line.bytes >= line.limits.1 {
            let used = (line.next_id, line.bytes);
            wrong(
                Rule::Cr2.id(),
                format!("message {number} goes at {used:?}, but the limits are {:?}", line.limits),
            );
        }
        let bytes: u64 = line.flight.values().map(|(_, size)| size).sum();
        let (most, most_bytes) = self.plan.max_in_flight;
        if (line.flight.len() >= most || bytes >= most_bytes) && self.plan.settle_timeout.is_none() {
            let flying = line.flight.len();
            wrong(
                Rule::Cr8.id(),
                format!("message {number} goes while {flying} of {bytes} bytes are un-acked"),
            );
        }
        // A settle time-out requeues messages without a frame on the wire (OC-12).
        let timed_out = self.plan.settle_timeout.is_some();
        let puller = line.puller;
        let alone = line.alone;
        let first = line.flight.is_empty();
        let quiet = |(other, line): (&Wire, &LinkAccount)| {
            let silent = line.read_at + self.heartbeat * 2 <= now;
            let stuck = line.sent_at + self.write_stall * 20 <= now;
            other != wire && !line.over && (silent || stuck)
        };
        let quiet = self.lines.iter().filter(|&line| quiet(line)).count() as u32;
        let owed = self.messages.iter().any(|(other, message)| {
            let fresh = Back::Here { fresh: true };
            *other != number
                && !message.vague
                && matches!(message.place, MessageState::Absent(absent, until, back)
                    if Some(absent) == puller && back == fresh && now + GRAIN < until)
        });
        let message = self.messages.entry(number).or_insert_with(Message::fresh);
        // RD-3: it may have been lost with links on which it was not yet written. LV-3, LV-8: a link that is silent or
        // stuck may have been given up although no Close could be written.
        let unseen = attempt.saturating_sub(message.attempt);
        if unseen > 0 && unseen <= self.unseen - message.unseen + quiet {
            message.attempt += unseen;
            message.losses += unseen;
            message.vague = true;
        }
        message.unseen = self.unseen;
        let mut expected = false;
        if let MessageState::Absent(absent, until, back) = message.place {
            expected = Some(absent) == puller && matches!(back, Back::Here { .. });
            if !expected {
                if now + GRAIN < until && !message.vague && !timed_out {
                    wrong(
                        Rule::Rd8.id(),
                        format!("message {number} is not held for its puller until {until:?}"),
                    );
                }
                message.give_up(until, self.plan);
            }
        }
        match message.place {
            MessageState::Waiting(until) if now + GRAIN < until && !message.vague && !timed_out => {
                wrong(Rule::Oc6.id(), format!("message {number} goes {:?} too early", until - now));
            }
            MessageState::Waiting(_) => {}
            MessageState::Absent(..) if expected => {}
            _ if timed_out => {}
            other => wrong(Rule::Rd3.id(), format!("message {number} is sent while it is {other:?}")),
        }
        if attempt != message.attempt && !timed_out {
            wrong(
                Rule::Dl3.id(),
                format!("message {number} is sent as attempt {attempt}, not {}", message.attempt),
            );
        }
        let suspect = message.deaths >= 2 && !message.vague && !timed_out && !expected;
        if alone || (suspect && (many || !first)) {
            let deaths = message.deaths;
            wrong(
                Rule::Rd4.id(),
                format!("message {number}, lost {deaths} times, shares a link with a poison message"),
            );
        }
        if owed && !timed_out && !expected && !suspect && !message.vague {
            wrong(
                Rule::Rd8.id(),
                format!("message {number} is sent before those that are held for the puller"),
            );
        }
        message.place = MessageState::Flying;
        let Some(line) = self.lines.get_mut(wire) else { return };
        line.alone |= suspect;
        line.flight.insert(line.next_id, (number, size));
        line.next_id += 1;
        line.bytes += size;
    }

    fn read(&mut self, now: Duration, wire: &Wire, frame: &FrameSummary, wrong: &mut Report<'_>) {
        if self.gives_up.get(wire) == Some(&now)
            && let Some(line) = self.lines.get_mut(wire)
        {
            line.code.get_or_insert(Code::Silent as i32);
            self.requeue(now, wire);
        }
        match frame {
            FrameSummary::Ack(ack) => self.ack(now, wire, ack, wrong),
            FrameSummary::Close(code) => {
                if let Some(line) = self.lines.get_mut(wire) {
                    line.code.get_or_insert(*code);
                }
                // The pusher may have given up the link just before.
                if let Some(lost) = self.requeue(now, wire) {
                    self.dropped.insert(wire.name.to_string(), lost);
                }
            }
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
                    None if self.plan.settle_timeout.is_some() => {}
                    None => {
                        wrong(
                            Rule::Oc1.id(),
                            format!("an outcome for delivery {id}, which is not in flight"),
                        );
                    }
                }
            }
        }
        line.limits = (line.limits.0.max(ack.message_limit), line.limits.1.max(ack.byte_limit));
        line.recalls += u32::from(ack.recall || ack.leaving);
        line.leaving |= ack.leaving;
        line.alone &= !line.flight.is_empty();
        line.settled.retain(|one| now < one.at + self.heartbeat * 2);
        for (number, range) in settled {
            let Some(before) = self.messages.get(&number).cloned() else { continue };
            let counted = self.counts;
            self.settle(now, number, range, wrong);
            let (counted, after) = (self.counts.minus(counted), self.messages.get(&number).map(|m| m.place));
            if let Some((line, after)) = self.lines.get_mut(wire).zip(after) {
                line.settled.push(CountedOutcome { at: now, number, before, counted, after });
            }
        }
    }

    fn settle(&mut self, now: Duration, number: u64, range: Range, wrong: &mut Report<'_>) {
        let Some(message) = self.messages.get_mut(&number) else { return };
        if message.place != MessageState::Flying && self.plan.settle_timeout.is_none() {
            wrong(
                Rule::Oc1.id(),
                format!("an outcome counts for message {number} while it is {:?}", message.place),
            );
        }
        let counts = &mut self.counts;
        message.place = match range.verdict {
            Verdict::Ack => {
                counts.acked += 1;
                MessageState::Acked
            }
            Verdict::Reject => {
                counts.rejected += 1;
                MessageState::Rejected
            }
            Verdict::Release => {
                counts.released += 1;
                MessageState::Waiting(now) // OC-8
            }
            Verdict::Nack => {
                counts.nacked += 1;
                let failures = message.attempt.saturating_sub(message.losses);
                if self.plan.max_attempts.is_some_and(|most| failures >= most) {
                    counts.rejected += 1; // OC-11
                    MessageState::Rejected
                } else {
                    message.attempt += 1;
                    let asked = Duration::from_millis(u64::from(range.delay_ms).max(10));
                    let wait = match range.delay_ms {
                        0 => grown(self.plan, failures),
                        _ => asked.min(self.plan.max_nack_delay),
                    };
                    MessageState::Waiting(now + wait)
                }
            }
        };
    }
}

impl Message {
    fn fresh() -> Self {
        let place = MessageState::Waiting(Duration::ZERO);
        Self { place, attempt: 1, losses: 0, deaths: 0, vague: false, unseen: 0 }
    }

    /// The puller does not reconnect.
    fn die(&mut self, at: Duration, plan: &Pusher) {
        self.deaths += 1;
        let wait = if self.deaths >= 2 { grown(plan, self.deaths - 1) } else { Duration::ZERO };
        self.place = MessageState::Waiting(at + wait);
    }

    /// The grace has ended.
    fn give_up(&mut self, at: Duration, plan: &Pusher) {
        match self.place {
            MessageState::Absent(_, _, Back::Here { .. }) => self.place = MessageState::Waiting(at),
            _ => self.die(at, plan),
        }
    }
}

/// OC-6: the retry delay after this number of failures, without the random part.
fn grown(plan: &Pusher, failures: u32) -> Duration {
    plan.retry.0.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(plan.retry.1)
}

/// Whether a process is a pusher.
pub(super) fn is_pusher(scenario: &Scenario, who: Process) -> bool {
    who.host < scenario.pushers.len()
}
