//! Queues stay within their bounds, and counts are consistent, in every recorded sample.

use tidegate::{PullLinkStats, PullStats, PushLinkStats, PushStats};
use tidegate_proto::Rule;
use tidegate_testkit::conserved;

use super::{
    super::{
        history::{History, What},
        scenario::{MAX_MESSAGE, Puller, Pusher, Scenario},
    },
    Faults,
};

/// Checks every sample of the counts of every process.
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
    must(conserved::check_pusher(stats).is_ok(), "conservation", "messages are missing");
    let flying: u64 = links.iter().map(|link| link.in_flight).sum();
    must(stats.in_flight == flying, "conservation", "in_flight differs from the sum over the links");
    let most = plan.max_held.0 as u64;
    must(held + stats.rejected_waiting <= most, "max_held", "more messages are held than allowed");
    must(
        stats.held_bytes <= plan.max_held.1 + MAX_MESSAGE as u64,
        "max_held",
        "more bytes are held than allowed",
    );
    if stats.nacked + stats.released + stats.returned + stats.timed_out == 0 {
        // Here every queued message is new. With a mark of 0 there may be one permit, whose message may have to wait.
        must(
            stats.queued <= plan.high_water_mark.max(1) as u64,
            "high_water_mark",
            "more messages are queued than allowed",
        );
    }
    for link in links {
        must(
            link.in_flight <= plan.max_in_flight.0 as u64,
            Rule::Cr8.id(),
            "more messages are in flight than allowed",
        );
        let unwritten = plan.max_unwritten + 2 * MAX_MESSAGE;
        must(link.unwritten <= unwritten as u64, Rule::Cr8.id(), "more bytes are unwritten than allowed");
        must(link.sent <= link.message_limit, Rule::Cr2.id(), "more messages were sent than granted");
        let settled = link.acked + link.nacked + link.rejected + link.released;
        let open = link.sent - settled;
        // The messages of a link that is being replaced or closed are requeued already.
        must(
            link.in_flight == open || link.in_flight == 0 || plan.settle_timeout.is_some(),
            "conservation",
            "deliveries of a link are missing",
        );
    }
    must(stats.held_bytes > 0 || held == 0, "conservation", "held messages have no bytes");
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
    must(
        stats.in_flight <= stats.max_in_flight,
        Rule::Cr5.id(),
        "the application holds more than the hard cap allows",
    );
    must(conserved::check_puller(stats).is_ok(), "conservation", "deliveries are missing");
    must(stats.in_flight == held, "conservation", "in_flight differs from what the application holds");
    let floors = links.len() as u64;
    // CR-6: each link may have one more while an application waits.
    let unused: u64 = links.iter().map(|link| link.credit_messages).sum();
    must(unused <= plan.budget.0 + floors, Rule::Cr9.id(), "more is granted than the budget allows");
    must(stats.queued <= plan.budget.0 + floors, Rule::Cr9.id(), "more is queued than the budget allows");
    // The deliveries that the application has received; on a closing link, also those that it has settled since.
    let begun = links.iter().map(|link| link.unsettled - link.queued).sum::<u64>().max(stats.in_flight);
    must(
        stats.committed <= plan.budget.0 + begun + 2 * floors,
        Rule::Cr9.id(),
        "more is committed than the budget allows",
    );
    for link in links {
        must(link.queued <= link.unsettled, "conservation", "more is queued than is unsettled on the link");
        must(link.received <= link.message_limit, Rule::Cr3.id(), "more was received than granted");
    }
    let waiting: u64 = links.iter().map(|link| link.queued).sum();
    must(waiting == stats.queued, "conservation", "queued differs from the sum over the links");
}
