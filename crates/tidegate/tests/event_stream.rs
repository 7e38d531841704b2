//! Events: including those of building the socket, and as a stream.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // tests may panic

mod common;

use std::{future::poll_fn, pin::Pin, time::Duration};

use common::{begin, within, within_thread};
use futures_core::Stream;
use tidegate::{CannotBlock, Event, Events, Pull, Push};

async fn next(events: &mut Events) -> Option<Event> {
    within(poll_fn(|cx| Pin::new(&mut *events).poll_next(cx))).await
}

#[tokio::test]
async fn the_builder_returns_the_events_of_building_as_a_stream() {
    let mut builder = Push::builder().bind("tcp://127.0.0.1:0").bind("mem://events-of-building");
    let mut events = builder.events();
    begin(events.recv()).await; // waits before there is a socket; cancelling it loses no event
    let push = builder.build().await.unwrap();
    for endpoint in push.local_endpoints() {
        assert_eq!(next(&mut events).await, Some(Event::Bound { endpoint }));
    }
    let mut builder = Pull::builder().connect("mem://events-of-building");
    let mut pulls = builder.events();
    let pull = builder.build().await.unwrap();
    assert!(matches!(next(&mut events).await, Some(Event::Connected { .. })));
    assert!(matches!(within(pulls.recv()).await, Some(Event::Connected { .. })));
    within(push.finish(Duration::MAX)).await.unwrap();
    drop((push, pull));
    while next(&mut events).await.is_some() {}
    while next(&mut pulls).await.is_some() {}
}

#[tokio::test]
async fn the_events_of_a_builder_that_builds_nothing_end() {
    let mut builder = Push::builder().bind("mem://");
    let mut events = builder.events();
    assert!(builder.build().await.is_err());
    assert_eq!(next(&mut events).await, None);
}

#[test]
fn events_of_building_can_be_waited_for_by_blocking_a_thread() {
    within_thread(|| {
        let mut builder = Push::builder().bind("tcp://127.0.0.1:0");
        let events = builder.events();
        let early = events.blocking().unwrap_err();
        assert_eq!(early.reason(), CannotBlock::NotBuilt);
        let events = early.into_inner();
        let push = builder.blocking_build().unwrap();
        let mut events = events.blocking().unwrap();
        let listener = std::thread::spawn(move || events.blocking_recv().unwrap());
        let endpoint = push.local_endpoints().remove(0);
        assert_eq!(listener.join().unwrap(), Some(Event::Bound { endpoint }));
    });
}

#[tokio::test]
async fn the_end_of_a_stream_is_an_event_and_comes_before_the_end_of_its_link() {
    // ST-6
    let push = Push::builder().bind("mem://the-end-is-an-event").name("source").build().await.unwrap();
    // Two links to one pusher, whose end is reported once.
    let pull = Pull::builder()
        .connect("mem://the-end-is-an-event")
        .connect("mem://the-end-is-an-event")
        .build()
        .await
        .unwrap();
    let mut events = pull.events();
    within(push.connected(2)).await.unwrap();
    push.send("x").await.unwrap();
    within(pull.recv()).await.unwrap().unwrap().ack();
    within(push.finish(Duration::MAX)).await.unwrap();
    assert!(within(pull.recv()).await.unwrap().is_none());
    drop(pull);
    let mut seen = Vec::new();
    while let Some(event) = next(&mut events).await {
        seen.push(event);
    }
    let ended: Vec<_> = seen.iter().filter(|event| matches!(event, Event::Ended { .. })).collect();
    assert_eq!(ended.len(), 1, "{seen:?}");
    assert!(matches!(ended[0], Event::Ended { peer } if peer.name == "source"));
    let place = |wanted: fn(&Event) -> bool| seen.iter().position(wanted);
    let end = place(|event| matches!(event, Event::Ended { .. }));
    assert!(end < place(|event| matches!(event, Event::Disconnected { .. })), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_gives_up_does_not_end_the_events_of_another_one_from_a_clone_of_its_builder() {
    let mut builder = Pull::builder().connect("mem://events-of-clones");
    let mut events = builder.events();
    let gives_up = builder.clone().give_up_after(Duration::from_secs(1)).build().await.unwrap();
    let _stays = builder.build().await.unwrap();
    within(gives_up.recv()).await.unwrap_err();
    let _push = Push::builder().bind("mem://events-of-clones").build().await.unwrap();
    while !matches!(next(&mut events).await.unwrap(), Event::Connected { .. }) {}
}
