//! Queues stay within their bounds, and counts add up, whenever somebody looks.

use tidegate::{PullLinkStats, PullStats, PushLinkStats, PushStats};

use super::{
    super::{
        history::{History, What},
        scenario::{MAX_MESSAGE, Puller, Pusher, Scenario, Taking},
    },
    Faults,
};

/// Checks every look at the counts of every process.
pub(super) fn check(scenario: &Scenario, history: &History, faults: &mut Faults) {
    for entry in &history.entries {
        let Some(who) = entry.who else { continue };
        let wrong = &mut faults.of(who, entry.at);
        match &entry.what {
            What::PushStats(stats, links) => pusher(&scenario.pushers[who.host], stats, links, wrong),
            What::PullStats(stats, links, held) => {
                puller(&scenario.pullers[who.host - scenario.pushers.len()], stats, links, *held, wrong);
            }
            _ => {}
        }
    }
}

fn pusher(plan: &Pusher, stats: &PushStats, links: &[PushLinkStats], wrong: &mut dyn FnMut(&str, String)) {
    let mut must = |holds: bool, rule: &str, what: &str| {
        if !holds {
            wrong(rule, format!("{what}: {stats:?}, links {links:?}"));
        }
    };
    let held = stats.in_flight + stats.queued;
    must(
        stats.accepted == stats.acked + stats.rejected + stats.aborted + held,
        "conservation",
        "messages are missing",
    );
    let flying: u64 = links.iter().map(|link| link.in_flight).sum();
    must(stats.in_flight == flying, "conservation", "in flight is not what is in flight on the links");
    let most = plan.max_held.0 as u64;
    must(held + stats.rejected_waiting <= most, "max_held", "more is held than may be");
    must(
        stats.held_bytes <= plan.max_held.1 + MAX_MESSAGE as u64,
        "max_held",
        "more bytes are held than may be",
    );
    if stats.nacked + stats.released + stats.returned + stats.timed_out == 0 {
        // Then all that waits is new. With a mark of 0 there may be one permit, whose message may have to wait.
        must(stats.queued <= plan.high_water_mark.max(1) as u64, "high_water_mark", "more waits than may");
    }
    for link in links {
        must(link.in_flight <= plan.max_in_flight.0 as u64, "CR-8", "more is in flight than may be");
        let unwritten = plan.max_unwritten + 2 * MAX_MESSAGE;
        must(link.unwritten <= unwritten as u64, "CR-8", "more is unwritten than may be");
        must(link.sent <= link.message_limit, "CR-2", "more was sent than granted");
        let settled = link.acked + link.nacked + link.rejected + link.released;
        let open = link.sent - settled;
        // A link that is being replaced or closed has given its messages back already.
        must(
            link.in_flight == open || link.in_flight == 0 || plan.settle_timeout.is_some(),
            "conservation",
            "deliveries of a link are missing",
        );
    }
    must(stats.held_bytes > 0 || held == 0, "conservation", "messages of no size");
}

fn puller(
    plan: &Puller,
    stats: &PullStats,
    links: &[PullLinkStats],
    held: u64,
    wrong: &mut dyn FnMut(&str, String),
) {
    let mut must = |holds: bool, rule: &str, what: &str| {
        if !holds {
            wrong(rule, format!("{what}: {stats:?}, held {held}, links {links:?}"));
        }
    };
    let settled = stats.acked + stats.nacked + stats.rejected + stats.released + stats.dropped;
    must(stats.in_flight <= stats.max_in_flight, "CR-5", "more is handed out than the hard cap allows");
    let here = stats.in_flight + stats.queued + stats.joined;
    must(stats.received == settled + here, "conservation", "deliveries are missing");
    if plan.taking == Taking::Lent {
        // It takes more than one at a time from the library, and tells of acks a little later.
        must(stats.in_flight + stats.acked >= held, "conservation", "more is lent than is in flight");
    } else {
        must(stats.in_flight == held, "conservation", "in flight is not what the application holds");
    }
    let floors = links.len() as u64;
    // CR-6: each link may have one more while somebody waits.
    let unused: u64 = links.iter().map(|link| link.credit_messages).sum();
    must(unused <= plan.budget.0 + floors, "CR-9", "more is granted than the budget has");
    must(stats.queued <= plan.budget.0 + floors, "CR-9", "more waits than the budget has");
    // What the application has begun; of a link that is being closed also what it has settled since.
    let begun = links.iter().map(|link| link.unsettled - link.queued).sum::<u64>().max(stats.in_flight);
    must(stats.committed <= plan.budget.0 + begun + 2 * floors, "CR-9", "more is committed than may be");
    for link in links {
        must(link.queued <= link.unsettled, "conservation", "more waits than has come");
        must(link.received <= link.message_limit, "CR-3", "more has come than was granted");
    }
    let waiting: u64 = links.iter().map(|link| link.queued).sum();
    must(waiting == stats.queued, "conservation", "what waits is not what waits on the links");
}
