//! Every message gets exactly one final outcome at its pusher, none is lost, and the outcome is that of the last
//! application that had the message.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_proto::Rule;

use super::{
    super::{
        history::{Ending, History, Process, Tag, TrackedOutcome, Verdict, What},
        scenario::Scenario,
    },
    Faults,
    account::is_pusher,
    facts::{Facts, ObservedDelivery},
};

#[derive(Default)]
struct Told {
    offered: BTreeSet<Tag>,
    accepted: BTreeSet<Tag>,
    not_taken: BTreeSet<Tag>,
    receipts: BTreeMap<Tag, TrackedOutcome>,
    tracked: BTreeSet<Tag>,
    rejected: BTreeMap<Tag, u32>,
    unsent: BTreeSet<Tag>,
    unacked: BTreeSet<Tag>,
    stopped: bool,
    killed: bool,
}

/// Checks the messages of every pusher.
pub(super) fn check(scenario: &Scenario, history: &History, facts: &Facts, faults: &mut Faults) {
    for text in &facts.mistaken {
        faults.add(Rule::Dl2.id(), text);
    }
    let mut all_offered = BTreeSet::new();
    for who in history.processes().into_iter().filter(|who| is_pusher(scenario, *who)) {
        let told = gather(history, who, faults);
        judge(scenario, who, &told, facts, faults);
        for tag in &told.not_taken {
            if !facts.of(*tag).is_empty() {
                faults.add("send", format!("{tag:?} was not accepted, but delivered"));
            }
        }
        all_offered.extend(told.offered);
    }
    for deliveries in facts.deliveries.values() {
        let tag = deliveries[0].handed.tag;
        if !all_offered.contains(&tag) {
            faults.add("invented", format!("{tag:?} was never sent"));
        }
    }
}

fn gather(history: &History, who: Process, faults: &mut Faults) -> Told {
    let mut told = Told::default();
    for entry in history.of(who) {
        match &entry.what {
            What::Offered(tag, _) => _ = told.offered.insert(*tag),
            What::Accepted(tag, number) => {
                told.accepted.insert(*tag);
                if number.is_some() {
                    told.tracked.insert(*tag);
                }
            }
            What::NotTaken(tag) => _ = told.not_taken.insert(*tag),
            What::Receipt(tag, outcome) => {
                if let Some(other) = told.receipts.insert(*tag, outcome.clone()) {
                    faults.add("outcome", format!("{tag:?} is {outcome:?}, and was {other:?}"));
                }
            }
            What::Rejection(tag, _, attempts) if told.rejected.insert(*tag, *attempts).is_some() => {
                faults.add(Rule::Oc9.id(), format!("{tag:?} is reported twice"));
            }
            What::Stopped(ending, stats, unsent, unacked) => {
                told.stopped = true;
                told.unsent.extend(unsent.iter().map(|(tag, _)| *tag));
                told.unacked.extend(unacked.iter().map(|(tag, _)| *tag));
                let left = (unsent.len() + unacked.len()) as u64;
                let held = stats.in_flight + stats.queued;
                let sum = stats.acked + stats.rejected + left;
                if stats.accepted != sum || held != left {
                    faults.add("conservation", format!("{who:?} at {ending:?}: {left} left, {stats:?}"));
                }
                let accepted = told.accepted.len() as u64;
                // Sends in progress at an abort may be recorded after it.
                if *ending != Ending::Abort && stats.accepted != accepted {
                    faults.add("conservation", format!("{who:?} accepted {accepted}, but counts {stats:?}"));
                }
                if stats.rejected < told.rejected.len() as u64 {
                    faults.add(Rule::Oc9.id(), format!("{who:?} reported {} rejected", told.rejected.len()));
                }
            }
            What::Killed => told.killed = true,
            _ => {}
        }
    }
    told
}

