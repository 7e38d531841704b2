//! `subset` of the builders: a socket connects to some of the endpoints given.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // tests may panic

mod common;

use std::{collections::BTreeSet, time::Duration};

use common::within;
use tidegate::{Endpoint, Event, Pull, PullBuilder, Push, PushBuilder};

fn named(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("mem://subsets-{name}-{number}")).collect()
}

fn pull(endpoints: &[String], index: usize) -> PullBuilder {
    endpoints.iter().fold(Pull::builder(), PullBuilder::connect).subset(2).subset_index(index)
}

async fn push(endpoint: &String) -> Push {
    Push::builder().bind(endpoint).build().await.unwrap()
}

/// Builds the puller, and returns the endpoints that it has chosen.
async fn chosen(mut builder: PullBuilder) -> (Pull, Vec<Endpoint>) {
    let mut events = builder.events();
    let pull = builder.build().await.unwrap();
    match within(events.recv()).await {
        Some(Event::SubsetChosen { endpoints, .. }) => (pull, endpoints),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_puller_links_to_its_subset_and_ends_with_it() {
    let endpoints = named("ends", 6);
    let mut pushers = Vec::new();
    for endpoint in &endpoints {
        pushers.push(push(endpoint).await);
    }
    let mut pullers = Vec::new();
    for index in 0..3 {
        pullers.push(pull(&endpoints, index).build().await.unwrap());
    }
    for push in &pushers {
        within(push.connected(1)).await.unwrap();
    }
    for push in &pushers {
        assert_eq!(push.link_stats().len(), 1, "6 links of 3 pullers on 6 pushers");
    }
    for (number, push) in pushers.into_iter().enumerate() {
        push.send(number.to_string()).await.unwrap();
        tokio::spawn(async move { push.finish(Duration::from_secs(10)).await });
    }
    let mut received = BTreeSet::new();
    for pull in &pullers {
        let mut count = 0;
        // The end comes although the other pushers have never had a link.
        while let Some(delivery) = within(pull.recv()).await.unwrap() {
            assert!(received.insert(delivery.payload().to_vec()));
            delivery.ack();
            count += 1;
        }
        assert_eq!(count, 2);
    }
    assert_eq!(received.len(), 6);
}

#[tokio::test]
async fn the_order_of_the_endpoints_and_repeated_ones_do_not_matter() {
    let endpoints = named("order", 9);
    let (_first, expected) = chosen(pull(&endpoints, 4)).await;
    let mut mixed: Vec<String> = endpoints.iter().rev().cloned().collect();
    mixed.extend_from_slice(&endpoints[..4]);
    let (_second, same) = chosen(pull(&mixed, 4)).await;
    assert_eq!(expected.len(), 2);
    let set = |all: Vec<Endpoint>| all.into_iter().map(|one| one.to_string()).collect::<BTreeSet<_>>();
    assert_eq!(set(expected), set(same));
    let ports = ["tcp://127.0.0.1", "tcp://127.0.0.1:8433"].map(str::to_owned);
    assert_eq!(chosen(pull(&ports, 0)).await.1.len(), 1, "the port is the default");
}

#[tokio::test]
async fn with_few_endpoints_a_subset_has_all_of_them() {
    let endpoints = named("few", 2);
    let (_pull, all) = chosen(pull(&endpoints, 5)).await;
    assert_eq!(all.iter().map(ToString::to_string).collect::<Vec<_>>(), endpoints);
}

#[tokio::test]
async fn without_a_subset_a_socket_connects_to_all_endpoints() {
    let endpoints = named("all", 5);
    let pull = endpoints.iter().fold(Pull::builder(), PullBuilder::connect).build().await.unwrap();
    for endpoint in &endpoints {
        let push = push(endpoint).await;
        within(push.connected(1)).await.unwrap();
    }
    drop(pull);
}

#[tokio::test]
async fn a_pusher_that_connects_can_have_a_subset_of_pullers() {
    let endpoints = named("push", 4);
    let mut pullers = Vec::new();
    for endpoint in &endpoints {
        pullers.push(Pull::builder().bind(endpoint).build().await.unwrap());
    }
    let builder = endpoints.iter().fold(Push::builder(), PushBuilder::connect);
    let push = builder.subset(3).subset_index(0).build().await.unwrap();
    within(push.connected(3)).await.unwrap();
    assert_eq!(push.link_stats().len(), 3);
    assert_eq!(pullers.iter().filter(|pull| pull.link_stats().is_empty()).count(), 1);
}

#[tokio::test]
async fn settings_that_are_out_of_range_or_incomplete_are_errors() {
    let base = || Pull::builder().connect("mem://subsets-wrong");
    for (builder, expected) in [
        (base().subset(0).subset_index(0), "subset is 0; it must be at least 1"),
        (base().subset(20), "subset is 20; it must be unset without subset_index"),
        (base().subset_index(3), "subset_index is 3; it must be unset without subset"),
        (base().subset(20).subset_index(100_000), "subset_index is 100000; it must be 0 to 99,999"),
        (
            Pull::builder().bind("mem://subsets-wrong").subset(20).subset_index(0),
            "unset without an endpoint to connect to",
        ),
    ] {
        let error = builder.build().await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    base().subset(20).subset_index(99_999).build().await.unwrap();
}
