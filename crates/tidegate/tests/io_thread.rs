//! The library's own thread: it starts and ends with the sockets that use it, requires no runtime, and blocking calls
//! work on any thread. `computing.rs` tests its purpose.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // tests may panic

mod common;

use std::{
    fs,
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError, mpsc},
    task::{Context, Waker},
    thread,
    time::Duration,
};

use common::{LONG, assert_conserved, run, within_thread};
use tidegate::{
    CannotBlock, Delivery, Event, Pull, PullBuilder, Push, PushBuilder, PushStats, ReceiptError,
    RecvTimeoutError, SendError, TrySendError, Window,
    blocking::{self, BlockingError, BlockingSendError},
};

/// The thread belongs to the process, so a test that counts threads must run alone.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    wait_for_threads(0); // the thread of the test before
    guard
}

/// The number of threads of this process with that name.
fn threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let name = |task: std::io::Result<fs::DirEntry>| fs::read_to_string(task.ok()?.path().join("comm")).ok();
    tasks.filter_map(name).filter(|name| name.trim_end() == "tidegate-io").count()
}

fn wait_for_threads(count: usize) {
    while threads() != count {
        thread::yield_now();
    }
}

fn push() -> PushBuilder {
    Push::builder().retry_backoff(Duration::from_millis(5), Duration::from_millis(20))
}

fn pull() -> PullBuilder {
    Pull::builder().reconnect_backoff(Duration::from_millis(5), Duration::from_millis(50))
}

fn pair(window: Window) -> (blocking::Push, blocking::Pull) {
    let push = push().bind("tcp://127.0.0.1:0").blocking_build().unwrap();
    let at = push.local_endpoints()[0].to_string();
    let pull = pull().connect(at).window(window).blocking_build().unwrap();
    push.blocking_connected(1).unwrap();
    pull.blocking_connected(1).unwrap();
    (push, pull)
}

/// Sends and receives with every blocking call, one on this thread and the other on another thread.
fn exchange(send_here: bool) {
    let (push, pull) = pair(Window::default());
    let (sender, receiver) = (push.clone(), pull.clone());
    let stats = if send_here {
        let receiving = thread::spawn(move || receive_all(&receiver));
        let stats = send_all(&sender);
        receiving.join().unwrap();
        stats
    } else {
        let sending = thread::spawn(move || send_all(&sender));
        receive_all(&receiver);
        sending.join().unwrap()
    };
    assert_eq!((stats.accepted, stats.acked, stats.redelivered), (4_100, 4_100, 0));
    assert_conserved(&push, &pull);
}

fn send_all(push: &blocking::Push) -> PushStats {
    let kib = vec![7; 1_024]; // together more than a link's turn, and than its credit
    for _ in 0..1_000 {
        push.blocking_send(kib.clone()).unwrap();
    }
    for _ in 0..1_000 {
        push.blocking_send(&kib).unwrap();
    }
    assert_eq!(push.blocking_send_all((0..1_000).map(|_| kib.clone())).unwrap(), 1_000);
    for _ in 0..500 {
        push.blocking_send_timeout(kib.clone(), LONG).unwrap();
    }
    for _ in 0..500 {
        push.blocking_reserve().unwrap().send(kib.clone()).unwrap();
    }
    push.blocking_flush().unwrap();
    for _ in 0..100 {
        push.blocking_send_tracked(kib.clone()).unwrap().blocking_wait().unwrap();
    }
    push.blocking_finish(LONG).unwrap()
}

fn receive_all(pull: &blocking::Pull) {
    for _ in 0..1_000 {
        pull.blocking_recv().unwrap().unwrap().ack();
    }
    for _ in 0..1_000 {
        pull.blocking_recv_timeout(LONG).unwrap().unwrap().ack();
    }
    let (mut many, mut received) = (Vec::new(), 0);
    while received < 1_000 {
        received += pull.blocking_recv_many(&mut many, 1_000 - received).unwrap();
        Delivery::ack_all(many.drain(..));
    }
    for _ in 0..1_100 {
        pull.blocking_recv().unwrap().unwrap().ack();
    }
    assert!(pull.blocking_recv().unwrap().is_none());
    assert!(pull.blocking_recv_timeout(LONG).unwrap().is_none());
    assert_eq!(pull.blocking_recv_many(&mut many, 1).unwrap(), 0);
}

