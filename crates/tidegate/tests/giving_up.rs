//! Pullers that are disconnected at the end of a stream, and sockets with `give_up_after`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // tests may panic

mod common;

use std::{thread, time::Duration};

use common::{LONG, within, within_thread};
use tidegate::{
    BuildError, ConnectedError, Event, Pull, PullBuilder, Push, PushBuilder, RecvError, ReserveError,
    SendError,
};

const SHORT: Duration = Duration::from_millis(100);

fn push(address: &str) -> PushBuilder {
    Push::builder().connect(address)
}

fn pull(address: &str) -> PullBuilder {
    Pull::builder().connect(address).reconnect_backoff(Duration::from_millis(5), Duration::from_millis(50))
}

#[tokio::test(start_paused = true)]
async fn a_socket_gives_up_after_the_set_time_without_a_link() {
    let time = Duration::from_secs(3_600);
    let start = tokio::time::Instant::now();
    let pull = pull("mem://nobody").give_up_after(time).build().await.unwrap();
    for _ in 0..3 {
        assert_eq!(pull.recv().await.unwrap_err(), RecvError::GaveUp { after: time });
    }
    assert!(start.elapsed() >= time);
    assert_eq!(pull.connected(1).await, Err(ConnectedError::GaveUp { after: time }));
    let push = push("mem://nobody").give_up_after(time).high_water_mark(1).build().await.unwrap();
    push.send("queued").await.unwrap();
    let after = time;
    assert!(matches!(push.send("x").await, Err(SendError::GaveUp { after: a, .. }) if a == after));
    assert_eq!(push.connected(1).await, Err(ConnectedError::GaveUp { after }));
    assert!(matches!(push.reserve().await, Err(ReserveError::GaveUp { .. })));
    let unfinished = push.finish(Duration::MAX).await.unwrap_err();
    assert!(unfinished.gave_up && unfinished.to_string().contains("give_up_after"), "{unfinished}");
    assert_eq!(unfinished.leftover.unsent.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_finish_that_waits_for_pullers_gives_up_too() {
    let push = push("mem://nobody").give_up_after(SHORT).build().await.unwrap();
    push.send("queued").await.unwrap();
    assert!(push.finish(Duration::MAX).await.unwrap_err().gave_up);
}

#[tokio::test(start_paused = true)]
async fn the_time_starts_over_with_the_end_of_the_last_link_and_a_link_stops_it() {
    let mut server = Push::builder().bind("mem://now-and-then").build().await.unwrap();
    let pull = pull("mem://now-and-then").give_up_after(Duration::from_secs(60)).build().await.unwrap();
    for _ in 0..3 {
        server.connected(1).await.unwrap();
        tokio::time::sleep(Duration::from_secs(600)).await; // with a link
        server.drain(LONG).await.unwrap();
        drop(server);
        tokio::time::sleep(Duration::from_secs(40)).await; // without a link
        assert!(pull.try_recv().unwrap().is_none());
        server = Push::builder().bind("mem://now-and-then").build().await.unwrap();
    }
    server.connected(1).await.unwrap();
    drop(server);
    assert!(matches!(pull.recv().await, Err(RecvError::GaveUp { .. })));
}

#[tokio::test]
async fn a_time_of_0_is_an_error() {
    let error = pull("mem://x").give_up_after(Duration::ZERO).build().await.unwrap_err();
    assert!(
        matches!(error, BuildError::Setting(_)) && error.to_string().contains("give_up_after"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_puller_whose_pusher_ended_while_it_was_disconnected_waits_by_default() {
    let push = Push::builder().bind("mem://ended-meanwhile").build().await.unwrap();
    push.finish(LONG).await.unwrap();
    drop(push);
    let pull = pull("mem://ended-meanwhile").build().await.unwrap();
    let waited = tokio::time::timeout(Duration::from_secs(300), pull.recv()).await;
    assert!(waited.is_err(), "another pusher may come: {waited:?}");
}

/// A worker that computes for longer than heartbeat timeout and grace, on the only thread of its links, while the
/// stream ends.
#[test]
fn a_worker_that_was_disconnected_receives_the_end_while_the_pusher_still_exists() {
    // ST-3
    let heartbeat = Duration::from_millis(100);
    let push = Push::builder().bind("tcp://127.0.0.1:0").heartbeat(heartbeat).blocking_build().unwrap();
    let at = push.local_endpoints()[0].to_string();
    let (go_on, computes) = std::sync::mpsc::channel::<()>();
    let (got, has_it) = std::sync::mpsc::channel();
    let address = at.clone();
    let worker = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let pull = pull(&address).heartbeat(heartbeat).build().await.unwrap();
            while let Some(delivery) = pull.recv().await.unwrap() {
                got.send(()).unwrap();
                computes.recv().unwrap();
                delivery.ack();
            }
        });
    });
    push.blocking_send("job").unwrap();
    has_it.recv_timeout(LONG).unwrap();
    let other = pull(&at).blocking_build().unwrap();
    within_thread(move || {
        other.blocking_recv().unwrap().unwrap().ack(); // the worker counts as dead
        push.blocking_finish(LONG).unwrap(); // does not wait for it
        assert!(other.blocking_recv().unwrap().is_none());
        go_on.send(()).unwrap();
        worker.join().unwrap(); // it receives the end, and does not wait
        drop(push);
    });
}

/// A puller connects, and its connection breaks.
async fn lose_a_puller(push: &Push) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let address = push.local_endpoints()[0].to_string();
    let gone = runtime.spawn(async move { pull(&address).build().await.unwrap() }).await.unwrap();
    within(push.connected(1)).await.unwrap();
    let mut events = push.events();
    runtime.shutdown_background();
    drop(gone);
    while !matches!(within(events.recv()).await.unwrap(), Event::Disconnected { .. }) {}
}

