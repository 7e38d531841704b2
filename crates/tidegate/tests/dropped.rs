//! What dropping the last handle does, and what it logs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // tests may panic

mod common;

use std::{
    fmt,
    sync::{Mutex, Once, PoisonError},
    time::Duration,
};

use common::{LONG, within_thread};
use tidegate::{BuildError, Pull, Push};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Lines;

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        LINES.lock().unwrap_or_else(PoisonError::into_inner).push(text.0);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// The lines logged so far that contain this text.
fn logged(part: &str) -> Vec<String> {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    lines.iter().filter(|line| line.contains(part)).cloned().collect()
}

fn listen_to_the_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Lines).unwrap());
}

#[test]
fn a_runtime_that_ends_before_the_drain_logs_what_was_lost() {
    listen_to_the_log();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let push = Push::builder().bind("mem://cut-off").build().await.unwrap();
        let pull = Pull::builder()
            .connect("mem://cut-off")
            .window(tidegate::Window::messages(2))
            .build()
            .await
            .unwrap();
        push.connected(1).await.unwrap();
        for n in 0..7_u8 {
            push.send(vec![n]).await.unwrap();
        }
        std::mem::forget((pull.recv().await.unwrap(), pull)); // as if a worker held it
    }); // connect, send, return from main
    drop(runtime);
    let dropped = logged("the last handle of a pusher was dropped with 7");
    assert!(dropped[0].contains("unless the process or its runtime ends first"), "{dropped:?}");
    let lost = logged("because its runtime was shut down");
    assert_eq!(lost.len(), 1, "{lost:?}");
    let numbers: Vec<u64> =
        lost[0].split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect();
    assert_eq!(numbers.iter().sum::<u64>(), 7, "unsent and unacknowledged: {lost:?}");
    assert!(numbers[1] >= 1, "one was handed out: {lost:?}");
}

#[test]
fn dropping_a_blocking_pusher_waits_for_its_acks_with_linger_on_drop() {
    within_thread(|| {
        let pull = Pull::builder().bind("tcp://127.0.0.1:0").blocking_build().unwrap();
        let at = pull.local_endpoints()[0].to_string();
        let push = Push::builder().connect(at).linger_on_drop(LONG).blocking_build().unwrap();
        let receipt = push.blocking_send_tracked("x").unwrap();
        let worker = std::thread::spawn(move || {
            pull.blocking_recv().unwrap().unwrap().ack();
            pull
        });
        drop(push); // as a return from main does
        let mut receipt = receipt;
        assert_eq!(
            receipt.blocking_wait_timeout(Duration::ZERO),
            Some(Ok(())),
            "acked before the drop was over"
        );
        worker.join().unwrap();
    });
}

#[test]
fn dropping_a_blocking_pusher_stops_after_its_linger_time_and_logs_what_is_lost() {
    listen_to_the_log();
    within_thread(|| {
        let push = Push::builder()
            .bind("tcp://127.0.0.1:0")
            .linger_on_drop(Duration::from_millis(50))
            .blocking_build()
            .unwrap();
        for _ in 0..11 {
            push.blocking_send("x").unwrap();
        }
        drop(push);
        assert_eq!(logged("has lost messages: 11 messages were not sent").len(), 1);
    });
}

#[test]
fn dropping_a_blocking_puller_waits_until_its_acks_are_sent_with_linger_on_drop() {
    within_thread(|| {
        let push = Push::builder().bind("tcp://127.0.0.1:0").blocking_build().unwrap();
        let at = push.local_endpoints()[0].to_string();
        let pull = Pull::builder()
            .connect(at)
            .ack_delay(Duration::from_millis(20))
            .linger_on_drop(LONG)
            .blocking_build()
            .unwrap();
        push.blocking_connected(1).unwrap();
        push.blocking_send("x").unwrap();
        pull.blocking_recv().unwrap().unwrap().ack();
        drop(pull);
        // Its link was closed in order by then, so everything that the puller sent has been read.
        assert_eq!(push.stats().acked, 1);
        push.blocking_finish(LONG).unwrap();
    });
}

#[tokio::test]
async fn linger_on_drop_requires_a_thread_that_runs_the_links() {
    let error = Push::builder().bind("mem://x").linger_on_drop(LONG).build().await.unwrap_err();
    assert!(
        matches!(error, BuildError::Setting(_)) && error.to_string().contains("linger_on_drop"),
        "{error}"
    );
}
