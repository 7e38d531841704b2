//! Connections that are reset, network partitions, and slow and lossy links.

// A test may stop at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

use tidegate_tests::{
    chaos::{Dice, Fleet, Network, Relay, Way, records},
    daemons::{by, code, numbers, push, summary},
    process::Process,
    seeds,
};

#[test]
fn connections_that_are_reset_lose_nothing_and_nothing_runs_twice() {
    // RD-1, RD-2, RD-6, RD-8, RD-9
    const COUNT: usize = 6_000;
    const WINDOW: usize = 10;
    seeds::each("--test chaos_network connections_that", 3, |seed| {
        let mut dice = Dice::new(seed);
        let (mut push, at) = push(2, &["--json", "--grace", "50s"]);
        let relays = [Relay::before(&at), Relay::before(&at)];
        let mut fleet = Fleet::default();
        for relay in &relays {
            fleet.pull(relay.endpoint(), &["--window", "10"]);
        }
        push.feed(numbers(COUNT));
        for _ in 0..10 {
            let seen = fleet.account.distinct();
            fleet.see(seen + 1 + dice.below(500));
            relays[dice.below(2)].reset();
        }
        fleet.see(COUNT);
        let sum = summary(&mut push);
        assert_eq!(code(&mut push), 0);
        // A puller that was disconnected at the end did not receive it, and waits for another pusher.
        fleet.pulls.iter().for_each(|pull| pull.signal("TERM").unwrap());
        fleet.see_the_rest();
        fleet.account.complete(COUNT);
        let resets: usize = relays.iter().map(Relay::resets).sum();
        assert!((1..=10).contains(&resets));
        let repeated = fleet.account.repeated();
        assert!(repeated.is_empty(), "{repeated:?} ran twice after {resets} resets");
        assert_eq!(sum["acked"], COUNT, "{sum}");
        assert!(sum["redelivered"].as_u64().unwrap() <= (resets * WINDOW) as u64, "{sum}");
        assert!(fleet.pulls.iter_mut().all(|pull| code(pull) == 0));
        println!(
            "seed {seed}: {resets} resets, {} of {COUNT} redelivered, none ran twice",
            sum["redelivered"]
        );
    });
}

#[test]
fn a_connection_that_is_reset_anywhere_in_a_frame_delivers_only_whole_messages() {
    // FR-4, RD-3
    const COUNT: usize = 40;
    let (mut push, at) = push(1, &["--json", "--grace", "50s"]);
    let relay = Relay::before(&at);
    let mut fleet = Fleet::default();
    let pull = fleet.pull(relay.endpoint(), &["--window", "3"]);
    // The cuts go through the answer to the handshake, and then through a message of 300 bytes.
    for number in 0..COUNT {
        let resets = relay.resets();
        relay.cut_after(Some(1 + number * 9));
        relay.reset();
        push.write_line(&format!("{number:0300}"));
        relay.wait_for_resets(resets + 2);
        // Let the next connection succeed; otherwise the puller's reconnect wait would grow (RD-6).
        relay.cut_after(None);
        fleet.see(number + 1);
    }
    push.close_input();
    fleet.see_the_rest();
    fleet.account.complete(COUNT);
    // An incomplete frame has no effect: each number was delivered once, and deliveries that were cut off count as
    // attempts.
    assert!(fleet.account.again().count() > 0 && fleet.account.repeated().is_empty());
    assert!(relay.resets() >= 2 * COUNT);
    assert_eq!(summary(&mut push)["acked"], COUNT);
    assert!(code(&mut push) == 0 && code(&mut fleet.pulls[pull]) == 0);
}

/// A pusher in the hub, and three pullers named after their spokes, with a window of 5.
fn star(network: &Network, heartbeat: &str, grace: &str) -> (Process, Fleet) {
    let args = ["push", "--bind", "tcp://0.0.0.0:8433", "--expect", "3", "--json", "-v"];
    let args = [&args[..], &["--heartbeat", heartbeat, "--grace", grace]].concat();
    let mut push = by(&network.in_hub(), &args);
    push.endpoint().unwrap();
    let mut fleet = Fleet::default();
    for index in 0..3 {
        let args = ["--window", "5", "--heartbeat", heartbeat, "-v"];
        fleet.pull_by(&network.in_spoke(index), &network.hub_from(index), &args);
    }
    (push, fleet)
}

