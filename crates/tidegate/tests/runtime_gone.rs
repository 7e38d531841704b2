//! The runtime on which a socket was built is shut down: every call that waits for the socket returns, also one that
//! begins later.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // tests may panic

mod common;

use std::{thread, time::Duration};

use common::{elsewhere, run, within_thread};
use tidegate::{
    ConnectedError, Event, Pull, Push, ReceiptError, RecvError, Rejections, ReserveError, SendError, Window,
};
use tokio::runtime::{Builder, Runtime};

/// A name, a runtime, and a function that shuts it down.
type Case = (&'static str, Runtime, fn(Runtime));

/// A runtime for each of the ways in which one can be shut down.
fn runtimes() -> Vec<Case> {
    let threads = || Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let current = || Builder::new_current_thread().enable_all().build().unwrap();
    vec![
        ("dropped, with threads", threads(), drop),
        ("dropped, of one thread", current(), drop),
        ("in the background, with threads", threads(), Runtime::shutdown_background),
        ("in the background, of one thread", current(), Runtime::shutdown_background),
        ("with a time limit", threads(), |runtime| runtime.shutdown_timeout(Duration::from_secs(1))),
    ]
}

/// A pusher and a puller with one message un-acked, one that waits for credit, and no room for another one.
fn pair(runtime: &Runtime, address: &str) -> (Push, Pull, tidegate::Delivery) {
    runtime.block_on(async {
        let push = Push::builder().bind(address).high_water_mark(1).build().await.unwrap();
        let at = push.local_endpoints()[0].to_string();
        let pull = Pull::builder().connect(at).window(Window::messages(1)).build().await.unwrap();
        push.connected(1).await.unwrap();
        push.send("un-acked").await.unwrap();
        let delivery = pull.recv().await.unwrap().unwrap();
        while push.try_send("queued").is_ok() {}
        (push, pull, delivery)
    })
}

#[test]
fn calls_that_begin_after_the_runtime_is_gone_return() {
    for address in ["mem://gone-before", "tcp://127.0.0.1:0"] {
        for (how, runtime, shut_down) in runtimes() {
            let (push, pull, delivery) = pair(&runtime, address);
            let mut events = push.events();
            let mut rejections = push.rejections();
            let mut told = push.events();
            shut_down(runtime);
            elsewhere(async move {
                while told.recv().await.is_some() {} // its tasks may be dropped a little later
                delivery.orphaned().await;
                for _ in 0..3 {
                    assert_eq!(pull.recv().await.unwrap_err(), RecvError::RuntimeGone, "{how}: each time");
                    assert_eq!(pull.recv_many(&mut Vec::new(), 5).await.unwrap_err(), RecvError::RuntimeGone);
                }
                assert_eq!(pull.try_recv().unwrap_err(), RecvError::RuntimeGone);
                delivery.orphaned().await;
                delivery.ack();
                assert!(matches!(push.send("x").await, Err(SendError::Closed(_))), "{how}");
                assert!(matches!(push.try_send("x"), Err(error) if error.to_string().contains("no new")));
                assert!(matches!(push.send(b"x").await, Err(SendError::Closed(_))));
                assert!(push.send_all(["x"]).await.is_err());
                assert!(push.send_tracked("x").await.is_err());
                assert!(matches!(push.reserve().await, Err(ReserveError::Closed)));
                assert_eq!(push.connected(1).await, Err(ConnectedError::Closed));
                assert_eq!(pull.connected(1).await, Err(ConnectedError::Closed));
                push.flush().await;
                while events.recv().await.is_some() {}
                assert_eq!(push.events().recv().await, None);
                assert_eq!(rejections.recv().await, None);
                let unfinished = push.finish(Duration::MAX).await.unwrap_err();
                assert!(unfinished.runtime_gone && !unfinished.aborted, "{how}");
                assert!(unfinished.to_string().contains("shut down"), "{unfinished}");
                assert_eq!(unfinished.leftover.unacked.len(), 1, "{how}: it was handed out");
                assert!(!unfinished.leftover.unsent.is_empty(), "{how}");
                pull.leave(Duration::MAX).await.unwrap();
            });
        }
    }
}

#[test]
fn calls_that_wait_when_the_runtime_ends_return() {
    for (how, runtime, shut_down) in runtimes() {
        let (push, pull, delivery) = pair(&runtime, "mem://gone-while");
        let idle = runtime.block_on(Push::builder().connect("mem://nobody").build()).unwrap();
        let receipt = runtime.block_on(idle.send_tracked("x")).unwrap();
        let idle_pull = runtime.block_on(Pull::builder().connect("mem://nobody").build()).unwrap();
        let (events, rejections) = (push.events(), push.rejections());
        let waits: Vec<thread::JoinHandle<()>> = vec![
            spawn(&push, |push| assert!(matches!(run(push.send("x")), Err(SendError::Closed(_))))),
            spawn(&push, |push| assert!(matches!(run(push.reserve()), Err(ReserveError::Closed)))),
            spawn(&idle, |idle| assert!(run(idle.connected(1)).is_err())),
            spawn(&receipt_of(receipt), |receipt| {
                assert_eq!(run(receipt.lock().unwrap().take().unwrap()), Err(ReceiptError::Unknown));
            }),
            spawn(&idle_pull, |pull| assert_eq!(run(pull.recv()).unwrap_err(), RecvError::RuntimeGone)),
            spawn(&pull, |pull| assert!(run(pull.connected(2)).is_err())),
            thread::spawn(move || run(delivery.orphaned())),
            thread::spawn(move || {
                let (mut events, mut rejections): (_, Rejections) = (events, rejections);
                run(async {
                    while let Some(event) = events.recv().await {
                        assert!(!matches!(event, Event::Lagged(_)));
                    }
                    assert_eq!(rejections.recv().await, None);
                });
            }),
        ];
        let draining = idle.clone();
        let drain = thread::spawn(move || run(draining.drain(Duration::MAX)).unwrap_err());
        shut_down(runtime);
        let waits: Vec<_> = within_thread(move || waits.into_iter().map(thread::JoinHandle::join).collect());
        assert!(waits.iter().all(Result::is_ok), "{how}: {waits:?}");
        let unfinished = within_thread(move || drain.join().unwrap());
        assert!(unfinished.runtime_gone && unfinished.leftover.unsent.len() == 1, "{how}: {unfinished}");
    }
}

type Shared<T> = std::sync::Arc<std::sync::Mutex<Option<T>>>;

fn receipt_of<T>(receipt: T) -> Shared<T> {
    std::sync::Arc::new(std::sync::Mutex::new(Some(receipt)))
}

fn spawn<T: Clone + Send + 'static>(
    socket: &T,
    wait: impl FnOnce(T) + Send + 'static,
) -> thread::JoinHandle<()> {
    let socket = socket.clone();
    thread::spawn(move || wait(socket))
}

