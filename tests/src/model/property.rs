//! The properties: of each state, and of the states that follow from it.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use tidegate_testkit::conserved;

use super::{
    action::{self, Action},
    process::{Pulling, Pushing},
    wire::MachineSide,
    world::ModelWorld,
};

/// More steps than a world of this size needs to come to rest.
const STEPS: usize = 2_000;

/// Checks conservation and credit in the processes that a step has changed.
///
/// # Errors
/// The count that is wrong.
pub fn check_changed(before: &ModelWorld, after: &ModelWorld) -> Result<(), String> {
    for (push, (old, new)) in before.pushers.iter().zip(&after.pushers).enumerate() {
        if !Arc::ptr_eq(old, new) {
            check_pusher(after, push, new)?;
        }
    }
    for (pull, (old, new)) in before.pullers.iter().zip(&after.pullers).enumerate() {
        if !Arc::ptr_eq(old, new) {
            check_puller(after, pull, new)?;
        }
    }
    if after.bounds.window == 0 {
        check_idle_credit(after)?;
    }
    check_limits(after)
}

fn check_pusher(world: &ModelWorld, push: usize, pushing: &Pushing) -> Result<(), String> {
    let machine = &pushing.process.machine;
    let stats = machine.stats();
    let flying: u64 = machine.link_stats().iter().map(|link| link.in_flight).sum();
    conserved::check_pusher(&stats).map_err(|wrong| format!("pusher {push}: {wrong}"))?;
    if stats.in_flight != flying {
        return Err(format!("pusher {push} has {flying} in flight on its links: {stats:?}"));
    }
    let records = world.ledger.of(push);
    let said =
        |acked: bool| records.iter().filter(|r| if acked { r.acked } else { r.rejected }).count() as u64;
    if stats.acked > said(true) || stats.rejected > said(false) {
        return Err(format!(
            "pusher {push} counts {} acked and {} rejected, but applications gave {} and {}",
            stats.acked,
            stats.rejected,
            said(true),
            said(false)
        ));
    }
    let told = |acked| records.iter().filter(|r| r.outcome == Some(acked)).count() as u64;
    if world.bounds.tracked && (stats.acked, stats.rejected) != (told(true), told(false)) {
        return Err(format!("pusher {push} has given its senders other outcomes than it counts: {stats:?}"));
    }
    if world.ledger.drained[push] > u8::from(pushing.draining) {
        return Err(format!("pusher {push} is drained {} times", world.ledger.drained[push]));
    }
    Ok(())
}

fn check_puller(world: &ModelWorld, pull: usize, pulling: &Pulling) -> Result<(), String> {
    let machine = &pulling.process.machine;
    let (stats, links) = (machine.stats(), machine.link_stats());
    conserved::check_puller(&stats).map_err(|wrong| format!("puller {pull}: {wrong}"))?;
    let held = pulling.held.len() as u64;
    if stats.in_flight != held {
        return Err(format!("the application of puller {pull} holds {held} deliveries: {stats:?}"));
    }
    let committed: u64 = links.iter().map(|link| link.credit_messages + link.unsettled).sum();
    if stats.committed != committed {
        return Err(format!("puller {pull} has committed {committed}, but its counts are {stats:?}"));
    }
    // CR-9: the budget, plus one on each link for a waiting application (CR-6).
    let most = world.bounds.budget + stats.links * world.bounds.workers as u64;
    if stats.committed > most {
        return Err(format!(
            "puller {pull} has committed more than its budget and CR-6 allow, {most}: {stats:?}"
        ));
    }
    // CR-5: the hard cap. Messages that may be redelivered have room beyond it (RD-9), and a window of 0 has no cap
    // (CR-7).
    let cap = if world.bounds.window == 0 { u64::MAX } else { world.bounds.window.min(world.bounds.budget) };
    if stats.in_flight > cap || stats.max_in_flight != cap {
        return Err(format!("puller {pull} hands out more than its window of {cap}: {stats:?}"));
    }
    let credit: u64 = links.iter().filter(|link| !link.closing).map(|link| link.credit_messages).sum();
    // A recall that is overdue does not occupy a place either.
    let given = !world.bounds.loses_links() && stats.overdue_recalls == 0;
    if given && stats.in_flight + stats.queued + credit > cap {
        return Err(format!("puller {pull} has granted more places than its window of {cap}: {stats:?}"));
    }
    for link in links {
        // CR-5, CR-6
        if link.unsettled > world.bounds.window + world.bounds.workers as u64 {
            return Err(format!("puller {pull} has more un-acked than its window and CR-6 allow: {link:?}"));
        }
    }
    Ok(())
}