#[test]
fn a_program_without_a_runtime_sends_and_receives_in_every_form() {
    let _alone = alone();
    within_thread(|| exchange(true));
    wait_for_threads(0);
}

#[test]
fn blocking_calls_work_within_a_runtime_too_even_when_its_budget_is_spent() {
    let _alone = alone();
    let current = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let several = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    for runtime in [current, several] {
        within_thread(move || {
            runtime.block_on(async {
                let task = tokio::spawn(async {
                    // The task has used up its budget, so tokio's own types return only pending.
                    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
                    while tokio::task::coop::has_budget_remaining() {
                        sender.send(()).unwrap();
                        receiver.recv().await.unwrap();
                    }
                    exchange(true);
                    exchange(false);
                });
                task.await.unwrap();
            });
        });
    }
    wait_for_threads(0);
}

#[test]
fn the_async_forms_need_no_tokio_runtime_either() {
    let _alone = alone();
    within_thread(|| {
        run(async {
            let push = push().bind("tcp://127.0.0.1:0").io_thread(true).build().await.unwrap();
            let at = push.local_endpoints()[0].to_string();
            let pull = pull().connect(&at).io_thread(true).build().await.unwrap();
            for _ in 0..500 {
                push.send(vec![1; 1_024]).await.unwrap();
            }
            let receipt = push.send_tracked("tracked").await.unwrap();
            for _ in 0..501 {
                pull.recv().await.unwrap().unwrap().ack();
            }
            receipt.await.unwrap();
            push.flush().await;
            push.send("held").await.unwrap();
            let held = pull.recv().await.unwrap().unwrap();
            let error = pull.leave(Duration::from_millis(10)).await.unwrap_err();
            assert_eq!(error.held, 1);
            held.ack(); // too late
            let unfinished = push.finish(Duration::from_millis(10)).await.unwrap_err();
            assert_eq!(unfinished.leftover.unsent.len() + unfinished.leftover.unacked.len(), 1);
            assert_conserved(&push, &pull);
        });
    });
    wait_for_threads(0);
}

#[test]
fn many_sockets_share_one_thread_which_ends_with_the_last_and_starts_again() {
    let _alone = alone();
    within_thread(|| {
        for round in 0..3 {
            let pairs: Vec<_> = (0..20).map(|_| pair(Window::messages(3))).collect();
            wait_for_threads(1);
            for (push, pull) in &pairs {
                push.blocking_send("x").unwrap();
                pull.blocking_recv().unwrap().unwrap().ack();
                push.blocking_finish(LONG).unwrap();
                assert!(pull.blocking_recv().unwrap().is_none());
            }
            assert_eq!(threads(), 1, "round {round}: the sockets are still there");
            drop(pairs);
            wait_for_threads(0);
        }
    });
}

#[test]
fn what_outlives_a_socket_does_not_keep_the_thread() {
    let _alone = alone();
    within_thread(|| {
        let (push, pull) = pair(Window::default());
        let mut events = push.events();
        let receipt = push.blocking_send_tracked("x").unwrap();
        let held = pull.blocking_recv().unwrap().unwrap();
        drop(pull);
        assert_eq!(threads(), 1, "a delivery that is held keeps its link");
        held.ack();
        push.blocking_drain(LONG).unwrap();
        drop(push);
        wait_for_threads(0);
        receipt.blocking_wait().unwrap();
        while let Some(event) = events.blocking_recv().unwrap() {
            assert!(!matches!(event, Event::Lagged(_)));
        }
    });
}