#[tokio::test]
async fn a_pusher_that_stays_for_a_lost_puller_gives_its_address_to_the_next_one() {
    let push = Push::builder().bind("tcp://127.0.0.1:0").build().await.unwrap();
    let at = push.local_endpoints()[0].to_string();
    lose_a_puller(&push).await;
    within(push.finish(LONG)).await.unwrap();
    let next = within(Push::builder().bind(&at).build()).await.unwrap();
    let pull = pull(&at).build().await.unwrap();
    next.send("x").await.unwrap();
    within(pull.recv()).await.unwrap().unwrap().ack();
    within(next.finish(LONG)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_orderly_end_before_the_next_recv_is_none_and_not_an_error_of_giving_up() {
    for bind in [false, true] {
        let at = format!("mem://ended-{bind}");
        let (push, pull) = if bind {
            let pull = Pull::builder().bind(&at).expect(1).give_up_after(SHORT).build().await.unwrap();
            (push(&at).build().await.unwrap(), pull)
        } else {
            let push = Push::builder().bind(&at).build().await.unwrap();
            (push, pull(&at).give_up_after(SHORT).build().await.unwrap())
        };
        push.send("job").await.unwrap();
        let delivery = pull.recv().await.unwrap().unwrap();
        let worker = tokio::spawn(async move {
            delivery.ack();
            tokio::time::sleep(100 * SHORT).await; // works for longer than it would wait
            pull.recv().await.map(|delivery| delivery.is_none())
        });
        push.finish(LONG).await.unwrap();
        assert_eq!(worker.await.unwrap(), Ok(true), "bind: {bind}");
    }
}

#[tokio::test]
async fn a_finished_pusher_that_stays_does_not_give_up() {
    let push = Push::builder().bind("tcp://127.0.0.1:0").give_up_after(10 * SHORT).build().await.unwrap();
    lose_a_puller(&push).await;
    within(push.finish(LONG)).await.unwrap();
    let mut events = push.events();
    assert!(tokio::time::timeout(15 * SHORT, events.recv()).await.is_err(), "the events have not ended");
}

#[tokio::test]
async fn a_pusher_that_stays_gives_its_address_to_one_of_another_runtime() {
    let push = Push::builder().bind("tcp://127.0.0.1:0").build().await.unwrap();
    let at = push.local_endpoints()[0].to_string();
    let other = || Push::builder().bind(&at).io_thread(true).build();
    assert!(matches!(within(other()).await, Err(BuildError::Bind { .. })), "it is not finished");
    lose_a_puller(&push).await;
    within(push.finish(LONG)).await.unwrap();
    let next = within(other()).await.unwrap();
    let pull = pull(&at).build().await.unwrap();
    next.send("x").await.unwrap();
    within(pull.recv()).await.unwrap().unwrap().ack();
    within(next.finish(LONG)).await.unwrap();
}
