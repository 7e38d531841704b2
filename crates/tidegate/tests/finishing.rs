//! Which pullers receive the end of a stream, and for which a finished pusher still waits (ST-3).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

mod common;

use std::{sync::Arc, time::Duration};

use common::{LONG, net::Net, within};
use tidegate::{Event, Pull, Push};
use tokio::time::sleep;

const STAY: Duration = Duration::from_secs(600);

async fn puller(net: &Arc<Net>, name: &str) -> Pull {
    let at = format!("net://{name}");
    Pull::builder().transport("net", net.clone()).bind(at).expect(1).build().await.unwrap()
}

/// A pusher with a link to each of the pullers.
async fn pusher(net: &Arc<Net>, names: &[&str]) -> Push {
    let builder = Push::builder().transport("net", net.clone());
    let push = names.iter().fold(builder, |builder, name| builder.connect(format!("net://{name}")));
    let push = push.build().await.unwrap();
    within(push.connected(names.len())).await.unwrap();
    push
}

/// Breaks the link to a puller, until its address is restored.
async fn lose(net: &Net, push: &Push, name: &str) {
    let mut events = push.events();
    net.take_down(name);
    while !matches!(within(events.recv()).await.unwrap(), Event::Disconnected { .. }) {}
}

#[tokio::test(start_paused = true)]
async fn st_3_a_finished_pusher_connects_only_where_a_puller_has_missed_the_end() {
    let net = Arc::<Net>::default();
    let (here, _away) = (puller(&net, "here").await, puller(&net, "away").await);
    let push = pusher(&net, &["here", "away"]).await;
    lose(&net, &push, "away").await;
    within(push.finish(LONG)).await.unwrap();
    assert!(within(here.recv()).await.unwrap().is_none());
    let before = net.tries("away");
    sleep(STAY / 2).await;
    assert_eq!(net.tries("here"), 1, "it has received the end");
    assert!(net.tries("away") > before, "it has not");
    sleep(STAY).await;
    let after = net.tries("away");
    sleep(STAY).await;
    assert_eq!((net.tries("here"), net.tries("away")), (1, after), "the pusher does not retry forever");
}

#[tokio::test(start_paused = true)]
async fn st_3_a_finished_pusher_connects_no_more_when_the_last_puller_has_received_the_end() {
    let net = Arc::<Net>::default();
    let (_here, away) = (puller(&net, "here").await, puller(&net, "away").await);
    let push = pusher(&net, &["here", "away"]).await;
    lose(&net, &push, "away").await;
    within(push.finish(LONG)).await.unwrap();
    net.bring_up("away");
    assert!(within(away.recv()).await.unwrap().is_none(), "it receives the end after all");
    let tries = net.tries("away");
    sleep(STAY).await;
    assert_eq!((net.tries("here"), net.tries("away")), (1, tries));
}

#[tokio::test(start_paused = true)]
async fn st_3_a_restarted_puller_ends_the_wait_for_the_one_before_it() {
    let net = Arc::<Net>::default();
    let before = puller(&net, "away").await;
    let push = pusher(&net, &["away"]).await;
    lose(&net, &push, "away").await;
    within(push.finish(LONG)).await.unwrap();
    drop(before);
    let after = puller(&net, "away").await;
    net.bring_up("away");
    assert!(within(after.recv()).await.unwrap().is_none());
    let tries = net.tries("away");
    sleep(STAY / 2).await;
    assert_eq!(net.tries("away"), tries);
}

#[tokio::test(start_paused = true)]
async fn st_3_an_endpoint_without_any_puller_so_far_is_not_tried_after_finish_has_waited() {
    let net = Arc::<Net>::default();
    let _away = puller(&net, "away").await;
    let push = Push::builder().transport("net", net.clone()).connect("net://away").connect("net://never");
    let push = push.build().await.unwrap();
    within(push.connected(1)).await.unwrap();
    lose(&net, &push, "away").await;
    within(push.finish(LONG)).await.unwrap();
    let tries = net.tries("never");
    assert!(tries > 1, "it was tried until then");
    sleep(STAY / 2).await;
    assert_eq!(net.tries("never"), tries);
}

/// A puller that connects to a pusher, and the pusher.
async fn bound_pusher(net: &Arc<Net>, name: &str) -> (Push, Pull) {
    let at = format!("net://{name}");
    let push = Push::builder().transport("net", net.clone()).bind(&at).build().await.unwrap();
    let pull = Pull::builder().transport("net", net.clone()).connect(&at).build().await.unwrap();
    within(push.connected(1)).await.unwrap();
    (push, pull)
}

#[tokio::test(start_paused = true)]
async fn st_3_finish_waits_for_a_puller_whose_connection_broke_and_is_still_being_shut_down() {
    let net = Arc::<Net>::default();
    let (push, pull) = bound_pusher(&net, "hangs").await;
    net.hang("hangs");
    net.take_down("hangs");
    while push.stats().links > 0 {
        tokio::task::yield_now().await;
    }
    let come_back = async {
        net.bring_up("hangs");
        within(pull.recv()).await
    };
    let (finished, received) = tokio::join!(within(push.finish(LONG)), come_back);
    finished.unwrap();
    assert!(received.unwrap().is_none(), "it receives the end");
}

#[tokio::test(start_paused = true)]
async fn st_3_finish_waits_for_a_puller_whose_connection_was_lost_with_the_end_in_it() {
    for connects in [false, true] {
        let net = Arc::<Net>::default();
        let (push, pull) = if connects {
            let pull = puller(&net, "loses").await;
            (pusher(&net, &["loses"]).await, pull)
        } else {
            bound_pusher(&net, "loses").await
        };
        net.swallow("loses");
        within(push.finish(LONG)).await.unwrap();
        drop(push); // `finish` has waited, and no task continues to
        assert!(within(pull.recv()).await.unwrap().is_none(), "it receives the end again: {connects}");
    }
}
