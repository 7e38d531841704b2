//! Senders that wait for room are served in order and in equal shares, within the limits of the pusher.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

mod common;

use std::{future::poll_fn, pin::pin, thread, time::Duration};

use common::{LONG, starts_to_wait, until, within};
use tidegate::{Delivery, Permit, Pull, Push, TryReserveError, TrySendError, Window};

/// Whether the queue is full and all senders wait. Only then does the order in which room is given out depend on the
/// pusher alone, and not on when the system runs the senders.
fn all_wait(push: &Push, mark: u64, senders: u64) -> bool {
    let stats = push.stats();
    stats.queued >= mark && stats.waiting_sends == senders
}

/// A pusher, and a puller with a link to it.
async fn pair(name: &str, mark: usize, window: Window) -> (Push, Pull) {
    let at = format!("mem://fairness-{name}");
    let push = Push::builder().bind(&at).high_water_mark(mark).build().await.unwrap();
    let pull = Pull::builder().connect(&at).window(window).build().await.unwrap();
    within(push.connected(1)).await.unwrap();
    (push, pull)
}

fn number(delivery: &Delivery) -> u64 {
    u64::from_be_bytes(delivery.payload().try_into().unwrap())
}

fn is_fair(shares: &[u64]) -> bool {
    let mean = shares.iter().sum::<u64>() / shares.len() as u64;
    shares.iter().all(|share| share * 10 >= mean * 8 && share * 10 <= mean * 12)
}

fn assert_fair(what: &str, shares: &[u64]) {
    assert!(is_fair(shares), "{what}: {shares:?}");
}

/// How often the shares of senders on several threads are measured. While the system does not run a thread, that thread
/// does not ask for room, and the others get it. So one unfair measurement on a busy machine proves nothing.
const MEASUREMENTS: usize = 5;

/// The calls with which a task sends in an endless loop.
#[derive(Clone, Copy, Debug)]
enum Form {
    Send,
    Slice,
    Tracked,
    Reserve,
    Timeout,
    All,
    Sink,
}

async fn send_for_ever(push: Push, form: Form, payload: [u8; 8]) {
    use futures_sink::Sink;
    let bytes = payload.to_vec();
    match form {
        Form::Send => while push.send(bytes.clone()).await.is_ok() {},
        Form::Slice => while push.send(&payload).await.is_ok() {},
        Form::Tracked => while push.send_tracked(bytes.clone()).await.is_ok() {},
        Form::Reserve => {
            while let Ok(permit) = push.reserve().await {
                permit.send(bytes.clone()).unwrap();
            }
        }
        Form::Timeout => while push.send_timeout(bytes.clone(), LONG).await.is_ok() {},
        Form::All => drop(push.send_all(std::iter::repeat(bytes)).await),
        Form::Sink => {
            let mut sink = pin!(push.sink(LONG));
            while poll_fn(|cx| sink.as_mut().poll_ready(cx)).await.is_ok() {
                sink.as_mut().start_send(bytes.clone().into()).unwrap();
            }
        }
    }
}

/// Receives `rounds` messages for each sender, in batches of up to `batch`, and returns how many came from each.
async fn shares(push: &Push, pull: &Pull, mark: u64, senders: u64, rounds: u64, batch: usize) -> Vec<u64> {
    let mut shares = vec![0; senders as usize];
    let mut many = Vec::new();
    for _ in 0..2 {
        // First the messages that were sent before all senders waited.
        shares.fill(0);
        while shares.iter().sum::<u64>() < rounds * senders {
            until(|| all_wait(push, mark, senders)).await;
            within(pull.recv_many(&mut many, batch)).await.unwrap();
            many.iter().for_each(|delivery| shares[number(delivery) as usize] += 1);
            Delivery::ack_all(many.drain(..));
            tokio::task::yield_now().await;
        }
    }
    within(push.abort()).await;
    shares
}

#[tokio::test]
async fn tasks_on_one_thread_get_equal_shares_whatever_they_send_with() {
    for form in [Form::Send, Form::Slice, Form::Tracked, Form::Reserve, Form::Timeout, Form::All, Form::Sink]
    {
        for (mark, window, batch) in [(10, 4, 1), (0, 1, 1), (1, 3, 2), (100, 50, 50)] {
            let what = format!("{form:?}-{mark}-{window}-{batch}");
            let (push, pull) = pair(&what, mark, Window::messages(window)).await;
            let tasks: Vec<_> = (0..4_u64)
                .map(|n| tokio::spawn(send_for_ever(push.clone(), form, n.to_be_bytes())))
                .collect();
            let shares = shares(&push, &pull, mark as u64, 4, 200, batch).await;
            for task in tasks {
                within(task).await.unwrap();
            }
            assert_fair(&what, &shares);
        }
    }
}

