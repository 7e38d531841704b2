//! A puller as a stream.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

mod common;

use std::{future::poll_fn, pin::Pin, time::Duration};

use common::{LONG, within};
use futures_core::{FusedStream, Stream};
use tidegate::{Code, ConnectedError, Delivery, Pull, PullStream, Push, RecvError};

async fn next(stream: &mut PullStream) -> Option<Result<Delivery, RecvError>> {
    within(poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx))).await
}

#[tokio::test]
async fn a_stream_returns_all_deliveries_and_ends_permanently() {
    let push = Push::builder().bind("mem://stream").build().await.unwrap();
    let pull = Pull::builder().connect("mem://stream").build().await.unwrap();
    let mut stream = pull.stream();
    let sending = async {
        for i in 0..100u8 {
            push.send(vec![i]).await.unwrap();
        }
        push.finish(LONG).await.unwrap();
    };
    let receiving = async {
        for i in 0..100u8 {
            let delivery = next(&mut stream).await.unwrap().unwrap();
            assert_eq!(delivery.payload()[..], [i]);
            delivery.ack();
        }
        assert!(next(&mut stream).await.is_none());
        assert!(stream.is_terminated());
        assert!(next(&mut stream).await.is_none(), "and stays there");
    };
    within(async { tokio::join!(sending, receiving) }).await;
}

#[tokio::test]
async fn a_refusal_before_a_stream_is_polled_is_an_error_and_not_its_end() {
    let _push = Push::builder().bind("mem://refusing#here").build().await.unwrap();
    let pull = Pull::builder().connect("mem://refusing#there").build().await.unwrap();
    let refused = within(pull.connected(1)).await.unwrap_err();
    assert!(matches!(refused, ConnectedError::Refused(_)), "{refused}");
    let mut stream = pull.stream();
    let Some(Err(RecvError::Refused(refusal))) = next(&mut stream).await else { panic!("swallowed") };
    assert_eq!(refusal.code, Code::NoPipeline);
    let again = next(&mut stream).await;
    assert!(matches!(again, Some(Err(RecvError::Refused(_)))), "no other endpoint is left: {again:?}");
    pull.leave(Duration::ZERO).await.unwrap();
    assert!(next(&mut stream).await.is_none());
}
