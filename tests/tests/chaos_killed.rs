//! Processes that are killed while they work, and an exact account of lost and repeated messages.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    path::Path,
    process::Stdio,
    thread,
};

use tidegate_tests::{
    chaos::{Dice, Fleet, Sighting, WIDTH, records},
    daemons::{self, code, make_fifo, numbers, push, summary},
    process::Process,
    seeds,
};

/// For comparison: killing one of three workers lost 4,656 of 20,000 messages with ZeroMQ's PUSH/PULL and a high-water
/// mark of 1,000, and 4,944 with a NATS queue group.
#[test]
fn a_killed_worker_loses_none_of_20_000_messages_in_10_runs_of_10() {
    // RD-1, RD-3
    const COUNT: usize = 20_000;
    seeds::each("--test chaos_killed a_killed_worker", 10, |seed| {
        let mut dice = Dice::new(seed);
        let (mut push, at) = push(3, &["--json"]);
        let mut fleet = Fleet::default();
        // Windows fixed and automatic, shallow and deep.
        let window = [&["--window", "10"][..], &["--window", "1000"], &[]][dice.below(3)];
        for _ in 0..3 {
            fleet.pull(&at, window);
        }
        push.feed(numbers(COUNT));
        let victim = dice.below(3);
        fleet.see_by(victim, 1 + dice.below(COUNT / 6));
        fleet.pulls[victim].signal("KILL").unwrap();
        fleet.see_the_rest();
        fleet.account.complete(COUNT);
        for number in fleet.account.repeated() {
            let seen = fleet.account.of(number);
            let at_victim = seen.iter().find(|sighting| sighting.by == victim);
            assert!(seen.len() == 2 && at_victim.is_some_and(|s| s.attempt == 1), "{seen:?}");
        }
        let sum = summary(&mut push);
        assert_eq!((&sum["acked"], &sum["accepted"]), (&COUNT.into(), &COUNT.into()), "{sum}");
        let again = fleet.account.again().count();
        assert_eq!(sum["redelivered"], again, "each redelivery was seen with a higher attempt");
        assert_eq!(code(&mut push), 0);
        let died = fleet.pulls[victim].exit().unwrap();
        assert_eq!(died.code(), None, "it was killed before it could exit");
        println!("seed {seed}: 0 of {COUNT} lost, {again} redelivered, window {window:?}");
    });
}

#[test]
fn killing_one_worker_after_another_and_starting_new_ones_loses_nothing() {
    // RD-3, RR-2
    const COUNT: usize = 5_000;
    let (mut push, at) = push(0, &["--json", "-v"]);
    let mut fleet = Fleet::default();
    for _ in 0..2 {
        fleet.pull(&at, &["--window", "20"]);
    }
    push.write(&numbers(COUNT));
    for round in 1..=8 {
        fleet.see(round * 500);
        fleet.pulls[round - 1].signal("KILL").unwrap();
        let new = fleet.pull(&at, &["--window", "20"]);
        // The puller must connect before the end; otherwise it would wait for another pusher.
        push.line_with_all(&[&format!("to p{new} at"), "is open"]).unwrap();
    }
    push.close_input();
    fleet.see_the_rest();
    fleet.account.complete(COUNT);
    let again = fleet.account.again().count();
    assert!(again <= 8 * 20, "{again} redelivered, from eight windows of 20");
    let sum = summary(&mut push);
    assert_eq!(sum["acked"], COUNT, "{sum}");
    assert_eq!(code(&mut push), 0);
}

/// Two workers that process one message at a time: each writes the message to a pipe when it starts, and then waits
/// until the test releases it.
struct Workers {
    directory: tempfile::TempDir,
    begun: BufReader<File>,
    go: [File; 2],
}

impl Workers {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // The test keeps both ends of each pipe open, so that a reader never sees the end when a writer closes its end.
        let pipe = |name: &str| {
            let path = directory.path().join(name);
            make_fifo(&path);
            File::options().read(true).write(true).open(path).unwrap()
        };
        let (begun, go) = (BufReader::new(pipe("begun")), [pipe("go0"), pipe("go1")]);
        Self { directory, begun, go }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    fn start(&self, index: usize, at: &str) -> Process {
        let (begun, free, go) = (self.path("begun"), self.path("free"), self.path(&format!("go{index}")));
        let worker = format!(
            r#"exec 3>{begun}; while read -r line; do echo "{index} $line" >&3; [ -e {free} ] || read -r _ <{go}; echo ok; done"#
        );
        daemons::tidegate(&["pull", "-v", "--connect", at, "--json", "--worker", &worker])
    }