#[test]
fn a_pusher_that_is_dropped_drains_in_the_background_and_then_the_thread_ends() {
    let _alone = alone();
    within_thread(|| {
        let push = push().bind("tcp://127.0.0.1:0").linger(LONG).blocking_build().unwrap();
        let at = push.local_endpoints()[0].to_string();
        for i in 0..100 {
            push.blocking_send(format!("{i}")).unwrap();
        }
        drop(push);
        let pull = pull().connect(&at).blocking_build().unwrap();
        for i in 0..100 {
            let delivery = pull.blocking_recv().unwrap().unwrap();
            assert_eq!(delivery.payload(), format!("{i}").as_bytes());
            delivery.ack();
        }
        pull.blocking_leave(LONG).unwrap();
        drop(pull);
        wait_for_threads(0);
    });
}

#[test]
fn a_dropped_pusher_stops_when_its_linger_time_is_over() {
    let _alone = alone();
    within_thread(|| {
        let push = push().bind("tcp://127.0.0.1:0").linger(Duration::from_millis(10)).blocking_build();
        push.as_ref().unwrap().blocking_send("no puller").unwrap();
        drop(push);
        wait_for_threads(0);
    });
}

#[test]
fn abort_returns_what_is_left_and_wakes_blocked_threads() {
    let _alone = alone();
    within_thread(|| {
        let push = push().bind("tcp://127.0.0.1:0").high_water_mark(1).blocking_build().unwrap();
        let receipt = push.blocking_send_tracked("first").unwrap();
        let blocked = {
            let push = push.clone();
            thread::spawn(move || push.blocking_send("second"))
        };
        while push.stats().blocked.is_zero() {
            thread::yield_now();
        }
        let leftover = push.blocking_abort().unwrap();
        assert_eq!(leftover.unsent.len(), 1);
        assert_eq!(receipt.blocking_wait(), Err(BlockingError::Failed(ReceiptError::NotSent)));
        let error = blocked.join().unwrap().unwrap_err();
        assert!(matches!(&error, BlockingSendError::Failed(SendError::Closed(_))), "{error}");
        assert_eq!(error.into_message().payload(), "second");
        drop(push);
        wait_for_threads(0);
    });
}

#[test]
fn a_time_limit_ends_a_wait_and_returns_the_message() {
    let _alone = alone();
    within_thread(|| {
        let (push, pull) = pair(Window::messages(1));
        let little = Duration::from_millis(5);
        let nothing = pull.blocking_recv_timeout(little).unwrap_err();
        assert_eq!(nothing, BlockingError::Failed(RecvTimeoutError::Timeout));
        let mut receipt = push.blocking_send_tracked("x").unwrap();
        assert_eq!(receipt.blocking_wait_timeout(little), None);
        pull.blocking_recv_timeout(LONG).unwrap().unwrap().reject("no");
        let rejected = receipt.blocking_wait_timeout(LONG).unwrap().unwrap_err();
        assert!(matches!(rejected, BlockingError::Failed(ReceiptError::Rejected { .. })), "{rejected}");
        assert_conserved(&push, &pull);
        pull.blocking_leave(LONG).unwrap();

        let full = self::push().bind("tcp://127.0.0.1:0").high_water_mark(1).blocking_build().unwrap();
        full.blocking_send_timeout("1", little).unwrap();
        let error = full.blocking_send_timeout("2", little).unwrap_err();
        assert!(matches!(&error, BlockingSendError::Failed(TrySendError::Full(_))), "{error}");
        assert_eq!(error.into_message().payload(), "2");
        let unfinished = full.blocking_finish(little).unwrap_err();
        let BlockingError::Failed(unfinished) = unfinished else { panic!("{unfinished}") };
        assert_eq!(unfinished.leftover.unsent.len(), 1);
        let error = full.blocking_send_timeout("3", little).unwrap_err();
        assert!(matches!(&error, BlockingSendError::Failed(TrySendError::Failed(_))), "{error}");
    });
    wait_for_threads(0);
}

