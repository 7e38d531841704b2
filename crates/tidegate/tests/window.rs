//! The window limits the un-acked deliveries of an application.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

mod common;

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::within_thread;
use tidegate::{Delivery, Pull, Push, Window};
use tracing::{
    Event, Metadata, Subscriber,
    span::{Attributes, Id, Record},
};

const SECOND: Duration = Duration::from_secs(1);

async fn pusher(at: &str, messages: usize) -> Push {
    let push = Push::builder().bind(at).high_water_mark(messages.max(1)).build().await.unwrap();
    push.send_all((0..messages).map(|n| n.to_string())).await.unwrap();
    push
}

/// Receives until no delivery came for a while. The clock of these tests is paused while a task can run.
async fn all(pull: &Pull) -> Vec<Delivery> {
    let mut held = Vec::new();
    while let Ok(delivery) = tokio::time::timeout(2 * SECOND, pull.recv()).await {
        held.push(delivery.unwrap().unwrap());
    }
    held
}

#[tokio::test(start_paused = true)]
async fn a_task_for_each_delivery_holds_no_more_than_a_fixed_window() {
    // CR-5
    let _push = pusher("mem://window-tasks", 500).await;
    let pull =
        Pull::builder().connect("mem://window-tasks").window(Window::messages(20)).build().await.unwrap();
    let worker = pull.clone();
    tokio::spawn(async move {
        while let Ok(Some(delivery)) = worker.recv().await {
            tokio::spawn(async move {
                tokio::time::sleep(SECOND).await; // the job
                delivery.ack();
            });
        }
    });
    let mut most = 0;
    while pull.stats().acked < 500 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        most = most.max(pull.stats().in_flight);
    }
    assert_eq!(most, 20, "all of the window, and no more");
}

#[tokio::test(start_paused = true)]
async fn three_pushers_share_one_window() {
    // CR-5, CR-6
    let mut pull = Pull::builder().window(Window::messages(7));
    let mut pushers = Vec::new();
    for at in ["mem://window-a", "mem://window-b", "mem://window-c"] {
        pushers.push(pusher(at, 100).await);
        pull = pull.connect(at);
    }
    let pull = pull.build().await.unwrap();
    let mut done = 0;
    let mut held = all(&pull).await;
    assert_eq!(held.len(), 7);
    while done < 300 {
        assert!(pull.stats().in_flight <= 7);
        held.pop().expect("there is always one").ack();
        done += 1;
        if held.is_empty() && done < 300 {
            held.push(pull.recv().await.unwrap().unwrap());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_larger_than_the_window_does_not_hang() {
    // CR-5
    let _push = pusher("mem://window-batch", 50).await;
    let pull =
        Pull::builder().connect("mem://window-batch").window(Window::messages(8)).build().await.unwrap();
    let mut done = 0;
    while done < 50 {
        let mut batch = Vec::new();
        let count = pull.recv_many(&mut batch, 1_000).await.unwrap();
        assert!((1..=8).contains(&count), "{count}");
        done += count;
        Delivery::ack_all(batch);
    }
}

#[tokio::test(start_paused = true)]
async fn at_the_limit_an_outcome_lets_the_next_recv_of_another_task_continue() {
    // CR-5
    let _push = pusher("mem://window-wake", 10).await;
    let pull =
        Pull::builder().connect("mem://window-wake").window(Window::messages(1)).build().await.unwrap();
    let first = pull.recv().await.unwrap().unwrap();
    let waiting = tokio::spawn({
        let pull = pull.clone();
        async move { pull.recv().await.unwrap().unwrap() }
    });
    tokio::time::sleep(SECOND).await;
    assert!(!waiting.is_finished());
    first.ack();
    waiting.await.unwrap().ack();
}

#[tokio::test(start_paused = true)]
async fn an_automatic_window_ends_at_the_budget() {
    // CR-5, CR-9
    let _push = pusher("mem://window-auto", 100).await;
    let pull = Pull::builder().connect("mem://window-auto").budget(30, 1 << 20).build().await.unwrap();
    assert_eq!(all(&pull).await.len(), 30);
}

/// A log that uses the socket from within, and counts the lines.
#[derive(Clone, Default)]
struct Log {
    pull: Arc<OnceLock<Pull>>,
    lines: Arc<AtomicUsize>,
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

    fn event(&self, _: &Event<'_>) {
        let _ = self.pull.get().unwrap().stats();
        self.lines.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn a_log_may_use_the_socket_when_it_gets_the_warning_about_the_window() {
    within_thread(|| {
        let log = Log::default();
        let _guard = tracing::subscriber::set_default(log.clone());
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let _push = pusher("mem://window-log", 10).await;
            let pull = Pull::builder().connect("mem://window-log").window(Window::messages(1));
            let pull = pull.build().await.unwrap();
            log.pull.set(pull.clone()).unwrap();
            let _held = pull.recv().await.unwrap().unwrap();
            assert!(tokio::time::timeout(10 * SECOND, pull.recv()).await.is_err());
            assert_eq!(log.lines.load(Ordering::Relaxed), 1, "it is logged once");
        });
    });
}
