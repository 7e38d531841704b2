//! `send_all`: takes from an iterator only the messages that it sends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

mod common;

use std::{future::poll_fn, pin::pin, sync::mpsc, task::Poll, thread, time::Duration};

use common::{LONG, begin, run, within};
use tidegate::{Pull, Push, SendError, Window, blocking::BlockingSendError};

/// An iterator of unknown length.
fn endless_hint<T>(all: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
    all.filter(|_| true)
}

#[tokio::test]
async fn what_follows_a_message_that_is_refused_stays_in_the_iterator() {
    let push = Push::builder().bind("mem://many-refused").max_message(10).build().await.unwrap();
    for at in [0, 2, 63, 64, 65, 150, 199] {
        let before = push.stats().accepted;
        let mut messages = (0..200).map(|n| vec![b'x'; if n == at { 11 } else { 3 }]);
        let error = within(push.send_all(&mut messages)).await.unwrap_err();
        assert!(matches!(&error, SendError::Invalid { .. }), "{error}");
        assert_eq!(error.into_message().payload().len(), 11);
        assert_eq!((push.stats().accepted - before, messages.count()), (at, 199 - at as usize));
    }
    assert_eq!(push.stats().queued, push.stats().accepted, "and no room is kept by what was not sent");
}

#[test]
fn what_follows_a_refused_message_stays_in_the_iterator_of_a_blocking_send_all() {
    let push = Push::builder().bind("mem://many-refused-too").max_message(10).blocking_build().unwrap();
    let mut messages = (0..200).map(|n| vec![0; if n == 70 { 11 } else { 3 }]);
    push.blocking_send_all(&mut messages).unwrap_err();
    assert_eq!((push.stats().accepted, messages.count()), (70, 129));
    push.blocking_abort().unwrap();
    // When the pusher is closed, the error has one message, and the others stay in the iterator.
    let mut messages = (0..3).map(|_| "x");
    let error = push.blocking_send_all(&mut messages).unwrap_err();
    assert!(matches!(error, BlockingSendError::Failed(SendError::Closed(_))), "{error}");
    assert_eq!(messages.count(), 2);
}

#[tokio::test]
async fn a_pusher_that_is_closed_by_the_iterator_itself_loses_no_message() {
    for at in [0, 1, 50, 64, 100] {
        let endpoint = format!("mem://many-closing-{at}");
        let push = Push::builder().bind(&endpoint).build().await.unwrap();
        let closer = push.clone();
        let mut messages = (0..200).inspect(|n| {
            if *n == at {
                // Its first poll closes it.
                let mut abort = pin!(closer.abort());
                let _ = abort.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
            }
        });
        let mut vectors = messages.by_ref().map(|n: i32| n.to_be_bytes().to_vec());
        let error = within(push.send_all(&mut vectors)).await.unwrap_err();
        assert_eq!(error.into_message().payload()[..], at.to_be_bytes());
        assert_eq!((push.stats().accepted, vectors.count()), (at as u64, 199 - at as usize));
    }
}

#[tokio::test]
async fn a_pusher_that_is_closed_while_it_waits_for_room_leaves_the_rest() {
    for hint in [true, false] {
        let push = Push::builder().bind("mem://many-closed").high_water_mark(10).build().await.unwrap();
        let mut messages: Box<dyn Iterator<Item = &str> + Send> = Box::new((0..200).map(|_| "x"));
        if !hint {
            messages = Box::new(endless_hint(messages));
        }
        {
            let mut sending = pin!(push.send_all(&mut messages));
            let waits = poll_fn(|cx| Poll::Ready(sending.as_mut().poll(cx).is_pending())).await;
            assert!(waits);
            assert_eq!(push.stats().accepted, 10);
            within(push.abort()).await;
            let error = within(sending).await.unwrap_err();
            assert!(matches!(error, SendError::Closed(_)), "{error}");
        }
        assert_eq!(messages.count(), 189, "ten are accepted, and one is in the error");
    }
}

#[tokio::test]
async fn a_cancelled_send_all_has_accepted_all_that_it_took() {
    let push = Push::builder().bind("mem://many-cancelled").high_water_mark(100).build().await.unwrap();
    let mut messages = 0..1_000_u32;
    begin(push.send_all(messages.by_ref().map(|n| n.to_be_bytes().to_vec()))).await;
    assert_eq!((push.stats().accepted, messages.next()), (100, Some(100)));
}

#[tokio::test]
async fn an_iterator_that_is_at_its_end_is_not_waited_for_when_there_is_no_room() {
    let push = Push::builder().bind("mem://many-end").high_water_mark(10).build().await.unwrap();
    assert_eq!(within(push.send_all((0..10).map(|_| "x"))).await.unwrap(), 10);
    assert_eq!(within(push.send_all(Vec::<String>::new())).await.unwrap(), 0);
    assert_eq!(push.stats().queued, 10);
}

