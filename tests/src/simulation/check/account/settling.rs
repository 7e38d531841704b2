//! What a pusher reads: outcomes, limits and the end of a link.

use std::time::Duration;

use tidegate::Code;
use tidegate_proto::Rule;

use crate::simulation::history::{Ack, FrameSummary, Range, Verdict, Wire};

use super::{
    Books, GRAIN, Report,
    link::CountedOutcome,
    message::{MessageState, grown},
};

impl Books<'_> {
    pub(super) fn read(&mut self, now: Duration, wire: &Wire, frame: &FrameSummary, wrong: &mut Report<'_>) {
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

    /// LV-3, LV-8: a link may have been given up while the network was stalled, and frames may have been read before
    /// that showed. For SILENT nothing had arrived for two whole intervals by then, so outcomes read since then came
    /// too late to count. Returns the messages that have no outcome after all.
    pub(super) fn undo(&mut self, now: Duration, settled: Vec<CountedOutcome>, code: i32) -> Vec<u64> {
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

    pub(super) fn ack(&mut self, now: Duration, wire: &Wire, ack: &Ack, wrong: &mut Report<'_>) {
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

    pub(super) fn settle(&mut self, now: Duration, number: u64, range: Range, wrong: &mut Report<'_>) {
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
