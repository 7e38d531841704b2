//! Checks every interleaving of a few pushers, pullers and messages, with faults. `tidegate_tests::model` describes the
//! model and what it leaves out. Each test prints its bounds, and the number of states within them.

use tidegate_tests::model::{Bounds, Event, Faults, Grace, check, check_nearest, soak};

/// About 20 s in a test build.
const STEPS: usize = 1_500_000;

#[test]
fn without_faults_every_message_runs_once() {
    check(
        Bounds { messages: 3, window: 2, waits: true, granted: false, ..Bounds::default() },
        &[Event::Batched],
    );
}

#[test]
fn a_cut_wire_loses_nothing_and_runs_twice_only_what_was_un_acked_on_it() {
    let faults = Faults { cuts: 1, ..Faults::default() };
    check(Bounds { faults, ..Bounds::default() }, &[Event::Redelivered, Event::Replaced]);
}

#[test]
fn between_running_processes_a_cut_runs_nothing_twice() {
    let faults = Faults { cuts: 1, ..Faults::default() };
    let bounds = Bounds { grace: Grace::Long, faults, ..Bounds::default() };
    check(bounds, &[Event::Recognised, Event::Replaced]);
}

#[test]
fn a_grace_that_ends_at_any_moment_loses_nothing() {
    let faults = Faults { cuts: 1, ..Faults::default() };
    let bounds = Bounds { messages: 1, grace: Grace::Short, faults, ..Bounds::default() };
    check(bounds, &[Event::Recognised, Event::Redelivered]);
}

#[test]
fn a_puller_that_dies_during_the_grace_loses_nothing() {
    let faults = Faults { cuts: 1, restarts: 1, ..Faults::default() };
    let bounds = Bounds { messages: 1, grace: Grace::Short, faults, ..Bounds::default() };
    check(bounds, &[Event::Redelivered]);
}

#[test]
fn a_message_requeued_by_a_settle_time_out_has_one_outcome() {
    check(Bounds { messages: 1, timeouts: 1, ..Bounds::default() }, &[Event::TimedOut, Event::Redelivered]);
}

#[test]
fn a_puller_that_dies_loses_nothing() {
    let faults = Faults { restarts: 1, ..Faults::default() };
    check(Bounds { faults, ..Bounds::default() }, &[Event::Redelivered]);
}

#[test]
fn rd_11_a_pusher_that_restarts_with_its_store_runs_nothing_twice_at_pullers_that_stay() {
    let faults = Faults { pusher_restarts: 1, ..Faults::default() };
    let bounds = Bounds { messages: 1, grace: Grace::Long, faults, ..Bounds::default() };
    check(bounds, &[Event::Recognised]);
}

#[test]
fn rd_11_a_pusher_that_restarts_with_its_store_loses_nothing_when_its_grace_ends_at_any_moment() {
    let faults = Faults { pusher_restarts: 1, ..Faults::default() };
    let bounds = Bounds { messages: 1, grace: Grace::Short, faults, ..Bounds::default() };
    check(bounds, &[Event::Recognised, Event::Redelivered]);
}

#[test]
fn with_window_0_a_message_goes_only_to_an_application_that_waits() {
    let faults = Faults { cancels: 1, ..Faults::default() };
    let bounds = Bounds { window: 0, waits: true, sent: true, faults, ..Bounds::default() };
    check(bounds, &[Event::Recalled, Event::Skipped]);
}

#[test]
fn nacks_rejects_and_releases_give_one_final_outcome() {
    let faults = Faults { nacks: 1, rejects: 1, releases: 1, ..Faults::default() };
    check(Bounds { tracked: true, faults, ..Bounds::default() }, &[Event::Redelivered, Event::Released]);
}

#[test]
fn a_leaving_puller_releases_the_deliveries_it_has_not_received() {
    let faults = Faults { leaves: 1, ..Faults::default() };
    check(Bounds { window: 2, faults, ..Bounds::default() }, &[Event::Left, Event::Released]);
}

#[test]
fn a_puller_that_leaves_and_is_cut_meanwhile_loses_nothing() {
    let faults = Faults { leaves: 1, cuts: 1, ..Faults::default() };
    check(Bounds { messages: 1, faults, ..Bounds::default() }, &[Event::Left, Event::Redelivered]);
}