#[test]
fn an_address_of_a_runtime_that_is_gone_can_be_bound_again() {
    let address = "mem://gone-and-bound-again";
    let (_push, _pull, _delivery) = {
        let runtime = Runtime::new().unwrap();
        pair(&runtime, address)
    };
    Runtime::new().unwrap().block_on(async {
        let push = Push::builder().bind(address).build().await.unwrap();
        let pull = Pull::builder().connect(address).build().await.unwrap();
        push.send("x").await.unwrap();
        pull.recv().await.unwrap().unwrap().ack();
        push.finish(Duration::from_secs(20)).await.unwrap();
    });
}

#[test]
fn a_pusher_that_had_finished_before_stays_finished_and_a_puller_at_its_end_stays_there() {
    let runtime = Runtime::new().unwrap();
    let (push, pull) = runtime.block_on(async {
        let push = Push::builder().bind("mem://gone-after-the-end").build().await.unwrap();
        let pull = Pull::builder().connect("mem://gone-after-the-end").build().await.unwrap();
        push.connected(1).await.unwrap();
        push.finish(Duration::from_secs(20)).await.unwrap();
        assert!(pull.recv().await.unwrap().is_none());
        (push, pull)
    });
    drop(runtime);
    elsewhere(async move {
        push.finish(Duration::MAX).await.unwrap();
        assert!(pull.recv().await.unwrap().is_none());
    });
}

#[test]
fn a_handle_whose_last_clone_is_dropped_after_the_runtime_is_gone_waits_for_nothing() {
    let runtime = Runtime::new().unwrap();
    let held = pair(&runtime, "mem://gone-and-dropped");
    drop(runtime);
    within_thread(move || drop(held));
}
