//! No process violates the protocol; without faults no link breaks; and after the faults everything comes to rest.

use std::{collections::BTreeMap, time::Duration};

use tidegate::Code;
use tidegate_proto::Rule;

use super::{
    super::{
        history::{Ending, Process, What},
        scenario::{Dialing, Scenario, Taking},
        world::Played,
    },
    Faults,
    facts::Facts,
};

/// Checks the history as a whole.
pub(super) fn check(scenario: &Scenario, played: &Played, facts: &Facts, faults: &mut Faults) {
    for panic in &played.panics {
        faults.add("panic", panic);
    }
    if !played.at_rest {
        faults.add("rest", "the system has not come to rest long after the faults");
    }
    let mut stopping = false;
    let mut dialed = BTreeMap::<(Process, &str), Duration>::new();
    for entry in &played.history.entries {
        let Some(who) = entry.who else { continue };
        let wrong = &mut faults.of(who, entry.at);
        match &entry.what {
            What::Disconnected(_, name, Some(code), _) if is_violation(*code) => {
                wrong(Rule::Er1.id(), format!("the link over {name} ended with {code}"));
            }
            What::Stopping(_) => stopping = true,
            // A pusher that has finished may be connecting again, and then disappear.
            What::Disconnected(_, name, code, _) if scenario.calm && !stopping && !is_orderly(*code) => {
                wrong("calm", format!("the link over {name} ended with {code:?}"));
            }
            What::Dialed(address) => {
                let before = dialed.insert((who, address), entry.at);
                if let Some(wait) = before.map(|before| entry.at.saturating_sub(before))
                    && wait < scenario.reconnect.0
                {
                    wrong(Rule::Rd6.id(), format!("reconnects to {address} after {wait:?}"));
                }
            }
            What::Handed(handed) if scenario.calm => {
                let failed = facts
                    .of(handed.tag)
                    .iter()
                    .filter(|d| d.verdict == Some(super::super::history::Verdict::Nack));
                if handed.attempt as usize > 1 + failed.count() {
                    wrong(
                        Rule::Dl3.id(),
                        format!("{handed:?} has a higher attempt number than the nacks explain"),
                    );
                }
            }
            _ => {}
        }
    }
    check_ends(scenario, played, faults);
}

/// Codes for a peer that violates a rule, or whose settings do not match.
fn is_violation(code: Code) -> bool {
    !matches!(
        code,
        Code::Normal
            | Code::GoingAway
            | Code::Aborted
            | Code::Replaced
            | Code::Silent
            | Code::TooSlow
            | Code::Stale
    )
}

fn is_orderly(code: Option<Code>) -> bool {
    matches!(code, Some(Code::Normal | Code::GoingAway))
}

/// ST-2, ST-6: without faults, every puller that only connects learns that all streams have ended.
fn check_ends(scenario: &Scenario, played: &Played, faults: &mut Faults) {
    let finished =
        |entry: &&super::super::history::Entry| matches!(entry.what, What::Stopped(Ending::Finish, ..));
    let count = played.history.entries.iter().filter(finished).count();
    if played.at_rest && count < scenario.pushers.len() {
        faults.add("rest", format!("only {count} pushers have finished"));
    }
    if !scenario.calm || scenario.dialing != Dialing::Pullers {
        return;
    }
    for (index, plan) in scenario.pullers.iter().enumerate().filter(|(_, plan)| plan.taking != Taking::Poll) {
        let host = scenario.pushers.len() + index;
        let of_host = |who: &Option<Process>| who.is_some_and(|who| who.host == host);
        let mine: Vec<_> = played.history.entries.iter().filter(|entry| of_host(&entry.who)).collect();
        let ended = mine.iter().position(|entry| matches!(entry.what, What::Ended));
        let left = mine.iter().position(|entry| matches!(entry.what, What::Left(_)));
        if ended.is_none() || left < ended {
            faults.add(
                Rule::St6.id(),
                format!("puller {host} ({plan:?}) did not learn that the streams have ended"),
            );
        }
    }
}