#[test]
fn the_messages_of_an_iterator_are_sent_before_it_is_asked_for_more() {
    let push = Push::builder().bind("mem://many-slow").blocking_build().unwrap();
    let pull = Pull::builder().connect("mem://many-slow").blocking_build().unwrap();
    // A channel, and an iterator that waits although it reports a length.
    for hint in [false, true] {
        let (give, given) = mpsc::channel::<&str>();
        let sender = push.clone();
        let thread = thread::spawn(move || {
            if hint {
                sender.blocking_send_all((0..3).map(|_| given.recv().unwrap()))
            } else {
                sender.blocking_send_all(given)
            }
        });
        for line in ["one", "two", "three"] {
            give.send(line).unwrap();
            let delivery = pull.blocking_recv_timeout(LONG).unwrap().unwrap();
            assert_eq!(delivery.payload(), line.as_bytes());
            delivery.ack();
        }
        drop(give);
        assert_eq!(thread.join().unwrap().unwrap(), 3);
    }
    push.blocking_finish(LONG).unwrap();
}

#[tokio::test]
async fn the_messages_of_an_iterator_are_sent_before_an_async_send_all_asks_it_for_more() {
    // The iterator blocks the thread that polls `send_all`, so the links run on another one.
    let push = Push::builder().bind("mem://many-slow-async").io_thread(true).build().await.unwrap();
    let pull = Pull::builder().connect("mem://many-slow-async").io_thread(true).build().await.unwrap();
    for hint in [false, true] {
        let (give, given) = mpsc::channel::<&str>();
        let sender = push.clone();
        let thread = thread::spawn(move || {
            if hint {
                run(sender.send_all((0..3).map(|_| given.recv().unwrap())))
            } else {
                run(sender.send_all(given))
            }
        });
        for line in ["one", "two", "three"] {
            give.send(line).unwrap();
            let delivery = within(pull.recv()).await.unwrap().unwrap();
            assert_eq!(delivery.payload(), line.as_bytes());
            delivery.ack();
        }
        drop(give);
        assert_eq!(thread.join().unwrap().unwrap(), 3);
    }
    within(push.finish(LONG)).await.unwrap();
}

#[test]
fn an_iterator_that_waits_delays_no_other_sender() {
    let push = Push::builder().bind("mem://many-idle").high_water_mark(1).blocking_build().unwrap();
    let pull =
        Pull::builder().connect("mem://many-idle").window(Window::messages(10)).blocking_build().unwrap();
    push.blocking_connected(1).unwrap();
    let (give, given) = mpsc::channel::<&str>();
    let sender = push.clone();
    let thread = thread::spawn(move || sender.blocking_send_all(given));
    give.send("x").unwrap();
    pull.blocking_recv_timeout(LONG).unwrap().unwrap().ack();
    for _ in 0..100 {
        push.blocking_send_timeout("y", LONG).unwrap();
        pull.blocking_recv_timeout(LONG).unwrap().unwrap().ack();
    }
    drop(give);
    assert_eq!(thread.join().unwrap().unwrap(), 1);
    push.blocking_finish(LONG).unwrap();
}

#[tokio::test]
async fn an_iterator_may_use_the_socket_that_it_is_sent_over() {
    let push = Push::builder().bind("mem://many-own").build().await.unwrap();
    let other = push.clone();
    let messages = (0..100).map(|n| {
        other.try_send("beside").unwrap();
        format!("{n} after {}", other.stats().accepted)
    });
    assert_eq!(within(push.send_all(messages)).await.unwrap(), 100);
    assert_eq!(push.stats().accepted, 200);
    within(push.finish(Duration::ZERO)).await.unwrap_err();
}

#[test]
fn an_iterator_that_waits_keeps_no_bytes_from_other_senders() {
    let push = Push::builder().bind("mem://many-bytes").max_held(100, 1_000).max_message(1_000);
    let push = push.blocking_build().unwrap();
    push.blocking_send(vec![0; 1_000]).unwrap(); // there is no room
    let (give, given) = mpsc::channel::<&str>();
    let (asked, is_asked) = mpsc::channel();
    let sender = push.clone();
    let given = std::iter::from_fn(move || {
        asked.send(()).unwrap();
        given.recv().ok()
    });
    let thread = thread::spawn(move || sender.blocking_send_all(given));
    let pull = Pull::builder().connect("mem://many-bytes").blocking_build().unwrap();
    pull.blocking_recv_timeout(LONG).unwrap().unwrap().ack();
    is_asked.recv_timeout(LONG).unwrap();
    for _ in 0..3 {
        push.blocking_send_timeout("y", LONG).unwrap();
        pull.blocking_recv_timeout(LONG).unwrap().unwrap().ack();
    }
    drop(give);
    assert_eq!(thread.join().unwrap().unwrap(), 0);
    push.blocking_finish(LONG).unwrap();
}
