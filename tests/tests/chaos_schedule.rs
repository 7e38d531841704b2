//! Faults of all kinds in a random schedule, on a fleet of real processes. Everything is processed, and a message that
//! is processed again has a higher attempt number.

// A test may stop at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

use tidegate_tests::{
    chaos::{Dice, Fleet, Relay},
    daemons::{code, numbers, push, summary},
    process::Process,
    seeds,
};

const COUNT: usize = 3_000;
const PLACES: usize = 4;
const WINDOW: usize = 8;

/// The place of a puller, with its own relay in front.
struct RelayedPuller {
    relay: Relay,
    /// Its index in the fleet.
    puller: usize,
    asleep: bool,
    held: bool,
}

impl RelayedPuller {
    const fn works(&self) -> bool {
        !self.asleep && !self.held
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Kill,
    Terminate,
    Stop,
    Continue,
    Reset,
    Hold,
    LetGo,
    StopPusher,
}

const FAULTS: [Fault; 8] = [
    Fault::Kill,
    Fault::Terminate,
    Fault::Stop,
    Fault::Continue,
    Fault::Reset,
    Fault::Hold,
    Fault::LetGo,
    Fault::StopPusher,
];

/// The faults that every process survives.
const BLIPS: [Fault; 6] =
    [Fault::Stop, Fault::Continue, Fault::Reset, Fault::Hold, Fault::LetGo, Fault::StopPusher];

struct Scene {
    push: Process,
    fleet: Fleet,
    places: Vec<RelayedPuller>,
    killed: Vec<usize>,
}

fn start(fleet: &mut Fleet, relay: &Relay) -> usize {
    let window = WINDOW.to_string();
    fleet.pull(relay.endpoint(), &["--window", &window, "--heartbeat", "300ms"])
}

impl Scene {
    fn new(grace: &str) -> Self {
        let (push, at) = push(0, &["--json", "-v", "--heartbeat", "300ms", "--grace", grace]);
        let fleet = Fleet::default();
        let mut scene = Self { push, fleet, places: Vec::new(), killed: Vec::new() };
        for _ in 0..PLACES {
            let relay = Relay::before(&at);
            let puller = start(&mut scene.fleet, &relay);
            scene.places.push(RelayedPuller { relay, puller, asleep: false, held: false });
        }
        scene
    }

    /// Inflicts a fault, if a working puller remains. Returns whether it did.
    fn inflict(&mut self, fault: Fault, place: usize) -> bool {
        let others = self.places.iter().enumerate().any(|(other, p)| other != place && p.works());
        let RelayedPuller { puller, asleep, held, .. } = self.places[place];
        match fault {
            Fault::Kill | Fault::Terminate => {
                let name = if fault == Fault::Kill { "KILL" } else { "TERM" };
                if fault == Fault::Kill {
                    self.killed.push(puller);
                } else if asleep {
                    return false;
                }
                self.fleet.pulls[puller].signal(name).unwrap();
                self.places[place].puller = start(&mut self.fleet, &self.places[place].relay);
                self.places[place].asleep = false;
            }
            Fault::Stop if others && !asleep => {
                self.fleet.pulls[puller].signal("STOP").unwrap();
                self.places[place].asleep = true;
            }
            Fault::Continue if asleep => {
                self.fleet.pulls[puller].signal("CONT").unwrap();
                self.places[place].asleep = false;
            }
            Fault::Reset => self.places[place].relay.reset(),
            Fault::Hold if others && !held => {
                self.places[place].relay.hold(true);
                self.places[place].held = true;
            }
            Fault::LetGo if held => {
                self.places[place].relay.hold(false);
                self.places[place].held = false;
            }
            Fault::StopPusher => {
                self.push.signal("STOP").unwrap();
                self.push.signal("CONT").unwrap();
            }
            _ => return false,
        }
        true
    }
}

/// Inflicts faults until at most `last` messages are left, ends the faults, and waits for the rest. Returns the
/// pusher's summary and the number of links that have ended.
fn play(scene: &mut Scene, dice: &mut Dice, faults: &[Fault], last: usize) -> (serde_json::Value, usize) {
    scene.push.feed(numbers(COUNT));
    let until = COUNT - last;
    let mut done = Vec::new();
    while scene.fleet.account.distinct() < until {
        let next = scene.fleet.account.distinct() + 1 + dice.below(120);
        scene.fleet.see(next.min(until));
        let (fault, place) = (faults[dice.below(faults.len())], dice.below(PLACES));
        if scene.inflict(fault, place) {
            done.push((fault, place));
        }
    }
    println!("faults: {done:?}");
    for place in 0..PLACES {
        scene.inflict(Fault::Continue, place);
        scene.inflict(Fault::LetGo, place);
    }
    scene.fleet.see(COUNT);
    let sum = summary(&mut scene.push);
    assert_eq!((&sum["acked"], &sum["accepted"]), (&COUNT.into(), &COUNT.into()), "{sum}");
    assert_eq!(code(&mut scene.push), 0);
    // A puller that was disconnected at the end did not receive it, and waits for another pusher.
    for pull in &scene.fleet.pulls {
        pull.signal("TERM").unwrap();
    }
    scene.fleet.see_the_rest();
    scene.fleet.account.complete(COUNT);
    for (index, pull) in scene.fleet.pulls.iter_mut().enumerate() {
        let code = pull.exit().unwrap().code();
        let by_signal = scene.killed.contains(&index)
            // The signal came before the process had installed its handler.
            || scene.fleet.account.by(index).next().is_none();
        assert!(code == Some(0) || code.is_none() && by_signal, "p{index}: {code:?}");
    }
    let lost = scene.push.lines_seen().iter().filter(|line| line.contains("has ended")).count();
    println!(
        "{} faults, {lost} links ended, {} redelivered, 0 of {COUNT} lost",
        done.len(),
        sum["redelivered"]
    );
    (sum, lost)
}

#[test]
fn under_any_schedule_of_faults_everything_is_processed_and_repeats_have_higher_attempts() {
    // RD-1, RD-3, RD-4, LV-3
    seeds::each("--test chaos_schedule under_any_schedule", 4, |seed| {
        let mut dice = Dice::new(seed);
        let grace = ["0s", "100ms", "1s"][dice.below(3)];
        println!("seed {seed}, grace {grace}");
        let mut scene = Scene::new(grace);
        let (sum, lost) = play(&mut scene, &mut dice, &FAULTS, 0);
        // Redelivered messages were un-acked on a lost link, or nacked.
        let (redelivered, nacked) =
            (sum["redelivered"].as_u64().unwrap() as usize, sum["nacked"].as_u64().unwrap() as usize);
        assert!(
            redelivered <= lost * WINDOW + nacked,
            "more redeliveries than {lost} lost links explain: {sum}"
        );
        let again = scene.fleet.account.again().count();
        assert!(again <= redelivered, "{again} messages were seen again: {sum}");
    });
}

#[test]
fn without_killed_processes_no_schedule_of_faults_runs_a_message_twice() {
    // RD-8, RD-9
    seeds::each("--test chaos_schedule without_killed", 4, |seed| {
        println!("seed {seed}");
        let mut scene = Scene::new("50s");
        // The messages that a place holds are held for it: near the end only these are left.
        play(&mut scene, &mut Dice::new(seed), &BLIPS, 2 * PLACES * WINDOW);
        let repeated: Vec<_> =
            scene.fleet.account.repeated().iter().map(|&n| scene.fleet.account.of(n).to_vec()).collect();
        assert!(repeated.is_empty(), "these messages ran twice: {repeated:?}");
    });
}
