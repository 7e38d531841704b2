//! Settings that would do harm are errors when a socket is built (LM-1).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::time::Duration;

use tidegate::{BuildError, Pull, Push};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

#[tokio::test]
async fn a_setting_that_is_too_large_is_named_with_its_value_and_the_limit() {
    // LM-1
    let most = usize::MAX;
    let long = Duration::MAX;
    let (push, pull) =
        (|| Push::builder().bind("mem://too-large"), || Pull::builder().bind("mem://too-large"));
    let errors = [
        ("max_handshakes", push().max_handshakes(most).build().await.err(), format!("{most:?}"), "1,000,000"),
        (
            "max_handshakes",
            pull().max_handshakes(1_000_001).build().await.err(),
            "1000001".into(),
            "1,000,000",
        ),
        ("close_wait", push().close_wait(long).build().await.err(), format!("{long:?}"), "at most 1 h"),
        ("close_wait", pull().close_wait(2 * HOUR).build().await.err(), "7200s".into(), "at most 1 h"),
        (
            "reconnect_backoff",
            push().reconnect_backoff(long, long).build().await.err(),
            format!("{long:?}"),
            "at most 24 h",
        ),
        (
            "reconnect_backoff",
            pull().reconnect_backoff(HOUR, 2 * DAY).build().await.err(),
            "172800s".into(),
            "at most 24 h",
        ),
    ];
    for (setting, error, value, right) in errors {
        let Some(BuildError::Setting(error)) = error else { panic!("{setting}: {error:?}") };
        let text = error.to_string();
        assert!([setting, &value, right].iter().all(|part| text.contains(part)), "{text}");
    }
}

#[tokio::test]
async fn the_largest_valid_settings_work() {
    let push = Push::builder()
        .bind("mem://largest")
        .max_handshakes(1_000_000)
        .max_handshakes_per_address(usize::MAX)
        .max_links_per_address(usize::MAX)
        .handshake_timeout(Duration::MAX)
        .close_wait(HOUR)
        .build()
        .await
        .unwrap();
    let pull =
        Pull::builder().connect("mem://largest").reconnect_backoff(DAY, DAY).close_wait(HOUR).build().await;
    push.send("m").await.unwrap();
    let work = async {
        pull.unwrap().recv().await.unwrap().unwrap().ack();
        push.finish(Duration::MAX).await.unwrap();
    };
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("took too long");
}
