//! A permanent refusal is an error until other tokens are set, and never the end of a stream.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // tests may panic

mod common;

use std::time::Duration;

use common::{within, within_thread};
use tidegate::{
    BuildError, Code, ConnectedError, Event, Pull, PullBuilder, Push, PushBuilder, RecvError, ReserveError,
    SendError, TrySendError, blocking::BlockingError,
};

async fn guarded(name: &str) -> (Push, String) {
    let address = format!("mem://{name}");
    (Push::builder().bind(&address).token("new").build().await.unwrap(), address)
}

fn pull(address: &str) -> PullBuilder {
    Pull::builder().connect(address).reconnect_backoff(Duration::from_millis(1), Duration::from_millis(5))
}

fn push(address: &str) -> PushBuilder {
    Push::builder().connect(address).reconnect_backoff(Duration::from_millis(1), Duration::from_millis(5))
}

fn is_refusal<T: std::fmt::Debug>(result: Result<T, RecvError>) -> bool {
    matches!(result, Err(RecvError::Refused(refusal)) if refusal.code == Code::Unauthorized)
}

#[tokio::test]
async fn recv_returns_a_refusal_each_time_and_set_tokens_retries_the_endpoint() {
    let (push, address) = guarded("recv-tells-a-refusal").await;
    let pull = pull(&address).token("old").build().await.unwrap();
    for _ in 0..3 {
        assert!(is_refusal(within(pull.recv()).await));
        assert!(is_refusal(within(pull.recv_many(&mut Vec::new(), 9)).await));
        assert!(is_refusal(pull.try_recv()));
        let mut stream = pull.stream();
        let next = within(std::future::poll_fn(|cx| {
            futures_core::Stream::poll_next(std::pin::Pin::new(&mut stream), cx)
        }));
        assert!(is_refusal(next.await.unwrap()), "an error is not the end of the stream");
    }
    assert!(matches!(within(pull.connected(1)).await, Err(ConnectedError::Refused(_))));
    pull.set_tokens("new".into()).unwrap();
    push.send("x").await.unwrap();
    within(pull.recv()).await.unwrap().unwrap().ack();
    within(push.finish(Duration::MAX)).await.unwrap();
    assert!(within(pull.recv()).await.unwrap().is_none(), "and now it is over");
}

#[tokio::test]
async fn send_returns_a_refusal_each_time_and_set_tokens_retries_the_endpoint() {
    let pull = Pull::builder().bind("mem://push-is-told").token("new").build().await.unwrap();
    let push = push("mem://push-is-told").token("old").high_water_mark(0).build().await.unwrap();
    for _ in 0..3 {
        assert!(matches!(within(push.send("x")).await, Err(SendError::Refused { .. })));
        assert!(matches!(within(push.reserve()).await, Err(ReserveError::Refused(_))));
        assert!(matches!(push.try_send("x"), Err(TrySendError::Failed(SendError::Refused { .. }))));
        assert!(matches!(within(push.connected(1)).await, Err(ConnectedError::Refused(_))));
    }
    push.set_tokens("wrong".into()).unwrap();
    assert!(matches!(within(push.send("x")).await, Err(SendError::Refused { .. })), "refused again");
    assert_eq!(push.refusal().unwrap().code, Code::Unauthorized);
    push.set_tokens("new".into()).unwrap();
    assert_eq!(push.refusal(), None, "another try");
    within(push.send("x")).await.unwrap(); // not the refusal from before
    within(pull.recv()).await.unwrap().unwrap().ack();
    within(push.finish(Duration::MAX)).await.unwrap();
}

#[tokio::test]
async fn recv_returns_a_refusal_once_while_another_endpoint_is_left_and_again_when_that_has_ended() {
    let (_guarded, refusing) = guarded("one-of-two-refuses").await;
    let open = Push::builder().bind("mem://one-of-two-does-not").build().await.unwrap();
    let pull = pull(&refusing).connect("mem://one-of-two-does-not").build().await.unwrap();
    assert!(is_refusal(within(pull.recv()).await));
    assert_eq!(pull.refusal(), None, "another endpoint is left");
    open.send("x").await.unwrap();
    within(pull.recv()).await.unwrap().unwrap().ack();
    within(open.finish(Duration::MAX)).await.unwrap();
    for _ in 0..3 {
        assert!(is_refusal(within(pull.recv()).await), "not an orderly end");
    }
    assert_eq!(pull.refusal().unwrap().code, Code::Unauthorized);
    within(pull.leave(Duration::MAX)).await.unwrap();
    assert!(within(pull.recv()).await.unwrap().is_none(), "after leave it is");
}

#[tokio::test]
async fn an_endpoint_that_is_retried_brings_messages_when_the_other_side_accepts_the_token() {
    let (push, address) = guarded("tried-again").await;
    let mut builder = pull(&address).token("old").retry_refusals(Duration::from_millis(5));
    let mut events = builder.events();
    let pull = builder.build().await.unwrap();
    push.send("x").await.unwrap();
    within(async {
        // Two refusals, neither of them permanent.
        for _ in 0..2 {
            match events.recv().await.unwrap() {
                Event::ConnectFailed { reason, .. } => assert!(reason.contains("UNAUTHORIZED"), "{reason}"),
                other => panic!("{other}"),
            }
        }
    })
    .await;
    push.set_tokens(tidegate::Tokens::new(["new", "old"])).unwrap();
    within(pull.recv()).await.unwrap().unwrap().ack();
}

#[tokio::test]
async fn a_retry_time_of_0_or_above_the_limit_is_an_error() {
    for wait in [Duration::ZERO, Duration::MAX] {
        let error = pull("mem://x").retry_refusals(wait).build().await.unwrap_err();
        assert!(
            matches!(error, BuildError::Setting(_)) && error.to_string().contains("retry_refusals"),
            "{error}"
        );
    }
}

#[test]
fn blocking_recv_returns_a_refusal_each_time_too() {
    within_thread(|| {
        let push = Push::builder().bind("tcp://127.0.0.1:0").token("new").blocking_build().unwrap();
        let pull = pull(&push.local_endpoints()[0].to_string()).token("old").blocking_build().unwrap();
        for _ in 0..3 {
            let Err(BlockingError::Failed(error)) = pull.blocking_recv() else { panic!("no refusal") };
            assert!(is_refusal(Err::<(), _>(error)));
        }
        pull.set_tokens("new".into()).unwrap();
        push.blocking_send("x").unwrap();
        pull.blocking_recv().unwrap().unwrap().ack();
        push.blocking_finish(Duration::from_secs(20)).unwrap();
    });
}

#[tokio::test]
async fn set_tokens_ends_the_wait_for_another_try() {
    let (push, address) = guarded("wait-for-another-try").await;
    let mut builder = pull(&address).token("old").retry_refusals(Duration::from_secs(24 * 3_600));
    let mut events = builder.events();
    let pull = builder.build().await.unwrap();
    assert!(matches!(within(events.recv()).await, Some(Event::ConnectFailed { .. })));
    pull.set_tokens("new".into()).unwrap();
    push.send("x").await.unwrap();
    within(pull.recv()).await.unwrap().unwrap().ack();
}
