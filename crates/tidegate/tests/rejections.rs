//! Messages that will never be sent again: kept while there is a handle, counted otherwise. And messages that keep
//! failing, which are logged.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

mod common;

use std::{
    fmt::Debug,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use common::{LONG, begin, until, within};
use futures_core::Stream;
use tidegate::{Pull, Push, Rejected, Rejections, Window};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

/// Collects the lines logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn lines(&self, with: &str) -> Vec<String> {
        self.0.lock().unwrap().iter().filter(|line| line.contains(with)).cloned().collect()
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, _: &Field, value: &dyn Debug) {
                self.0 += &format!("{value:?}");
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

async fn next(rejections: &mut Rejections) -> Option<Rejected> {
    within(poll_fn(|cx| Pin::new(&mut *rejections).poll_next(cx))).await
}

async fn pair(name: &str, max_held: usize) -> (Push, Pull) {
    let at = format!("mem://rejections-{name}");
    let backoff = Duration::from_millis(1);
    let push = Push::builder().bind(&at).max_held(max_held, 1 << 20).retry_backoff(backoff, backoff);
    let push = push.build().await.unwrap();
    let pull = Pull::builder().connect(&at).window(Window::messages(10)).build().await.unwrap();
    within(push.connected(1)).await.unwrap();
    (push, pull)
}

/// Sends `count` messages, each of which is rejected.
async fn reject(push: &Push, pull: &Pull, count: usize) {
    for _ in 0..count {
        within(push.send("bad")).await.unwrap();
        within(pull.recv()).await.unwrap().unwrap().reject("bad");
    }
}

#[tokio::test]
async fn rejected_messages_are_kept_until_the_last_handle_is_dropped_and_sends_continue() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let (push, pull) = pair("last", 5).await;
    let first = push.rejections();
    let mut second = push.rejections();
    drop(first);
    reject(&push, &pull, 5).await;
    until(|| push.stats().rejected_waiting == 5).await;
    begin(push.send("there is no room: five are kept")).await;
    assert_eq!(within(second.recv()).await.unwrap().message.payload(), "bad");
    drop(second);
    assert_eq!(log.lines("4 messages were not fetched").len(), 1);
    reject(&push, &pull, 20).await;
    until(|| push.stats().rejected == 25).await;
    let stats = push.stats();
    assert_eq!((stats.rejected_waiting, stats.held_bytes), (0, 0));
    // A new handle starts over.
    let mut third = push.rejections();
    reject(&push, &pull, 1).await;
    assert!(within(third.recv()).await.is_some());
    within(push.finish(LONG)).await.unwrap();
    assert!(within(third.recv()).await.is_none());
}

#[tokio::test]
async fn rejections_are_a_stream_that_ends_with_the_pusher() {
    let (push, pull) = pair("stream", 100).await;
    let mut rejections = push.rejections();
    assert!(rejections.try_recv().is_none());
    reject(&push, &pull, 3).await;
    for _ in 0..3 {
        let rejected = next(&mut rejections).await.unwrap();
        assert_eq!((rejected.message.payload(), rejected.attempts), (&"bad".into(), 1));
    }
    begin(poll_fn(|cx| Pin::new(&mut rejections).poll_next(cx))).await;
    reject(&push, &pull, 1).await;
    assert!(next(&mut rejections).await.is_some(), "what comes later wakes it");
    within(push.finish(LONG)).await.unwrap();
    assert!(next(&mut rejections).await.is_none());
    assert!(next(&mut rejections).await.is_none(), "and stays there");
    assert!(rejections.try_recv().is_none());
}

#[test]
fn rejections_can_be_waited_for_by_blocking_for_a_while() {
    let push = Push::builder().bind("mem://rejections-blocking").blocking_build().unwrap();
    let mut rejections = push.rejections();
    assert!(rejections.blocking_recv_timeout(Duration::from_millis(1)).unwrap().is_none());
    push.blocking_finish(LONG).unwrap();
    assert_eq!(rejections.blocking_recv_timeout(LONG).unwrap(), Some(None));
}

#[tokio::test]
async fn a_message_that_has_failed_ten_times_is_logged_once_with_its_id() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let (push, pull) = pair("ten", 100).await;
    let receipt = push.send_tracked("poison").await.unwrap();
    push.send("fine").await.unwrap();
    let mut failures = 0;
    while failures < 25 {
        assert_eq!(log.lines("has failed").len(), usize::from(failures > 10), "after {failures} failures");
        let delivery = within(pull.recv()).await.unwrap().unwrap();
        if delivery.payload() == b"fine" {
            delivery.ack();
            continue;
        }
        failures += 1;
        delivery.nack_with(None, "a \x1b[2J reason");
    }
    let lines = log.lines("has failed");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains(&receipt.id().to_string()) && lines[0].contains("10 times"), "{lines:?}");
    assert!(lines[0].contains(r"\u{1b}[2J reason") && !lines[0].contains("poison"), "{lines:?}");
    within(push.abort()).await;
}
