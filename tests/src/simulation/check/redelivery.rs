//! A message is redelivered only if the previous delivery was un-acked on a lost link, nacked or released. The attempt
//! number increases, except after a release. The id stays the same.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_proto::Rule;

use super::{
    super::{
        history::{DeliveredItem, FrameSummary, History, Process, Verdict, What},
        scenario::Scenario,
    },
    Faults,
    facts::{Facts, ObservedDelivery},
};

/// Checks every message, and the order on every link.
pub(super) fn check(scenario: &Scenario, history: &History, facts: &Facts, faults: &mut Faults) {
    for all in facts.deliveries.values() {
        let impatient = scenario.pushers[all[0].handed.tag.from.host].settle_timeout.is_some();
        check_message(all, impatient, facts, faults);
        if !impatient {
            check_memory(scenario, all, faults);
        }
    }
    for who in history.processes() {
        if who.host >= scenario.pushers.len() {
            check_order(history, who, facts, faults);
        }
    }
}

/// RD-9: a process with a large enough dedup table never runs a message again that it has settled or holds.
fn check_memory(scenario: &Scenario, all: &[ObservedDelivery], faults: &mut Faults) {
    for (index, one) in all.iter().enumerate() {
        let puller = &scenario.pullers[one.by.host - scenario.pushers.len()];
        let done = !matches!(one.verdict, Some(Verdict::Nack | Verdict::Release));
        let again = all[index + 1..].iter().find(|next| next.by == one.by);
        if let Some(again) = again.filter(|_| done && puller.memory > 1_000) {
            faults.add(Rule::Rd9.id(), format!("run twice by one process: {one:?}, then {again:?}"));
        }
    }
}

fn check_message(all: &[ObservedDelivery], impatient: bool, facts: &Facts, faults: &mut Faults) {
    if all[0].handed.attempt == 0 {
        faults.add(Rule::Dl3.id(), format!("attempt 0: {:?}", all[0]));
    }
    for pair in all.windows(2) {
        let [one, next] = pair else { continue };
        if one.handed.attempt == next.handed.attempt {
            if one.verdict != Some(Verdict::Release) {
                faults.add(
                    Rule::Oc8.id(),
                    format!("the same attempt twice, without a release: {one:?} and {next:?}"),
                );
            }
            continue;
        }
        // The last delivery with the earlier attempt number must explain the redelivery.
        let explained = match one.verdict {
            Some(Verdict::Nack) => true,
            // After the release it was sent again as the same attempt, which no application received.
            Some(Verdict::Release) => facts.was_lost(one) || facts.was_lost_again(one),
            _ => facts.was_lost(one),
        };
        if !explained && !impatient {
            faults.add(Rule::Rd3.id(), format!("redelivered without a reason: {one:?}, then {next:?}"));
        }
    }
}

/// DL-7: an application receives the deliveries of a link in the order of their ids. RD-5: and none after its loss.
fn check_order(history: &History, who: Process, facts: &Facts, faults: &mut Faults) {
    let mut waiting = BTreeMap::<String, Vec<DeliveredItem>>::new();
    let mut gone = BTreeSet::new();
    for entry in history.of(who) {
        let wrong = &mut faults.of(who, entry.at);
        match &entry.what {
            What::Read(wire, FrameSummary::Deliver(_, items)) => {
                waiting.entry(wire.name.to_string()).or_default().extend(items);
            }
            What::Dropped(wire) => {
                gone.insert(wire.name.to_string());
            }
            What::Handed(handed) => {
                let Some(name) = facts.connections.get(&(who, handed.link)) else {
                    wrong(Rule::Dl7.id(), format!("{handed:?} came over no link"));
                    continue;
                };
                if gone.contains(name) {
                    wrong(Rule::Rd5.id(), format!("{handed:?} is handed out after its link was lost"));
                }
                let line = waiting.entry(name.clone()).or_default();
                let is_it =
                    |item: &DeliveredItem| (item.number, item.attempt) == (handed.id.number, handed.attempt);
                match line.iter().position(is_it) {
                    // Earlier deliveries on the line were released. If one is handed out later, out of order, it is not
                    // found.
                    Some(index) => drop(line.drain(..=index)),
                    None => wrong(Rule::Dl7.id(), format!("{handed:?} was not received, or is out of order")),
                }
            }
            _ => {}
        }
    }
}
