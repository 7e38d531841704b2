//! Text from a peer that would forge log lines, or control a terminal, in every place where it is shown.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::time::Duration;

use tidegate::{Event, Pull, Push, shown};
use tidegate_proto::{
    Code, Role,
    wire::{
        Body,
        v1::{self, Verdict, frame::Body as Frame},
    },
};
use tidegate_tests::{
    daemons::{push, tidegate},
    hostile::raw::{Raw, ack, address, hello, outcome},
};

/// All kinds of line ends, bidirectional controls, terminal escapes, and invisible characters.
const STRANGE: &str = "x\r\n2026 ERROR forged\u{85}\u{2028}\u{2029}\u{202e}\u{2066}\u{200f}\u{1b}[2J\u{9b}\u{7}\u{200b}\u{feff}\u{0}";
const HARMLESS: &str = r"x\r\n2026 ERROR forged\u{85}\u{2028}\u{2029}\u{202e}\u{2066}\u{200f}\u{1b}[2J\u{9b}\u{7}\u{200b}\u{feff}\0";

const LONG: Duration = Duration::from_secs(60);

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, work).await.expect("took too long")
}

fn assert_harmless(text: &str) {
    assert_eq!(shown(text).at_most(10_000).to_string(), text);
}

fn strange_hello(role: Role, instance: u8) -> v1::Hello {
    v1::Hello { name: STRANGE.to_owned(), ..hello(role, instance) }
}

fn close(code: Code) -> Frame {
    Frame::Close(v1::Close { code: code.into(), reason: STRANGE.to_owned(), retry_after_ms: 0 })
}

#[test]
fn a_pusher_shows_names_reasons_and_closes_of_a_puller_as_one_harmless_line_each() {
    // HS-10, OC-7, ER-1
    let (mut push, at) = push(1, &["-v"]);
    let mut raw = Raw::connect(address(&at)).unwrap();
    raw.greet(strange_hello(Role::Puller, 1)).unwrap();
    push.line_with(&format!("to {HARMLESS} at 127.0.0.1")).unwrap();
    raw.send(ack(Vec::new(), (9, 900))).unwrap();
    for (id, message) in [(0, "a"), (1, "b")] {
        push.write_line(message);
        raw.until(|body| matches!(body, Body::Deliver(_)).then_some(())).unwrap();
        push.forget_lines();
        let reject = v1::Outcome { reason: STRANGE.to_owned(), ..outcome(id, 1, Verdict::Reject) };
        raw.send(ack(vec![reject], (9, 900))).unwrap();
        assert_harmless(&push.line_with(HARMLESS).unwrap());
    }
    push.close_input();
    raw.send(close(Code::Internal)).unwrap();
    push.exit().unwrap();
    for line in push.lines_seen() {
        assert!(!line.starts_with("2026 ERROR forged"), "{line}");
        assert_harmless(line);
    }
}

#[test]
fn a_puller_shows_the_close_that_refuses_it_as_one_harmless_line() {
    // ER-1, RD-7
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = format!("tcp://{}", listener.local_addr().unwrap());
    let mut pull = tidegate(&["pull", "--connect", &at, "-v"]);
    let (mut stream, _) = listener.accept().unwrap();
    let answer =
        [&tidegate_proto::wire::PREFACE[..], &tidegate_proto::wire::encode(close(Code::Unauthorized))]
            .concat();
    std::io::Write::write_all(&mut stream, &answer).unwrap();
    pull.line_with(HARMLESS).unwrap();
    drop(stream);
    pull.exit().unwrap();
    for line in pull.lines_seen() {
        assert!(!line.starts_with("2026 ERROR forged"), "{line}");
        assert_harmless(line);
    }
}

#[tokio::test]
async fn errors_and_events_of_the_library_show_a_strangers_text_as_one_harmless_line() {
    // HS-10, OC-7, ER-1
    let push = Push::builder().bind("tcp://127.0.0.1:0").build().await.unwrap();
    let mut events = push.events();
    let at = push.local_endpoints()[0].to_string();
    let pull = Pull::builder().connect(&at).name(STRANGE).build().await.unwrap();
    let receipt = push.send_tracked("m").await.unwrap();
    within(pull.recv()).await.unwrap().unwrap().reject(STRANGE);
    let error = within(receipt).await.unwrap_err().to_string();
    assert_eq!(error, format!("rejected after 1 attempts: {HARMLESS}"));
    loop {
        let event = within(events.recv()).await.unwrap();
        assert_harmless(&event.to_string());
        if matches!(event, Event::Connected { .. }) {
            assert!(event.to_string().contains(HARMLESS), "{event}");
            break;
        }
    }
}