fn judge(scenario: &Scenario, who: Process, told: &Told, facts: &Facts, faults: &mut Faults) {
    let plan = &scenario.pushers[who.host];
    // The last attempt may have ended with a settle time-out (OC-12), of which the puller does not know.
    let timed_out =
        |attempts| plan.settle_timeout.is_some() && plan.max_attempts.is_some_and(|most| attempts >= most);
    for tag in &told.accepted {
        let deliveries = facts.of(*tag);
        let left = told.unsent.contains(tag) || told.unacked.contains(tag);
        if let Some(attempts) = told.rejected.get(tag) {
            if left {
                faults.add("outcome", format!("{tag:?} is rejected, but was returned as unsettled"));
            }
            if !timed_out(*attempts) {
                judge_rejected(scenario, *tag, *attempts, deliveries, faults);
            }
        } else if told.stopped && !left && !was_last(scenario, deliveries, Verdict::Ack) {
            faults.add("lost", format!("{tag:?} counts as acked, but its deliveries were {deliveries:?}"));
        }
        if told.unsent.contains(tag) {
            let failed = |d: &ObservedDelivery| matches!(d.verdict, Some(Verdict::Nack | Verdict::Release));
            if !deliveries.iter().all(failed) {
                faults.add(
                    Rule::St8.id(),
                    format!("{tag:?} is reported as certainly not processed: {deliveries:?}"),
                );
            }
        }
        judge_receipt(scenario, *tag, told, deliveries, faults);
    }
}

/// Whether this is the verdict of the last application that had the message, or of one whose puller repeated the
/// verdict later from its dedup table, which is not recorded (RD-9).
fn was_last(scenario: &Scenario, deliveries: &[ObservedDelivery], verdict: Verdict) -> bool {
    let remembers = |by: Process| scenario.pullers[by.host - scenario.pushers.len()].memory > 0;
    let said = |delivery: &ObservedDelivery| delivery.verdict == Some(verdict);
    deliveries.last().is_some_and(said) || deliveries.iter().any(|d| said(d) && remembers(d.by))
}

/// OC-9, OC-11.
fn judge_rejected(
    scenario: &Scenario,
    tag: Tag,
    attempts: u32,
    deliveries: &[ObservedDelivery],
    faults: &mut Faults,
) {
    let limit = scenario.pushers[tag.from.host].max_attempts;
    let nacks = deliveries.iter().filter(|d| d.verdict == Some(Verdict::Nack)).count();
    let right = match deliveries.last() {
        // A suppressed duplicate is not handed out (RD-9), but counts as an attempt.
        Some(last) if last.handed.attempt > attempts => false,
        Some(_) if was_last(scenario, deliveries, Verdict::Reject) => true,
        Some(last) if last.verdict == Some(Verdict::Nack) => limit.is_some_and(|most| nacks >= most as usize),
        _ => false,
    };
    if !right {
        faults.add(Rule::Oc11.id(), format!("{tag:?} is rejected after {attempts} attempts: {deliveries:?}"));
    }
}

fn judge_receipt(
    scenario: &Scenario,
    tag: Tag,
    told: &Told,
    deliveries: &[ObservedDelivery],
    faults: &mut Faults,
) {
    let acked = was_last(scenario, deliveries, Verdict::Ack);
    let wrong = match told.receipts.get(&tag) {
        None => told.tracked.contains(&tag) && told.stopped && !told.killed,
        Some(TrackedOutcome::Acked) => {
            !acked || told.rejected.contains_key(&tag) || told.unacked.contains(&tag)
        }
        Some(TrackedOutcome::Rejected(attempts)) => {
            told.stopped && !told.killed && told.rejected.get(&tag) != Some(attempts)
        }
        Some(TrackedOutcome::NotSent) => told.stopped && !told.unsent.contains(&tag),
        Some(TrackedOutcome::Unknown) => told.stopped && !told.unacked.contains(&tag),
    };
    if wrong {
        let receipt = told.receipts.get(&tag);
        faults.add("outcome", format!("{tag:?} has the receipt {receipt:?}: {deliveries:?}"));
    }
}
