//! Each call that sends or receives has forms that do not wait, that have a time limit, that block, and that track.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

mod common;

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    time::Duration,
};

use common::{LONG, begin, within};
use futures_sink::Sink;
use tidegate::{
    Message, Pull, Push, PushSink, RecvError, RecvTimeoutError, ReserveError, SendError, SinkError,
    TryReserveError, TrySendError,
    blocking::{BlockingError, BlockingSendError},
};

const SHORT: Duration = Duration::from_millis(5);

fn is_full(error: &TrySendError) -> bool {
    matches!(error, TrySendError::Full(message) if message.payload() == "x")
}

fn is_closed(error: &TrySendError) -> bool {
    matches!(error, TrySendError::Failed(SendError::Closed(message)) if message.payload() == "x")
}

fn is_invalid(error: &TrySendError) -> bool {
    matches!(error, TrySendError::Failed(SendError::Invalid { message, .. }) if message.size() == 11)
}

#[tokio::test(start_paused = true)]
async fn calls_that_do_not_wait_or_have_a_time_limit_return_the_message() {
    let push =
        Push::builder().bind("mem://siblings-back").high_water_mark(1).max_message(10).build().await.unwrap();
    let large = || Message::from(vec![0; 11]);
    assert!(is_invalid(&push.try_send(large()).unwrap_err()));
    assert!(is_invalid(&push.try_send_tracked(large()).unwrap_err()));
    assert!(is_invalid(&push.send_timeout(large(), LONG).await.unwrap_err()));
    assert!(is_invalid(&push.send_tracked_timeout(large(), LONG).await.unwrap_err()));
    push.send_timeout("x", Duration::ZERO).await.unwrap(); // there is room
    assert!(is_full(&push.try_send("x").unwrap_err()));
    assert!(is_full(&push.try_send_tracked("x").unwrap_err()));
    assert!(matches!(push.try_reserve(), Err(TryReserveError::Full)));
    for wait in [Duration::ZERO, SHORT] {
        assert!(is_full(&push.send_timeout("x", wait).await.unwrap_err()));
        assert!(is_full(&push.send_tracked_timeout("x", wait).await.unwrap_err()));
        assert!(matches!(push.reserve_timeout(wait).await, Err(TryReserveError::Full)));
    }
    assert_eq!(push.stats().accepted, 1);
    within(push.abort()).await;
    assert!(is_closed(&push.try_send("x").unwrap_err()));
    assert!(is_closed(&push.try_send_tracked("x").unwrap_err()));
    assert!(is_closed(&push.send_timeout("x", LONG).await.unwrap_err()));
    assert!(is_closed(&push.send_tracked_timeout("x", LONG).await.unwrap_err()));
    assert!(matches!(push.try_reserve(), Err(TryReserveError::Failed(ReserveError::Closed))));
    assert!(matches!(push.reserve_timeout(LONG).await, Err(TryReserveError::Failed(ReserveError::Closed))));
}