/// CR-7: with a window of 0, unused credit is recalled when no application waits any more. So there is none when no
/// frame is in transit and no driver has anything to do.
fn check_idle_credit(world: &ModelWorld) -> Result<(), String> {
    let idle = |pulling: &Pulling| !pulling.waiting && !pulling.process.machine.is_leaving();
    for wire in world.wires.iter().filter(|wire| !wire.cut && idle(&world.pullers[wire.pull])) {
        let (Some(push), Some(pull)) = (wire.link(MachineSide::Pusher), wire.link(MachineSide::Puller))
        else {
            continue;
        };
        let (pusher, puller) = (&world.pushers[wire.push].process, &world.pullers[wire.pull].process);
        let quiet = MachineSide::BOTH.iter().all(|side| wire.end(*side).inbox.is_empty())
            && pusher.asks(push) == (false, false, false)
            && puller.asks(pull) == (false, false, false);
        let links = puller.machine.link_stats();
        if quiet && let Some(link) = links.iter().find(|l| l.link == pull.as_u64() && l.credit_messages > 0) {
            return Err(format!("wire {}: no application waits, but there is credit: {link:?}", wire.serial));
        }
    }
    Ok(())
}

/// CR-2: a pusher's limit is always one that its puller has granted.
fn check_limits(world: &ModelWorld) -> Result<(), String> {
    for wire in &world.wires {
        let (Some(push), Some(pull)) = (wire.link(MachineSide::Pusher), wire.link(MachineSide::Puller))
        else {
            continue;
        };
        let spending = world.pushers[wire.push].process.machine.link_stats();
        let granting = world.pullers[wire.pull].process.machine.link_stats();
        let spending = spending.iter().find(|link| link.link == push.as_u64());
        let granting = granting.iter().find(|link| link.link == pull.as_u64());
        if let (Some(spending), Some(granting)) = (spending, granting)
            && spending.message_limit > granting.message_limit
        {
            return Err(format!(
                "wire {}: the pusher has a limit of {}, but only {} was granted",
                wire.serial, spending.message_limit, granting.message_limit
            ));
        }
    }
    Ok(())
}

/// Whether nothing more happens by itself, and every message is settled.
pub fn is_at_rest(world: &ModelWorld) -> bool {
    let settled = world.pushers.iter().enumerate().all(|(push, pushing)| {
        let machine = &pushing.process.machine;
        let stats = machine.stats();
        stats.accepted == stats.acked + stats.rejected
            && stats.queued + stats.in_flight == 0
            && (!pushing.draining
                || (machine.is_done() && world.ledger.drained[push] == 1 && stats.links == 0))
    });
    let idle = world.pullers.iter().all(|pulling| {
        let stats = pulling.process.machine.stats();
        stats.queued + stats.in_flight == 0 && (stats.links > 0 || stats.committed == 0)
    });
    let quiet = world.wires.iter().all(|wire| {
        MachineSide::BOTH.iter().all(|side| wire.end(*side).inbox.is_empty() && wire.link(*side).is_some())
    });
    // A pusher that restarts counts anew, so that its counts alone do not show a loss.
    settled && idle && quiet && world.ledger.is_settled()
}

/// Whether a world without further faults, in which applications receive and ack, comes to rest. Worlds that are known
/// to come to rest are remembered, so that a walk ends at the first world that an earlier walk has passed.
#[derive(Debug, Default)]
pub struct Quiescence {
    known: Mutex<HashSet<u64>>,
}

impl Quiescence {
    pub fn is_certain(&self, world: &ModelWorld) -> bool {
        self.walk(world).is_ok()
    }

    /// # Errors
    /// The path to the world that is stuck.
    pub fn walk(&self, world: &ModelWorld) -> Result<(), Vec<(ModelWorld, Option<Action>)>> {
        let mut path = Vec::new();
        let mut passed = Vec::new();
        let mut here = world.clone();
        while passed.len() < STEPS {
            let fingerprint = here.fingerprint();
            if self.known.lock().unwrap().contains(&fingerprint) {
                break;
            }
            passed.push(fingerprint);
            let step = here.broken.is_none().then(|| peaceful(&here)).flatten();
            // With more links than places, the places rotate for ever (CR-6).
            let step =
                step.filter(|(action, _)| !matches!(action, Action::Fire { .. }) || !is_at_rest(&here));
            let Some((action, next)) = step else {
                if here.broken.is_none() && is_at_rest(&here) {
                    break;
                }
                path.push((here, None));
                return Err(path);
            };
            path.push((std::mem::replace(&mut here, next), Some(action)));
        }
        if passed.len() >= STEPS {
            return Err(path);
        }
        self.known.lock().unwrap().extend(passed);
        Ok(())
    }
}

/// The next step of a world without further faults.
fn peaceful(world: &ModelWorld) -> Option<(Action, ModelWorld)> {
    let mut all = Vec::new();
    action::calm(world, &mut all);
    // Deadlines pass when nothing else happens.
    all.sort_by_key(|action| matches!(action, Action::Fire { .. } | Action::Retry { .. }));
    for pull in 0..world.pullers.len() {
        action::waits(world, pull, &mut all);
    }
    all.into_iter().find_map(|action| Some((action, world.after(action)?)))
}
