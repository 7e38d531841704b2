//! How sockets stop, and what remains of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

mod common;

use std::time::Duration;

use common::{LONG, assert_conserved, begin, until, within};
use tidegate::{BuildError, Pull, Push, Window};
use tokio::{io::AsyncReadExt, net::TcpStream, time::Instant};

#[tokio::test]
async fn what_is_held_when_a_cancelled_finish_is_followed_by_the_last_drop_still_arrives_and_the_stream_ends()
{
    let push = Push::builder().bind("mem://cancelled-finish").build().await.unwrap();
    push.send("m").await.unwrap();
    begin(push.finish(LONG)).await;
    drop(push);
    let pull = Pull::builder().connect("mem://cancelled-finish").build().await.unwrap();
    within(pull.recv()).await.unwrap().expect("the message").ack();
    assert!(within(pull.recv()).await.unwrap().is_none(), "the end that was asked for");
}

#[tokio::test]
async fn a_completed_finish_leaves_nothing_for_the_last_drop() {
    let push = Push::builder().bind("mem://whole-finish").build().await.unwrap();
    let mut events = push.events();
    within(push.finish(LONG)).await.unwrap();
    drop(push);
    within(async { while events.recv().await.is_some() {} }).await; // the socket is gone
}

#[tokio::test]
async fn handshakes_in_progress_when_a_socket_stops_end_in_time_and_do_not_keep_it() {
    // HS-11; more handshakes than get a turn at the same time (HS-14).
    let push = Push::builder()
        .bind("tcp://127.0.0.1:0")
        .handshake_timeout(Duration::from_millis(500))
        .build()
        .await
        .unwrap();
    let mut events = push.events();
    let at = push.local_endpoints()[0].to_string();
    let mut silent = Vec::new();
    for _ in 0..30 {
        silent.push(TcpStream::connect(at.strip_prefix("tcp://").unwrap()).await.unwrap());
    }
    // It connects after the others, and waits behind them for its turns.
    let pull = Pull::builder().connect(&at).build().await.unwrap();
    within(pull.connected(1)).await.unwrap();
    within(push.finish(LONG)).await.unwrap();
    drop(push);
    for mut stranger in silent {
        let mut bytes = Vec::new();
        within(stranger.read_to_end(&mut bytes)).await.unwrap();
    }
    within(async { while events.recv().await.is_some() {} }).await; // the socket is gone
}

#[tokio::test]
async fn an_address_can_be_bound_again_as_soon_as_its_socket_has_stopped() {
    let push = Push::builder().bind("tcp://127.0.0.1:0").build().await.unwrap();
    let at = push.local_endpoints()[0].to_string();
    within(push.finish(LONG)).await.unwrap();
    for at in [at.as_str(), "mem://again", "unix:///tmp/tidegate-again.sock"] {
        for _ in 0..3 {
            let push = within(Push::builder().bind(at).build()).await.unwrap();
            let pull = Pull::builder().connect(at).build().await.unwrap();
            push.send("m").await.unwrap();
            within(pull.recv()).await.unwrap().unwrap().ack();
            within(push.finish(LONG)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_pipeline_can_be_bound_again_while_another_one_keeps_the_address() {
    let _other = Push::builder().bind("mem://kept#other").build().await.unwrap();
    let push = Push::builder().bind("mem://kept#one").build().await.unwrap();
    let twice = Push::builder().bind("mem://kept#one").build().await.unwrap_err();
    assert!(matches!(twice, BuildError::Bind { .. }), "{twice}");
    within(push.finish(LONG)).await.unwrap();
    let push = within(Push::builder().bind("mem://kept#one").build()).await.unwrap();
    let pull = Pull::builder().connect("mem://kept#one").build().await.unwrap();
    push.send("m").await.unwrap();
    within(pull.recv()).await.unwrap().unwrap().ack();
}

#[tokio::test]
async fn an_address_written_with_a_name_serves_several_pipelines() {
    // A port that is free now; another process is unlikely to take it.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let at = format!("tcp://localhost:{port}");
    let push = Push::builder().bind(format!("{at}/a")).bind(format!("{at}/b")).build().await.unwrap();
    let bound = push.local_endpoints();
    assert_eq!(bound.len(), 2);
    assert!(bound.iter().all(|endpoint| !endpoint.to_string().contains("localhost")), "{bound:?}");
    for pipeline in ["a", "b"] {
        let pull = Pull::builder().connect(format!("{at}/{pipeline}")).build().await.unwrap();
        within(pull.connected(1)).await.unwrap();
        within(pull.leave(LONG)).await.unwrap();
    }
}

#[test]
fn an_address_of_a_stopped_socket_is_in_use_while_its_runtime_exists_and_is_not_polled() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (idle, running) = (runtime(), runtime());
    idle.block_on(async {
        Push::builder().bind("mem://still").build().await.unwrap().abort().await;
    });
    let again = || Push::builder().bind("mem://still").handshake_timeout(Duration::from_millis(100)).build();
    let error = running.block_on(within(again())).unwrap_err();
    assert!(error.to_string().contains("its runtime is not being polled"), "{error}");
    drop(idle);
    running.block_on(within(again())).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_puller_with_nothing_in_hand_leaves_at_once_although_many_deliveries_are_queued() {
    // ST-1. The clock moves only when every task waits for it.
    for taken in [0, 1] {
        let at = format!("mem://nothing-in-hand-{taken}");
        let push = Push::builder().bind(&at).build().await.unwrap();
        let pull = Pull::builder().connect(&at).window(Window::messages(800)).build().await.unwrap();
        within(push.connected(1)).await.unwrap();
        within(push.send_all((0..300).map(|_| "x"))).await.unwrap();
        until(|| pull.stats().received == 300).await;
        for _ in 0..taken {
            // With it, others are taken from the core, and handed out to nobody.
            within(pull.recv()).await.unwrap().unwrap().ack();
        }
        assert_eq!((pull.stats().in_flight, pull.stats().queued), (0, 300 - taken));
        let start = Instant::now();
        let stats = within(pull.leave(LONG)).await.unwrap();
        assert!(start.elapsed() < Duration::from_millis(100), "{:?}", start.elapsed());
        assert_eq!((stats.acked, stats.links), (taken, 0));
        assert_eq!((push.stats().acked, push.stats().queued), (stats.acked, 300 - taken));
        assert_conserved(&push, &pull);
    }
}
