//! Checks the frames of a puller: its grants, its outcomes, and its recalls.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tidegate::{Code, InstanceId, Window};
use tidegate_proto::Rule;

use super::{
    super::{
        history::{Ack, DeliveredItem, FrameSummary, History, Verdict, What, Wire},
        scenario::{Puller, Scenario},
    },
    Faults,
};

/// How long after a link has opened the puller has room for redelivered messages (RD-9), with a tolerance.
const AGAIN: Duration = Duration::from_millis(1_050);

/// Checks every puller of a history.
pub(super) fn check(scenario: &Scenario, history: &History, faults: &mut Faults) {
    for who in history.processes() {
        let Some(index) = who.host.checked_sub(scenario.pushers.len()) else { continue };
        let plan = &scenario.pullers[index];
        let mut lines = BTreeMap::<Wire, LinkGrants>::new();
        // The number of un-acked messages on lost links, which may be redelivered (RD-9).
        let mut lost = 0;
        // Un-acked deliveries have once used up the byte budget, so that the puller may release what arrives (LM-4).
        let mut was_full = false;
        for entry in history.of(who) {
            let wrong = &mut faults.of(who, entry.at);
            match &entry.what {
                What::Sent(wire, FrameSummary::Ack(ack)) => {
                    let line = lines.entry(wire.clone()).or_default();
                    let opened = *line.opened.get_or_insert(entry.at);
                    let expected = if entry.at <= opened + AGAIN { lost } else { 0 };
                    line.ack(plan, ack, (expected, was_full), wrong);
                    check_budget(plan, &lines, wrong);
                }
                What::Sent(wire, FrameSummary::Deliver(..) | FrameSummary::Skip(..) | FrameSummary::End) => {
                    wrong(Rule::Fr5.id(), format!("a puller sends what only a pusher may, on {}", wire.name));
                }
                What::Sent(wire, FrameSummary::Close(code)) => {
                    let line = lines.entry(wire.clone()).or_default();
                    line.close(*code, wrong);
                    // From now on its messages may be redelivered, over the link that replaces it.
                    lost += line.lose();
                }
                What::Read(wire, FrameSummary::Hello(instance, resume, _)) if !wire.connector => {
                    // The link that this one replaces is lost, although its Close may have to wait (HS-9).
                    let replaced = lines.values_mut().filter(|line| line.peer == Some((*instance, *resume)));
                    lost += replaced.map(LinkGrants::lose).sum::<u64>();
                    lines.entry(wire.clone()).or_default().peer = Some((*instance, *resume));
                }
                What::Read(wire, FrameSummary::Deliver(first, items)) => {
                    lines.entry(wire.clone()).or_default().deliver(*first, items);
                    was_full |= lines.values().map(LinkGrants::unsettled_bytes).sum::<u64>() >= plan.budget.1;
                }
                What::Read(wire, FrameSummary::Skip(next_id, bytes)) => {
                    lines.entry(wire.clone()).or_default().skip(*next_id, *bytes);
                }
                What::Read(wire, FrameSummary::End) => lines.entry(wire.clone()).or_default().end(),
                What::Read(wire, FrameSummary::Close(_)) => {
                    lines.entry(wire.clone()).or_default().peer_closed = true;
                }
                What::Dropped(wire) => {
                    lost += lines.remove(wire).map_or(0, |mut line| line.lose());
                }
                _ => {}
            }
        }
    }
}

/// CR-9: the unused credit of all links is within the budget, plus one message for each link (CR-6). `End` gives up the
/// credit of its link (ST-7).
fn check_budget(plan: &Puller, lines: &BTreeMap<Wire, LinkGrants>, wrong: &mut dyn FnMut(&str, String)) {
    let links = lines.len() as u64;
    let open = lines.values().filter(|line| !line.ended);
    let unused: u64 = open.map(|line| line.limits.0.saturating_sub(line.next_id)).sum();
    let most = plan.budget.0 + links;
    if unused > most {
        wrong(
            Rule::Cr9.id(),
            format!("{unused} messages of credit are unused, but the budget allows {most}"),
        );
    }
}

#[derive(Default)]
struct LinkGrants {
    sizes: BTreeMap<u64, u64>,
    unsettled: BTreeSet<u64>,
    next_id: u64,
    bytes: u64,
    /// Messages settled and skipped.
    done: u64,
    done_bytes: u64,
    limits: (u64, u64),
    /// Skips due: recalls and leavings without an answer (RC-1).
    owed: u8,
    leaving: bool,
    opened: Option<Duration>,
    /// The instance and `resume` of a peer that is the connector.
    peer: Option<(InstanceId, u128)>,
    ended: bool,
    peer_closed: bool,
    lost: bool,
}