/// Messages continue during a partition, and the partitioned puller reconnects after it.
fn part(way: Way) {
    const COUNT: usize = 3_000;
    let Some(network) = Network::star(3) else { return };
    let (mut push, mut fleet) = star(&network, "300ms", "300ms");
    let feed = |push: &mut Process, range: std::ops::Range<usize>| {
        range.for_each(|number| push.write_line(&number.to_string()));
    };
    feed(&mut push, 0..COUNT / 3);
    fleet.see_by(0, 50);
    network.cut(0, way);
    feed(&mut push, COUNT / 3..COUNT * 2 / 3);
    // Everything is processed before the partition ends, because the messages of the partitioned puller were
    // redelivered.
    fleet.see(COUNT * 2 / 3);
    push.line_with_all(&["to p0 at", "has ended"]).unwrap();
    let lost = network.lost(0, way);
    assert!(lost > 0, "no packet was lost");
    push.forget_lines();
    network.heal(0, way);
    push.line_with_all(&["to p0 at", "is open"]).unwrap();
    let before = fleet.account.by(0).count();
    feed(&mut push, COUNT * 2 / 3..COUNT);
    push.close_input();
    fleet.see_the_rest();
    fleet.account.complete(COUNT);
    assert!(fleet.account.by(0).count() > before, "it receives no messages after the partition");
    for number in fleet.account.repeated() {
        let by: Vec<_> = fleet.account.of(number).iter().map(|s| (s.by, s.attempt)).collect();
        assert!(
            by.contains(&(0, 1)),
            "a message ran twice that the partitioned puller had not received: {by:?}"
        );
    }
    let again = fleet.account.again().count();
    assert!(again <= 5, "{again} redelivered, from a window of 5");
    let sum = summary(&mut push);
    assert_eq!(sum["acked"], COUNT, "{sum}");
    assert!(code(&mut push) == 0 && fleet.pulls.iter_mut().all(|pull| code(pull) == 0));
    println!("{way:?}: {lost} packets were lost, {again} of {COUNT} messages were redelivered");
}

#[test]
fn a_partition_repeats_at_most_a_window_and_the_puller_reconnects_after_it() {
    // LV-3, RD-1, RD-3
    part(Way::Both);
}

#[test]
fn a_puller_whose_packets_are_lost_is_silent_and_reconnects_later() {
    // LV-3, RD-1, RD-3
    part(Way::FromSpoke);
}

#[test]
fn a_puller_that_receives_nothing_closes_its_link_and_reconnects_later() {
    // LV-3, RD-1, RD-3
    part(Way::ToSpoke);
}

#[test]
fn a_partition_of_all_pullers_within_the_grace_delays_messages_and_nothing_runs_twice() {
    // LV-3, RD-6, RD-8, RD-9
    const COUNT: usize = 2_000;
    let Some(network) = Network::star(3) else { return };
    let (mut push, mut fleet) = star(&network, "300ms", "50s");
    (0..COUNT / 2).for_each(|number| push.write_line(&number.to_string()));
    fleet.see(200);
    (0..3).for_each(|spoke| network.cut(spoke, Way::Both));
    for pull in &mut fleet.pulls {
        pull.line_with("has ended").unwrap();
        pull.forget_lines();
    }
    (0..3).for_each(|spoke| network.heal(spoke, Way::Both));
    for pull in &mut fleet.pulls {
        pull.line_with("is open").unwrap();
    }
    (COUNT / 2..COUNT).for_each(|number| push.write_line(&number.to_string()));
    push.close_input();
    fleet.see_the_rest();
    fleet.account.complete(COUNT);
    let repeated = fleet.account.repeated();
    assert!(repeated.is_empty(), "{repeated:?} ran twice");
    let sum = summary(&mut push);
    assert_eq!(sum["acked"], COUNT, "{sum}");
    assert!(
        sum["redelivered"].as_u64().unwrap() <= 15,
        "more than three windows of 5 were redelivered: {sum}"
    );
    assert!(code(&mut push) == 0 && fleet.pulls.iter_mut().all(|pull| code(pull) == 0));
}

#[test]
fn a_slow_link_gets_fewer_messages_and_slows_no_other_link() {
    // RR-1, CR-2
    const COUNT: usize = 4_000;
    let Some(network) = Network::star(3) else { return };
    network.make_slow(0, Way::Both, 256);
    let (mut push, mut fleet) = star(&network, "2s", "1s");
    push.feed(records(0..COUNT));
    fleet.see_the_rest();
    fleet.account.complete(COUNT);
    assert_eq!(fleet.account.again().count(), 0, "a slow link was closed");
    let shares: Vec<_> = (0..3).map(|index| fleet.account.by(index).count()).collect();
    assert!(shares[0] > 0 && shares[1..].iter().all(|&share| share > shares[0]), "{shares:?}");
    assert_eq!(summary(&mut push)["redelivered"], 0);
    assert!(code(&mut push) == 0 && fleet.pulls.iter_mut().all(|pull| code(pull) == 0));
    println!("a link with 256 kbit/s and two links without limit: {shares:?}");
}

#[test]
fn lossy_links_deliver_everything_once() {
    // LV-2, LV-3
    const COUNT: usize = 3_000;
    let Some(network) = Network::star(3) else { return };
    (0..3).for_each(|spoke| network.make_lossy(spoke, Way::Both));
    let (mut push, mut fleet) = star(&network, "2s", "1s");
    push.feed(records(0..COUNT));
    fleet.see_the_rest();
    fleet.account.complete(COUNT);
    assert_eq!(fleet.account.again().count(), 0, "TCP resends lost packets");
    let lost: u64 = (0..3).map(|spoke| network.lost(spoke, Way::Both)).sum();
    assert!(lost > 0, "no packet was lost");
    assert_eq!(summary(&mut push)["redelivered"], 0);
    assert!(code(&mut push) == 0 && fleet.pulls.iter_mut().all(|pull| code(pull) == 0));
    println!("{lost} packets were lost, netem: {}", network.has_netem());
}