    /// Waits until a worker starts a message.
    fn begins(&mut self) -> Sighting {
        let mut line = String::new();
        self.begun.read_line(&mut line).unwrap();
        let (by, line) = line.trim_end().split_once(' ').unwrap();
        Sighting::read(by.parse().unwrap(), line).unwrap()
    }

    /// Lets a worker finish its current message.
    fn let_on(&self, index: usize) {
        (&self.go[index]).write_all(b"\n").unwrap();
    }

    /// Releases all workers, also for later messages.
    fn free(&self) {
        fs::write(Path::new(&self.path("free")), "").unwrap();
        (0..2).for_each(|index| self.let_on(index));
    }
}

#[test]
fn a_killed_pusher_loses_exactly_the_messages_it_held_and_its_pullers_serve_the_next_one() {
    // RD-5, RD-6
    const COUNT: usize = 2_000;
    let mut workers = Workers::new();
    // Two pushers, one after the other, read from the same pipe, so the second gets the part that the first has not
    // read.
    let (input, mut writer) = std::io::pipe().unwrap();
    let feeder = thread::spawn(move || writer.write_all(&records(0..COUNT)));
    let start = |at: &str| {
        let mut command = daemons::command(
            &[],
            &["push", "--bind", at, "--json", "--high-water-mark", "50", "--expect", "2"],
        );
        Process::spawn(command.stdin(Stdio::from(input.try_clone().unwrap())).stdout(Stdio::null())).unwrap()
    };
    let mut first = start("tcp://127.0.0.1:0");
    let at = first.endpoint().unwrap();
    let mut pulls: Vec<_> = (0..2).map(|index| workers.start(index, &at)).collect();
    let mut begun = vec![workers.begins(), workers.begins()];
    for round in 0..10 {
        workers.let_on(round % 2);
        let next = workers.begins();
        assert_eq!(next.by, round % 2, "only this worker is free");
        begun.push(next);
    }
    // Each worker has room for one message, so when it starts the next, the pusher has the ack of the previous one.
    let acked: BTreeSet<_> = begun[..10].iter().map(|s| s.number).collect();
    let running: BTreeSet<_> = begun[10..].iter().map(|s| s.number).collect();
    assert_eq!((acked.len(), running.len()), (10, 2));
    first.signal("KILL").unwrap();
    assert!(first.exit().unwrap().code().is_none());
    for pull in &mut pulls {
        pull.line_with("has ended").unwrap();
    }
    // The workers finish their messages, whose outcomes are lost, and process those of the next pusher.
    workers.free();
    let mut second = start(&at);
    let mut rest = BTreeSet::new();
    drop(input);
    let ended = thread::spawn(move || (summary(&mut second), code(&mut second)));
    loop {
        let sighting = workers.begins();
        assert_eq!(sighting.attempt, 1, "the second pusher does not have the first one's messages");
        assert!(rest.insert(sighting.number), "{} was delivered twice", sighting.number);
        if sighting.number == COUNT - 1 {
            break;
        }
    }
    let (sum, exit) = ended.join().unwrap();
    assert_eq!(exit, 0, "{sum}");
    // The last number is not always the last to start.
    while (rest.len() as u64) < sum["acked"].as_u64().unwrap() {
        assert!(rest.insert(workers.begins().number));
    }
    feeder.join().unwrap().unwrap();
    let unread = *rest.first().unwrap();
    assert_eq!(
        rest,
        (unread..COUNT).collect(),
        "the second pusher sent exactly the part that the first had not read"
    );
    let held: BTreeSet<_> = (0..unread).filter(|number| !acked.contains(number)).collect();
    assert!(running.is_subset(&held), "un-acked, but processed");
    assert!(begun.iter().all(|s| !rest.contains(&s.number)), "a message ran twice");
    let lost: Vec<_> = held.difference(&running).copied().collect();
    assert_eq!(
        lost,
        (12..unread).collect::<Vec<_>>(),
        "exactly the messages that it held and no worker had started"
    );
    // Un-acked and queued messages, and three chunks of 64 KiB read ahead.
    assert!(
        lost.len() <= 50 + 3 * 64 * 1024 / WIDTH,
        "{} messages lost, which is more than it may hold",
        lost.len()
    );
    assert!(pulls.iter_mut().all(|pull| code(pull) == 0));
    println!(
        "{} acked, {} running, {} lost with the pusher, {} by the next",
        acked.len(),
        running.len(),
        lost.len(),
        rest.len()
    );
}