#[tokio::test]
async fn calls_that_do_not_wait_or_have_a_time_limit_send_when_there_is_room() {
    let push = Push::builder().bind("mem://siblings-sent").high_water_mark(0).build().await.unwrap();
    let pull = Pull::builder().connect("mem://siblings-sent").build().await.unwrap();
    within(push.send_timeout("1", LONG)).await.unwrap();
    let mut receipts = vec![
        push.try_send_tracked("2").unwrap(),
        within(push.send_tracked_timeout("3", LONG)).await.unwrap(),
        push.try_reserve().unwrap().send_tracked("4").unwrap(),
    ];
    within(push.reserve_timeout(LONG)).await.unwrap().send("5").unwrap();
    for n in 1..=5 {
        let delivery = within(pull.recv_timeout(LONG)).await.unwrap().unwrap();
        assert_eq!(delivery.payload(), n.to_string().as_bytes());
        delivery.ack();
    }
    for receipt in receipts.drain(..) {
        within(receipt).await.unwrap();
    }
    within(push.finish(LONG)).await.unwrap();
    assert!(within(pull.recv_timeout(LONG)).await.unwrap().is_none(), "the end is not a timeout");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_ends_every_wait_for_room() {
    let _push = Push::builder().bind("mem://siblings-refused#here").build().await.unwrap();
    let _pull = Pull::builder().bind("mem://siblings-refused#elsewhere").build().await.unwrap();
    let builder = Push::builder().connect("mem://siblings-refused#there").high_water_mark(0);
    let push = builder.build().await.unwrap();
    let refused = |error: TrySendError| matches!(error, TrySendError::Failed(SendError::Refused { .. }));
    let mut parked = pin!(push.send("parked"));
    poll_fn(|cx| {
        assert!(parked.as_mut().poll(cx).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
    assert!(refused(within(push.send_timeout("x", LONG)).await.unwrap_err()));
    assert!(matches!(within(parked).await.unwrap_err(), SendError::Refused { .. }));
    assert!(refused(push.try_send("x").unwrap_err()));
    assert!(refused(push.try_send_tracked("x").unwrap_err()));
    let error = push.try_reserve().unwrap_err();
    assert!(matches!(error, TryReserveError::Failed(ReserveError::Refused(_))), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_recv_with_a_time_limit_loses_nothing() {
    let push = Push::builder().bind("mem://siblings-recv").build().await.unwrap();
    let pull = Pull::builder().connect("mem://siblings-recv").build().await.unwrap();
    assert_eq!(pull.recv_timeout(SHORT).await.unwrap_err(), RecvTimeoutError::Timeout);
    assert_eq!(pull.recv_timeout(Duration::ZERO).await.unwrap_err(), RecvTimeoutError::Timeout);
    push.send("x").await.unwrap();
    within(pull.recv_timeout(LONG)).await.unwrap().unwrap().ack();
    within(push.finish(LONG)).await.unwrap();
}

#[test]
fn blocking_forms_have_a_time_limit_too() {
    let push = Push::builder().bind("mem://siblings-blocking").high_water_mark(1).blocking_build().unwrap();
    push.blocking_send_timeout("x", Duration::ZERO).unwrap();
    let full = |error| matches!(error, BlockingSendError::Failed(error) if is_full(&error));
    assert!(full(push.blocking_send_timeout("x", SHORT).unwrap_err()));
    assert!(full(push.blocking_send_tracked_timeout("x", SHORT).unwrap_err()));
    let error = push.blocking_reserve_timeout(SHORT).unwrap_err();
    assert!(matches!(error, BlockingError::Failed(TryReserveError::Full)), "{error}");
    let pull = Pull::builder().connect("mem://siblings-blocking").blocking_build().unwrap();
    let receipt = push.blocking_send_tracked_timeout("y", LONG).unwrap();
    let of_permit = push.blocking_reserve_timeout(LONG).unwrap().send_tracked("z").unwrap();
    for expected in ["x", "y", "z"] {
        let delivery = pull.blocking_recv_timeout(LONG).unwrap().unwrap();
        assert_eq!(delivery.payload(), expected.as_bytes());
        delivery.ack();
    }
    let nothing = pull.blocking_recv_timeout(SHORT).unwrap_err();
    assert_eq!(nothing, BlockingError::Failed(RecvTimeoutError::Timeout));
    receipt.blocking_wait().unwrap();
    of_permit.blocking().unwrap().blocking_wait().unwrap();
    push.blocking_finish(LONG).unwrap();
}

#[test]
fn every_error_of_sending_can_be_named_and_shown() {
    fn is_error<E: std::error::Error + Send + Sync + 'static>() {}
    is_error::<SinkError>();
    is_error::<TryReserveError>();
    is_error::<TrySendError>();
    is_error::<RecvError>();
    is_error::<BlockingError<RecvTimeoutError>>();
    is_error::<BlockingSendError<TrySendError>>();
}

#[tokio::test]
async fn a_sink_takes_messages_and_closes_without_type_annotations() {
    // As `SinkExt::close` and `send` do; they compile because there is one kind of item.
    async fn close<S: Sink<T> + Unpin, T>(sink: &mut S) -> Result<(), S::Error> {
        poll_fn(|cx| Pin::new(&mut *sink).poll_close(cx)).await
    }
    let push = Push::builder().bind("mem://siblings-sink").high_water_mark(1).build().await.unwrap();
    let pull = Pull::builder().connect("mem://siblings-sink").build().await.unwrap();
    let mut sink: PushSink = push.sink(LONG);
    let not_ready = Pin::new(&mut sink).start_send("x".into()).unwrap_err();
    assert!(matches!(not_ready, SinkError::NotReady), "{not_ready}");
    for n in 0..3 {
        within(poll_fn(|cx| Pin::new(&mut sink).poll_ready(cx))).await.unwrap();
        Pin::new(&mut sink).start_send(Message::from(n.to_string())).unwrap();
        within(poll_fn(|cx| Pin::new(&mut sink).poll_flush(cx))).await.unwrap();
    }
    for n in 0..3 {
        let delivery = within(pull.recv()).await.unwrap().unwrap();
        assert_eq!(delivery.payload(), n.to_string().as_bytes());
        delivery.ack();
    }
    within(close(&mut sink)).await.unwrap();
    let closed = within(poll_fn(|cx| Pin::new(&mut sink).poll_ready(cx))).await.unwrap_err();
    assert!(matches!(closed, SinkError::Reserve(ReserveError::Closed)), "{closed}");
    assert!(within(pull.recv()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_sink_that_is_not_ready_yet_releases_its_place_when_it_is_dropped() {
    let push = Push::builder().bind("mem://siblings-place").high_water_mark(1).build().await.unwrap();
    push.send("x").await.unwrap();
    let mut sink = push.sink(LONG);
    begin(poll_fn(|cx| Pin::new(&mut sink).poll_ready(cx))).await;
    let mut next = pin!(push.send("next"));
    let pull = Pull::builder().connect("mem://siblings-place").build().await.unwrap();
    drop(sink);
    within(next.as_mut()).await.unwrap();
    for _ in 0..2 {
        within(pull.recv()).await.unwrap().unwrap().ack();
    }
    within(push.finish(LONG)).await.unwrap();
}