#[tokio::test]
async fn tasks_that_send_in_different_ways_get_equal_shares() {
    let (push, pull) = pair("mixed", 10, Window::messages(4)).await;
    let forms = [Form::Send, Form::Slice, Form::Reserve, Form::All, Form::Sink];
    for (n, form) in forms.into_iter().enumerate() {
        tokio::spawn(send_for_ever(push.clone(), form, (n as u64).to_be_bytes()));
    }
    assert_fair("mixed", &shares(&push, &pull, 10, 5, 500, 1).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tasks_on_several_threads_get_equal_shares() {
    for (mark, window, batch) in [(10, 4, 1), (100, 50, 50)] {
        let mut measured = Vec::new();
        while !measured.last().is_some_and(|shares: &Vec<u64>| is_fair(shares)) {
            assert!(measured.len() < MEASUREMENTS, "{mark}: {measured:?}");
            let what = format!("threads-{mark}-{}", measured.len());
            let (push, pull) = pair(&what, mark, Window::messages(window)).await;
            for n in 0..4_u64 {
                tokio::spawn(send_for_ever(push.clone(), Form::Send, n.to_be_bytes()));
            }
            measured.push(shares(&push, &pull, mark as u64, 4, 1_000, batch).await);
        }
    }
}

/// The number of messages of each of four blocking senders.
fn blocking_shares(name: &str, mark: usize, window: u64) -> Vec<u64> {
    let at = format!("mem://fairness-{name}");
    let push = Push::builder().bind(&at).high_water_mark(mark).blocking_build().unwrap();
    let pull = Pull::builder().connect(&at).window(Window::messages(window)).blocking_build().unwrap();
    let threads: Vec<_> = (0..4_u64)
        .map(|n| {
            let push = push.clone();
            let payload = n.to_be_bytes().to_vec();
            thread::spawn(move || match n {
                0 => drop(push.blocking_send_all(std::iter::repeat(payload))),
                1 => while push.blocking_reserve().is_ok_and(|room| room.send(payload.clone()).is_ok()) {},
                _ => while push.blocking_send(payload.clone()).is_ok() {},
            })
        })
        .collect();
    let mut shares = vec![0; 4];
    for _ in 0..2 {
        // First the messages that were sent before all senders waited.
        shares.fill(0);
        for _ in 0..4_000 {
            while !all_wait(&push, mark as u64, 4) {
                thread::yield_now();
            }
            let delivery = pull.blocking_recv_timeout(LONG).unwrap().unwrap();
            shares[number(&delivery) as usize] += 1;
            delivery.ack();
        }
    }
    push.blocking_abort().unwrap();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    shares
}

#[test]
fn blocking_senders_get_equal_shares() {
    for (mark, window) in [(10, 4), (100, 50)] {
        let mut measured = Vec::new();
        while !measured.last().is_some_and(|shares: &Vec<u64>| is_fair(shares)) {
            assert!(measured.len() < MEASUREMENTS, "{mark}: {measured:?}");
            measured.push(blocking_shares(&format!("blocking-{mark}-{}", measured.len()), mark, window));
        }
    }
}

#[tokio::test]
async fn senders_are_served_in_the_order_in_which_they_began_to_wait() {
    let (push, pull) = pair("order", 1, Window::messages(1)).await;
    push.send(0_u64.to_be_bytes().to_vec()).await.unwrap();
    until(|| push.stats().in_flight == 1).await;
    push.send(1_u64.to_be_bytes().to_vec()).await.unwrap();
    let mut tasks = Vec::new();
    for n in 2..20_u64 {
        let (push, payload) = (push.clone(), n.to_be_bytes().to_vec());
        tasks.push(tokio::spawn(async move {
            match n % 4 {
                0 => push.send(payload).await.unwrap(),
                1 => push.send(&payload).await.unwrap(),
                2 => push.reserve().await.unwrap().send(payload).unwrap(),
                _ => _ = push.send_all([payload]).await.unwrap(),
            }
        }));
        tokio::task::yield_now().await; // now it waits
    }
    for n in 0..20 {
        let delivery = within(pull.recv()).await.unwrap().unwrap();
        assert_eq!(number(&delivery), n);
        delivery.ack();
    }
    for task in tasks {
        within(task).await.unwrap();
    }
}

#[tokio::test]
async fn a_permit_that_is_held_keeps_no_send_waiting_for_which_a_link_has_credit() {
    for mark in [0, 1, 2] {
        let (push, pull) = pair(&format!("held-{mark}"), mark, Window::messages(100)).await;
        // Credit has arrived.
        within(push.send("0")).await.unwrap();
        until(|| push.link_stats()[0].credit_messages > 50).await;
        let held: Vec<Permit> = vec![within(push.reserve()).await.unwrap(), push.try_reserve().unwrap()];
        for n in 0..10 {
            match n % 4 {
                0 => within(push.send("x")).await.unwrap(),
                1 => push.try_send("x").unwrap(),
                2 => within(push.send(b"x")).await.unwrap(),
                _ => _ = within(push.send_all(["x"])).await.unwrap(),
            }
        }
        for permit in held {
            permit.send("permitted").unwrap();
        }
        for _ in 0..13 {
            within(pull.recv()).await.unwrap().unwrap().ack();
        }
        within(push.finish(LONG)).await.unwrap();
    }
}

#[tokio::test]
async fn many_waiting_senders_do_not_exceed_the_byte_limits_when_they_are_served() {
    for form in [Form::Send, Form::Slice, Form::Tracked, Form::Reserve, Form::Timeout, Form::All, Form::Sink]
    {
        let at = format!("mem://fairness-bytes-{form:?}");
        let push = Push::builder().bind(&at).max_held(1_000, 64).max_message(16).build().await.unwrap();
        let pull = Pull::builder().connect(&at).build().await.unwrap();
        for n in 0..20_u64 {
            tokio::spawn(send_for_ever(push.clone(), form, n.to_be_bytes()));
        }
        for _ in 0..200 {
            let delivery = within(pull.recv()).await.unwrap().unwrap();
            let held = push.stats().held_bytes;
            assert!(held < 64 + 8, "{form:?}: {held}");
            delivery.ack();
        }
        within(push.abort()).await;
    }
}

#[tokio::test]
async fn permits_at_a_rendezvous_are_no_more_than_the_credit_of_the_links() {
    let (push, pull) = pair("credit", 0, Window::messages(3)).await;
    until(|| push.link_stats()[0].credit_messages == 3).await;
    let mut permits: Vec<_> = (0..3).map(|_| push.try_reserve().unwrap()).collect();
    assert!(matches!(push.try_reserve(), Err(TryReserveError::Full)));
    assert!(matches!(push.try_send("no"), Err(TrySendError::Full(_))));
    permits.pop();
    push.try_send("x").unwrap();
    assert!(matches!(push.try_send("no"), Err(TrySendError::Full(_))));
    permits.into_iter().for_each(|permit| permit.send("x").unwrap());
    for _ in 0..3 {
        within(pull.recv()).await.unwrap().unwrap().ack();
    }
    within(push.finish(LONG)).await.unwrap();
}

/// Whether the counter `blocked` grows.
async fn is_blocked(push: &Push) -> bool {
    let before = push.stats().blocked;
    tokio::time::sleep(Duration::from_millis(50)).await;
    push.stats().blocked > before
}

#[tokio::test(start_paused = true)]
async fn the_time_blocked_grows_for_every_way_to_send_while_there_is_no_room_and_only_then() {
    for form in [Form::Send, Form::Slice, Form::Tracked, Form::Reserve, Form::Timeout, Form::All, Form::Sink]
    {
        let (push, pull) = pair(&format!("blocked-{form:?}"), 2, Window::messages(1)).await;
        assert!(!is_blocked(&push).await, "{form:?}");
        let task = tokio::spawn(send_for_ever(push.clone(), form, [0; 8]));
        until(|| push.stats().queued == 2).await;
        assert!(is_blocked(&push).await, "{form:?}");
        task.abort();
        within(task).await.unwrap_err();
        assert!(!is_blocked(&push).await, "{form:?}: no sender waits");
        drop(pull);
    }
    // Calls that do not wait.
    let (push, pull) = pair("blocked-tried", 2, Window::messages(1)).await;
    until(|| push.try_send("x").is_err()).await;
    assert!(is_blocked(&push).await);
    within(pull.recv()).await.unwrap().unwrap().ack();
    until(|| push.stats().queued < 2).await;
    assert!(!is_blocked(&push).await, "there is room");
}

#[tokio::test(start_paused = true)]
async fn a_parked_future_does_not_count_as_blocked_while_there_is_room() {
    let (push, pull) = pair("blocked-parked", 1, Window::messages(1)).await;
    until(|| push.try_send("x").is_err()).await;
    let mut parked = pin!(push.send("parked"));
    starts_to_wait(&mut parked).await;
    assert!(is_blocked(&push).await);
    within(pull.recv()).await.unwrap().unwrap().ack();
    until(|| push.stats().acked == 1).await;
    assert!(!is_blocked(&push).await);
}

#[test]
fn the_time_blocked_grows_for_blocking_senders() {
    let push = Push::builder().bind("mem://fairness-blocked").high_water_mark(1).blocking_build().unwrap();
    push.blocking_send("x").unwrap();
    push.blocking_send_timeout("x", Duration::from_millis(2)).unwrap_err();
    let first = push.stats().blocked;
    assert!(first >= Duration::from_millis(2), "{first:?}");
    push.blocking_send_tracked_timeout("x", Duration::from_millis(2)).unwrap_err();
    push.blocking_reserve_timeout(Duration::from_millis(2)).unwrap_err();
    assert!(push.stats().blocked >= first + Duration::from_millis(4));
    push.blocking_abort().unwrap();
}
