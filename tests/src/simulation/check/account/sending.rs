//! What a pusher sends: the frames that are allowed on a link, and the messages that may go.

use std::time::Duration;

use tidegate::Code;
use tidegate_proto::Rule;

use crate::simulation::history::{DeliveredItem, FrameSummary, Wire};

use super::{
    Books, GRAIN, Report,
    link::LinkAccount,
    message::{Back, Message, MessageState},
};

impl Books<'_> {
    pub(super) fn sent(&mut self, now: Duration, wire: &Wire, frame: &FrameSummary, wrong: &mut Report<'_>) {
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
    pub(super) fn give_up_unseen(&mut self, now: Duration, number: u64, wire: &Wire) {
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

    pub(super) fn deliver(
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
}
