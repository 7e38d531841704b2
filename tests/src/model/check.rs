//! Runs a check, prints how many states it has visited, and prints the path to a failure.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use stateright::{Checker, HasDiscoveries, Model, Property};

use super::{
    action::{self, Action},
    bounds::Bounds,
    property::Quiescence,
    seen::{Event, Seen},
    world::ModelWorld,
};
use crate::seeds;

const SOUND: &str = "no rule is broken and nothing is lost or counted twice";
const RESTS: &str = "without further faults, every message is settled and the world comes to rest";

/// The maximum number of steps of a soak, which limits its memory: a visited state takes about 50 bytes.
const MAX_STEPS: usize = 50_000_000;
/// Approximate number of steps that a core takes per second.
const STEPS_PER_SECOND: usize = 150_000;
/// The maximum number of steps in a row of a soak. Every state that is still to be visited keeps the path that leads to
/// it, so the memory grows with the square of the depth.
const MAX_DEPTH: usize = 500;

struct Checked {
    first: ModelWorld,
    rest: Quiescence,
}

impl Model for Checked {
    type State = ModelWorld;
    type Action = Action;

    fn init_states(&self) -> Vec<ModelWorld> {
        vec![self.first.clone()]
    }

    fn actions(&self, world: &ModelWorld, actions: &mut Vec<Action>) {
        if world.broken.is_none() {
            actions.extend(action::possible(world));
        }
    }

    fn next_state(&self, world: &ModelWorld, action: Action) -> Option<ModelWorld> {
        world.after(action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(SOUND, |_, world: &ModelWorld| world.broken.is_none()),
            Property::always(RESTS, |checked: &Self, world: &ModelWorld| {
                world.broken.is_some() || checked.rest.is_certain(world)
            }),
        ]
    }
}

/// Visits every state within `bounds`. Fails with the path to the first wrong state, or if one of the `events` never
/// happened.
pub fn check(bounds: Bounds, events: &[Event]) {
    run(bounds, events, &Extent::Whole);
}

/// Visits the states that take the fewest steps to reach, up to a number of `steps`. With timers on several links there
/// are too many states to visit all of them in a test. Fails as [`check`] does.
pub fn check_nearest(steps: usize, bounds: Bounds, events: &[Event]) {
    run(bounds, events, &Extent::Nearest(steps));
}

/// In a soak, visits states within `bounds` until the time of the soak is up. Otherwise does nothing.
pub fn soak(bounds: Bounds, events: &[Event]) {
    match seeds::soak() {
        Some(time) => run(bounds, events, &Extent::For(time)),
        None => println!("only in a soak: {bounds}"),
    }
}

/// How many of the reachable states are visited.
enum Extent {
    Whole,
    Nearest(usize),
    For(Duration),
}

fn run(bounds: Bounds, events: &[Event], extent: &Extent) {
    let text = bounds.to_string();
    let started = Instant::now();
    let first = ModelWorld::new(bounds);
    let seen = first.seen.clone();
    let checked = Checked { first, rest: Quiescence::default() };
    // One thread, so that the first path found is a shortest path.
    let checker = checked.checker().threads(1).finish_when(HasDiscoveries::AnyFailures);
    match *extent {
        Extent::Whole => report(&text, started, None, &seen, events, &checker.spawn_bfs().join()),
        Extent::Nearest(steps) => {
            let checker = checker.target_state_count(steps).spawn_bfs().join();
            report(&text, started, Some((Duration::MAX, steps)), &seen, events, &checker);
            // These states are close enough to the start.
            let missing: Vec<_> = events.iter().filter(|event| !seen.has(**event)).collect();
            assert!(missing.is_empty(), "{text}: never happened: {missing:?}");
        }
        // Depth first keeps few states in memory, and only the hashes of all others.
        Extent::For(time) => {
            // The checker reads its clock too rarely, so limit the steps to those of a slow core.
            let most = MAX_STEPS
                .min(usize::try_from(time.as_secs()).unwrap_or(MAX_STEPS).saturating_mul(STEPS_PER_SECOND));
            let checker =
                checker.timeout(time).target_state_count(most).target_max_depth(MAX_DEPTH).spawn_dfs().join();
            report(&text, started, Some((time, most)), &seen, events, &checker);
        }
    }
}

fn report(
    text: &str,
    started: Instant,
    limits: Option<(Duration, usize)>,
    seen: &Seen,
    events: &[Event],
    checker: &impl Checker<Checked>,
) {
    let took = started.elapsed();
    let whole = limits.is_none_or(|(time, most)| took < time && checker.state_count() < most);
    println!(
        "{text}: {} states{}, {} steps, at most {} in a row, {:.1} s",
        checker.unique_state_count(),
        if whole { "" } else { " (incomplete: the limit on time or memory was reached)" },
        checker.state_count(),
        checker.max_depth(),
        took.as_secs_f64()
    );
    if let Some((property, path)) = checker.discoveries().into_iter().next() {
        let mut steps = path.into_vec();
        let last = steps.last().map(|(world, _)| world.clone());
        if let Some(last) = last.filter(|world| world.broken.is_none())
            && let Err(rest) = checker.model().rest.walk(&last)
        {
            steps.pop();
            steps.extend(rest);
        }
        panic!("property violated: {property}\n{}", story(&steps));
    }
    let missing: Vec<_> = events.iter().filter(|event| whole && !seen.has(**event)).collect();
    assert!(missing.is_empty(), "{text}: never happened: {missing:?}");
}

/// The actions of a path, one per line, and its last state.
fn story(steps: &[(ModelWorld, Option<Action>)]) -> String {
    let mut text = String::new();
    for (number, (world, action)) in steps.iter().enumerate() {
        if let Some(action) = action {
            let _ = writeln!(text, "{:4}. {}", number + 1, action::describe(world, *action));
        }
    }
    let Some((last, _)) = steps.last() else { return text };
    let _ = match &last.broken {
        Some(wrong) => writeln!(text, "wrong: {wrong}"),
        None => writeln!(text, "no further action; the last state:"),
    };
    for (push, pushing) in last.pushers.iter().enumerate() {
        let machine = &pushing.process.machine;
        let _ = writeln!(text, "pusher {push}: {:?}", machine.stats());
        machine.link_stats().iter().for_each(|link| text.push_str(&format!("    {link:?}\n")));
    }
    for (pull, pulling) in last.pullers.iter().enumerate() {
        let machine = &pulling.process.machine;
        let _ = writeln!(text, "puller {pull}, waiting {}: {:?}", pulling.waiting, machine.stats());
        machine.link_stats().iter().for_each(|link| text.push_str(&format!("    {link:?}\n")));
    }
    text
}
