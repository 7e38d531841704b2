//! Sockets that were built on a tokio runtime and are used on another executor.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // tests may panic

mod common;

use std::time::Duration;

use common::elsewhere;
use tidegate::{Event, Pull, Push};
use tokio::runtime::{Builder, Runtime};

const SHORT: Duration = Duration::from_millis(50);

fn pair(runtime: &Runtime, address: &str) -> (Push, Pull) {
    runtime.block_on(async {
        let push = Push::builder().bind(address).build().await.unwrap();
        let pull = Pull::builder().connect(push.local_endpoints()[0].to_string()).build().await.unwrap();
        (push, pull)
    })
}

#[test]
fn everything_with_a_timer_works_on_another_executor() {
    let runtime = Runtime::new().unwrap();
    for address in ["mem://elsewhere", "tcp://127.0.0.1:0"] {
        let (push, pull) = pair(&runtime, address);
        elsewhere(async move {
            push.connected(1).await.unwrap();
            pull.connected(1).await.unwrap();
            let mut events = pull.events();
            push.send("a").await.unwrap();
            let receipt = push.send_tracked("b").await.unwrap();
            pull.recv().await.unwrap().unwrap().ack();
            pull.recv().await.unwrap().unwrap().ack();
            receipt.await.unwrap();
            push.flush().await;
            push.finish(Duration::from_secs(20)).await.unwrap();
            assert!(pull.recv().await.unwrap().is_none());
            while !matches!(events.recv().await.unwrap(), Event::Disconnected { .. }) {}
            pull.leave(Duration::from_secs(20)).await.unwrap();
        });
    }
}

#[test]
fn a_time_limit_ends_a_wait_on_another_executor() {
    let runtime = Runtime::new().unwrap();
    let (push, pull) = pair(&runtime, "mem://over-elsewhere");
    let (other, _other_pull) = pair(&runtime, "mem://over-elsewhere-too");
    elsewhere(async move {
        push.send("x").await.unwrap();
        let delivery = pull.recv().await.unwrap().unwrap();
        assert_eq!(pull.leave(SHORT).await.unwrap_err().held, 1);
        delivery.ack();
        assert!(push.drain(SHORT).await.is_err());
        other.send("x").await.unwrap();
        assert_eq!(other.finish(SHORT).await.unwrap_err().leftover.unacked.len(), 1);
    });
}

/// The wait blocks the thread of the runtime, so the links make no progress.
#[test]
fn a_time_limit_ends_although_the_runtime_of_the_links_is_not_polled() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (push, pull) = pair(&runtime, "mem://still");
    runtime.block_on(async {
        push.connected(1).await.unwrap();
        pull.connected(1).await.unwrap();
    });
    elsewhere(async move {
        push.send("x").await.unwrap();
        assert!(push.finish(SHORT).await.is_err());
        pull.leave(SHORT).await.unwrap_err();
    });
    drop(runtime);
}

#[test]
fn a_finish_with_nothing_held_ends_although_the_links_cannot_end() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (push, pull) = pair(&runtime, "mem://still-and-empty");
    runtime.block_on(push.connected(1)).unwrap();
    elsewhere(async move {
        push.finish(SHORT).await.unwrap();
        drop(pull);
    });
    drop(runtime);
}
