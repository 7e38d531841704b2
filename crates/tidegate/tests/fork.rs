//! Sockets in the child of a fork, which has the memory of its parent but none of its threads.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // tests may panic

mod common;

use std::{process::exit, thread, time::Duration};

use common::run;
use fork::{Fork, fork};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tidegate::{
    CannotBlock, Pull, Push, RecvError, SendError,
    blocking::{BlockingError, BlockingSendError},
};

/// Runs `work` in a child process, and fails if the child hangs or fails.
fn in_child(what: &str, work: impl FnOnce()) {
    match fork().unwrap() {
        Fork::Child => {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            exit(i32::from(result.is_err()));
        }
        Fork::Parent(child) => {
            let child = Pid::from_raw(child).unwrap();
            let (sender, ended) = std::sync::mpsc::channel();
            let waiter = thread::spawn(move || sender.send(waitpid(Some(child), WaitOptions::empty())));
            let Ok(status) = ended.recv_timeout(3 * common::LONG) else {
                kill_process(child, Signal::KILL).unwrap();
                panic!("{what}: the child hangs");
            };
            waiter.join().unwrap().unwrap();
            let (_, status) = status.unwrap().unwrap();
            assert_eq!(status.exit_status(), Some(0), "{what}");
        }
    }
}

/// One test, so that no other thread of the process holds a lock at the fork.
#[test]
fn a_child_has_its_own_thread_and_listeners_and_gets_errors_from_the_sockets_of_its_parent() {
    let push = Push::builder()
        .bind("tcp://127.0.0.1:0")
        .bind("mem://forked")
        .high_water_mark(1)
        .blocking_build()
        .unwrap();
    let at = push.local_endpoints()[0].to_string();
    let pull = Pull::builder().connect(&at).blocking_build().unwrap();
    push.blocking_connected(1).unwrap();
    pull.blocking_connected(1).unwrap();
    let receipt = push.blocking_send_tracked("before").unwrap();
    let delivery = pull.blocking_recv().unwrap().unwrap();
    let mut events = push.events();
    let mut receipt = Some(receipt);

    in_child("sockets of its own", || {
        // The same name as in the parent: each process has its own names.
        let push = Push::builder().bind("tcp://127.0.0.1:0").bind("mem://forked").blocking_build().unwrap();
        let pull = Pull::builder().connect("mem://forked").blocking_build().unwrap();
        push.blocking_send("of the child").unwrap();
        let delivery = pull.blocking_recv().unwrap().unwrap();
        assert_eq!(delivery.payload(), b"of the child");
        delivery.ack();
        push.blocking_finish(Duration::from_secs(20)).unwrap();
        assert!(pull.blocking_recv().unwrap().is_none());
        // The port belongs to the parent.
        assert!(Push::builder().bind(&at).blocking_build().is_err());
    });
    in_child("blocking calls on sockets of the parent", || {
        let other = CannotBlock::OtherProcess;
        assert_eq!(pull.blocking_recv().unwrap_err(), BlockingError::CannotBlock(other));
        let error = pull.blocking_recv_timeout(Duration::MAX).unwrap_err();
        assert_eq!(error, BlockingError::CannotBlock(other));
        assert_eq!(pull.blocking_connected(9).unwrap_err(), BlockingError::CannotBlock(other));
        assert_eq!(events.blocking_recv(), Err(other));
        assert_eq!(receipt.take().unwrap().blocking_wait(), Err(BlockingError::CannotBlock(other)));
        assert_eq!(push.blocking_flush(), Err(other));
        assert!(matches!(push.blocking_reserve(), Err(BlockingError::CannotBlock(_))));
        let error = push.blocking_reserve_timeout(Duration::MAX).unwrap_err();
        assert!(matches!(error, BlockingError::CannotBlock(_)), "{error}");
        assert!(matches!(push.blocking_drain(Duration::MAX), Err(BlockingError::CannotBlock(_))));
        assert_eq!(push.blocking_abort().unwrap_err(), other);
        assert_eq!(push.rejections().blocking_recv(), Err(other));
        assert!(matches!(push.blocking_finish(Duration::MAX), Err(BlockingError::CannotBlock(_))));
        assert!(matches!(pull.blocking_leave(Duration::MAX), Err(BlockingError::CannotBlock(_))));
        let error = push.blocking_send(vec![0; 100_000]).unwrap_err();
        assert!(matches!(error, BlockingSendError::CannotBlock { .. }), "{error}");
        assert_eq!(error.into_message().size(), 100_000);
        let full = loop {
            match push.blocking_send("x") {
                Ok(()) => {} // until its queue is full
                Err(error) => break error,
            }
        };
        assert!(matches!(full, BlockingSendError::CannotBlock { .. }), "{full}");
        assert_eq!(full.into_message().payload(), "x");
        let error = push.blocking_send_all(["x", "y"]).unwrap_err();
        assert!(matches!(error, BlockingSendError::CannotBlock { .. }), "{error}");
    });
    in_child("async calls on sockets of the parent", || {
        run(async {
            let (push, pull) = (push.clone().into_async(), pull.clone().into_async());
            assert_eq!(pull.recv().await.unwrap_err(), RecvError::RuntimeGone);
            loop {
                match push.send("x").await {
                    Ok(()) => {}
                    Err(error) => break assert!(matches!(error, SendError::Closed(_))),
                }
            }
            assert!(push.finish(Duration::MAX).await.unwrap_err().runtime_gone);
        });
    });
    in_child("drops of handles of the parent", || drop((push.clone(), pull.clone())));

    // None of that has affected the sockets of the parent.
    delivery.ack();
    receipt.take().unwrap().blocking_wait().unwrap();
    push.blocking_send("after").unwrap();
    let delivery = pull.blocking_recv().unwrap().unwrap();
    assert_eq!((delivery.payload(), delivery.attempt()), (&b"after"[..], 1));
    delivery.ack();
    push.blocking_finish(Duration::from_secs(20)).unwrap();
    assert!(pull.blocking_recv().unwrap().is_none());
}
