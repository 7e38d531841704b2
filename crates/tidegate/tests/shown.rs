//! What logs may show: counts and sizes, but never the content of messages.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

mod common;

use std::{fmt::Debug, time::Duration};

use common::{LONG, within};
use tidegate::{Message, Pull, Push, Tokens};

const SECRET: &str = "hunter2";

fn secret() -> Message {
    Message::new(format!("password={SECRET}")).with_header("authorization", format!("Bearer {SECRET}"))
}

/// Formats the value in both `Debug` forms, and checks that neither contains the secret or its bytes.
fn shown(value: &impl Debug) -> String {
    let bytes = format!("{:?}", SECRET.as_bytes());
    let bytes = bytes.trim_matches(['[', ']']);
    for text in [format!("{value:?}"), format!("{value:#?}")] {
        let plain = text.replace(",\n", ", ").split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(!text.contains(SECRET) && !plain.contains(bytes), "{text}");
    }
    format!("{value:?}")
}

#[tokio::test]
async fn debug_of_errors_and_leftovers_shows_counts_and_sizes_and_never_content() {
    let push = Push::builder().bind("mem://shown-left").high_water_mark(1_000).build().await.unwrap();
    for _ in 0..1_000 {
        push.send(secret()).await.unwrap();
    }
    shown(&push.try_send(secret()).unwrap_err());
    let error = within(push.finish(Duration::ZERO)).await.unwrap_err();
    let text = shown(&error);
    assert!(text.len() < 2_000, "as long as an error is read: {text}");
    assert!(text.contains("<1000 messages, 43000 bytes>"), "{text}");
    shown(&error.leftover);
    shown(&error.leftover.unsent);
    shown(&within(push.send(secret())).await.unwrap_err());
    shown(&push);
}

#[tokio::test]
async fn debug_of_messages_deliveries_and_rejections_never_shows_content() {
    let push = Push::builder().bind("mem://shown-all").token(SECRET).max_message(100).build().await.unwrap();
    let builder = Pull::builder().connect("mem://shown-all").tokens(Tokens::from(SECRET));
    shown(&builder);
    let pull = builder.build().await.unwrap();
    let mut rejections = push.rejections();
    let invalid = within(push.send(secret().with_header("more", vec![b'x'; 100]))).await.unwrap_err();
    shown(&invalid);
    push.send(secret()).await.unwrap();
    let delivery = within(pull.recv()).await.unwrap().unwrap();
    assert!(shown(&delivery).contains("payload: <16 bytes>"));
    shown(&delivery.message());
    assert_eq!(shown(&delivery.headers()), r#"{"authorization": <14 bytes>}"#);
    delivery.reject("no");
    shown(&within(rejections.recv()).await.unwrap());
    within(push.finish(LONG)).await.unwrap();
}