#[test]
fn a_puller_that_still_holds_deliveries_returns_their_number_when_it_leaves() {
    let _alone = alone();
    within_thread(|| {
        let (push, pull) = pair(Window::default());
        push.blocking_send("x").unwrap();
        let held = pull.blocking_recv().unwrap().unwrap();
        let error = pull.blocking_leave(Duration::from_millis(5)).unwrap_err();
        let BlockingError::Failed(held_error) = error else { panic!("{error}") };
        assert_eq!(held_error.held, 1);
        assert!(held.is_orphaned());
        let leftover = push.blocking_abort().unwrap();
        assert_eq!(leftover.unsent.len() + leftover.unacked.len(), 1);
    });
    wait_for_threads(0);
}

#[test]
fn rejections_can_be_waited_for() {
    let _alone = alone();
    within_thread(|| {
        let (push, pull) = pair(Window::default());
        let mut rejections = push.rejections();
        push.blocking_send("x").unwrap();
        pull.blocking_recv().unwrap().unwrap().reject("why not");
        assert_eq!(rejections.blocking_recv().unwrap().unwrap().reason, "why not");
        push.blocking_finish(LONG).unwrap();
        assert!(rejections.blocking_recv().unwrap().is_none());
    });
    wait_for_threads(0);
}

#[test]
fn a_call_on_the_thread_itself_is_refused() {
    /// Calls from the drop of a payload's owner, which may run on the thread of the links.
    struct Owner(blocking::Push, mpsc::Sender<Result<(), CannotBlock>>);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            &[1; 100_000] // too large to be copied
        }
    }
    impl Drop for Owner {
        fn drop(&mut self) {
            let _ = self.1.send(self.0.blocking_flush());
        }
    }
    let _alone = alone();
    within_thread(|| {
        let (push, pull) = pair(Window::default());
        let (sender, dropped) = mpsc::channel();
        push.blocking_send(bytes::Bytes::from_owner(Owner(push.clone(), sender))).unwrap();
        pull.blocking_recv().unwrap().unwrap().ack();
        assert_eq!(dropped.recv().unwrap(), Err(CannotBlock::OnIoThread));
        push.blocking_finish(LONG).unwrap();
    });
    wait_for_threads(0);
}

#[test]
fn sockets_that_share_an_address_must_agree_about_the_thread() {
    let _alone = alone();
    within_thread(|| {
        let own = push().bind("tcp://127.0.0.1:0/own").blocking_build().unwrap();
        let at = own.local_endpoints()[0].to_string();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let other = push().bind(at.replace("/own", "/other"));
        let error = runtime.block_on(other.build()).unwrap_err().to_string();
        assert!(error.contains("io_thread(true) on both or on neither"), "{error}");
        // Two sockets with the same setting share the address, and the second remains when the first stops.
        let second = push().bind(at.replace("/own", "/second")).blocking_build().unwrap();
        own.blocking_finish(LONG).unwrap();
        drop(own);
        let pull = pull().connect(at.replace("/own", "/second")).blocking_build().unwrap();
        second.blocking_send("still here").unwrap();
        pull.blocking_recv().unwrap().unwrap().ack();
        second.blocking_finish(LONG).unwrap();
    });
    wait_for_threads(0);
}

#[test]
fn a_build_that_fails_or_is_cancelled_leaves_nothing_behind() {
    let _alone = alone();
    within_thread(|| {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = format!("tcp://{}", taken.local_addr().unwrap());
        let both = push().bind("mem://half").bind(&at).blocking_build();
        assert!(both.unwrap_err().to_string().contains("cannot bind"));
        wait_for_threads(0);
        {
            let mut build = pin!(push().bind("mem://half").io_thread(true).build());
            let _ = build.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }
        wait_for_threads(0);
        // The name is free again.
        let push = push().bind("mem://half").blocking_build().unwrap();
        push.blocking_finish(LONG).unwrap();
    });
    wait_for_threads(0);
}