impl LinkGrants {
    /// Returns the number of messages lost with the link, once.
    fn lose(&mut self) -> u64 {
        if std::mem::replace(&mut self.lost, true) { 0 } else { self.unsettled.len() as u64 }
    }

    fn deliver(&mut self, first: u64, items: &[DeliveredItem]) {
        for (id, item) in (first..).zip(items) {
            self.sizes.insert(id, item.size);
            self.unsettled.insert(id);
            self.next_id = id + 1;
            self.bytes += item.size;
        }
    }

    fn skip(&mut self, next_id: u64, bytes: u64) {
        self.done += next_id.saturating_sub(self.next_id);
        self.next_id = self.next_id.max(next_id);
        self.done_bytes += bytes;
        self.bytes += bytes;
        self.owed = self.owed.saturating_sub(1);
    }

    fn unsettled_bytes(&self) -> u64 {
        self.unsettled.iter().filter_map(|id| self.sizes.get(id)).sum()
    }

    fn ack(
        &mut self,
        plan: &Puller,
        ack: &Ack,
        (expected, was_full): (u64, bool),
        wrong: &mut dyn FnMut(&str, String),
    ) {
        for range in &ack.outcomes {
            for id in range.first..range.first + range.count {
                if !self.unsettled.remove(&id) {
                    wrong(Rule::Oc1.id(), format!("delivery {id} gets a second outcome, or was never sent"));
                }
                self.done += 1;
                self.done_bytes += self.sizes.get(&id).copied().unwrap_or_default();
            }
            // OC-8 lets an application release a delivery at any time; other deliveries are released only after a Skip.
            let early = range.verdict == Verdict::Release && self.owed > 0 && !self.leaving;
            if early && !was_full && plan.bad[3] == 0 {
                wrong(Rule::Rc4.id(), "deliveries are released before the Skip".to_owned());
            }
        }
        let (limits, before) = ((ack.message_limit, ack.byte_limit), self.limits);
        if limits.0 < before.0 || limits.1 < before.1 {
            wrong(Rule::Cr1.id(), format!("limits go back from {before:?} to {limits:?}"));
        }
        if self.owed > 0 && limits != before {
            wrong(Rule::Rc2.id(), format!("limits rise from {before:?} to {limits:?} before the Skip"));
        }
        if (self.owed > 0 && ack.recall) || (self.leaving && ack.leaving) {
            wrong(Rule::Rc2.id(), "a second recall before the Skip".to_owned());
        }
        self.check_window(plan, limits, expected, wrong);
        self.limits = (limits.0.max(before.0), limits.1.max(before.1));
        self.owed += u8::from(ack.recall || ack.leaving);
        self.leaving |= ack.leaving;
    }

    /// CR-5. CR-6 allows one message more than received.
    fn check_window(
        &self,
        plan: &Puller,
        limits: (u64, u64),
        expected: u64,
        wrong: &mut dyn FnMut(&str, String),
    ) {
        let (window, window_bytes) = match plan.window {
            Window::Fixed { messages, bytes } => {
                (messages.min(plan.budget.0), bytes.min(plan.budget.1).max(1))
            }
            _ => plan.budget,
        };
        // RD-9: there is room for redelivered messages, whatever the window.
        let (window, window_bytes) = (window.max(expected), window_bytes.max(expected << 20));
        let most = (self.done + window).max(self.next_id + 1).max(self.limits.0);
        let most_bytes = (self.done_bytes + window_bytes).max(self.bytes + 1).max(self.limits.1);
        if limits.0 > most || limits.1 > most_bytes {
            let most = (most, most_bytes);
            wrong(
                Rule::Cr5.id(),
                format!("limits are {limits:?}, but settled, skipped and window add up to {most:?}"),
            );
        }
    }

    fn end(&mut self) {
        self.owed = 0; // RC-1
        self.ended = true;
    }

    /// ST-1: a puller that closes with NORMAL after leaving has settled everything. After `End`, what is un-acked does
    /// not count, because its settle time-out had passed (ST-7).
    fn close(&self, code: i32, wrong: &mut dyn FnMut(&str, String)) {
        // An answer to Close has that code too.
        let first = !self.peer_closed && !self.ended && code == Code::Normal as i32;
        if self.leaving && first && !self.unsettled.is_empty() {
            wrong(Rule::St1.id(), format!("closes with {} deliveries un-acked", self.unsettled.len()));
        }
    }
}