#[test]
fn a_finish_completes_whatever_is_cut() {
    let faults = Faults { cuts: 1, ..Faults::default() };
    let bounds = Bounds { messages: 1, drain: Some(true), faults, ..Bounds::default() };
    check(bounds, &[Event::Ended, Event::Redelivered]);
}

#[test]
fn a_drain_without_an_end_completes() {
    let bounds = Bounds { messages: 1, drain: Some(false), ..Bounds::default() };
    check(bounds, &[Event::WentAway]);
}

#[test]
fn two_pushers_share_a_budget_of_one() {
    let bounds = Bounds { pushers: 2, pullers: 1, messages: 1, budget: 1, waits: true, ..Bounds::default() };
    check_nearest(STEPS, bounds, &[Event::Recalled, Event::Skipped]);
}

#[test]
fn the_budget_of_a_link_above_its_share_is_recalled() {
    // While it is alone, the first pusher has the whole budget.
    let two = Bounds { pushers: 2, joined: 1, pullers: 1, ..Bounds::default() };
    let bounds = Bounds { messages: 1, window: 2, budget: 2, ..two };
    check(bounds, &[Event::Recalled, Event::Skipped]);
}

#[test]
fn after_a_wait_with_window_0_one_delivery_stays_and_the_rest_is_released() {
    let faults = Faults { cancels: 1, ..Faults::default() };
    let bounds = Bounds {
        pushers: 2,
        pullers: 1,
        messages: 1,
        window: 0,
        waits: true,
        sent: true,
        faults,
        ..Bounds::default()
    };
    check_nearest(STEPS, bounds, &[Event::Recalled, Event::Skipped, Event::Released]);
}

#[test]
fn a_window_of_one_byte_admits_one_message_at_a_time() {
    let faults = Faults { cuts: 1, ..Faults::default() };
    check(Bounds { window: 3, window_bytes: 1, faults, ..Bounds::default() }, &[Event::Redelivered]);
}

#[test]
fn a_failed_write_loses_no_outcome() {
    let faults = Faults { cuts: 1, failed_writes: 1, ..Faults::default() };
    check(Bounds { messages: 1, faults, ..Bounds::default() }, &[Event::FailedWrite, Event::Redelivered]);
}

#[test]
fn in_a_soak_repeated_cuts_run_nothing_twice() {
    let faults = Faults { cuts: 3, ..Faults::default() };
    soak(Bounds { window: 2, grace: Grace::Long, faults, ..Bounds::default() }, &[Event::Recognised]);
}

#[test]
fn in_a_soak_cuts_with_window_0_run_nothing_twice() {
    let faults = Faults { cuts: 2, cancels: 1, ..Faults::default() };
    let bounds = Bounds { window: 0, waits: true, grace: Grace::Long, faults, ..Bounds::default() };
    soak(bounds, &[Event::Recognised]);
}

#[test]
fn in_a_soak_more_wires_are_cut_and_more_pullers_die() {
    let faults = Faults { cuts: 2, restarts: 1, failed_writes: 1, ..Faults::default() };
    soak(Bounds { window: 2, grace: Grace::Short, faults, ..Bounds::default() }, &[Event::Redelivered]);
}

#[test]
fn in_a_soak_more_waits_are_cancelled_and_more_wires_are_cut() {
    let faults = Faults { cuts: 1, cancels: 2, nacks: 1, ..Faults::default() };
    soak(
        Bounds { window: 0, waits: true, faults, ..Bounds::default() },
        &[Event::Recalled, Event::Redelivered],
    );
}

#[test]
fn in_a_soak_a_finish_completes_with_all_kinds_of_outcomes_and_a_cut() {
    let faults = Faults { cuts: 1, nacks: 1, rejects: 1, leaves: 1, ..Faults::default() };
    let bounds =
        Bounds { tracked: true, drain: Some(true), grace: Grace::Short, faults, ..Bounds::default() };
    soak(bounds, &[Event::Ended, Event::Left]);
}

#[test]
fn in_a_soak_two_pushers_and_two_pullers_share_small_budgets() {
    let faults = Faults { cuts: 1, cancels: 1, ..Faults::default() };
    let bounds = Bounds { pushers: 2, messages: 1, budget: 1, waits: true, faults, ..Bounds::default() };
    soak(bounds, &[Event::Recalled, Event::Skipped]);
}
