//! Programs of the library that send messages and return from `main` at once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::process::Stdio;

use tidegate::{Pull, Window};
use tidegate_tests::process::{LONG, Process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_returning");
/// The number of messages that the program sends.
const COUNT: u8 = 100;

fn start(form: &str, pull: &Pull) -> Process {
    let at = pull.local_endpoints()[0].to_string();
    Process::start(PROGRAM, &[form, &at], Stdio::null(), Stdio::null()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_returns_from_main_right_after_send_loses_messages_with_a_warning() {
    for form in ["async", "blocking"] {
        let pull =
            Pull::builder().bind("tcp://127.0.0.1:0").window(Window::messages(1)).build().await.unwrap();
        let mut program = start(form, &pull);
        let warning = "the last handle of a pusher was dropped with 100 messages un-acked";
        let line = program.line_with_all(&["WARN", warning]).unwrap();
        assert!(
            line.contains("unless the process or its runtime ends first; call finish or drain"),
            "{line}"
        );
        assert!(program.exit().unwrap().success());
        // There was credit for one message, and nobody has received it.
        assert!(pull.stats().received <= 1, "{:?}", pull.stats());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_returns_from_main_right_after_send_loses_nothing_with_linger_on_drop() {
    let pull = Pull::builder().bind("tcp://127.0.0.1:0").build().await.unwrap();
    let mut program = start("lingering", &pull);
    let mut seen = Vec::new();
    while seen.len() < usize::from(COUNT) {
        let delivery = tokio::time::timeout(LONG, pull.recv()).await.unwrap().unwrap().unwrap();
        seen.extend_from_slice(delivery.payload());
        delivery.ack();
    }
    assert!(seen.into_iter().eq(0..COUNT));
    assert!(program.exit().unwrap().success());
    program.line_with("WARN").unwrap_err(); // at the end of its standard error
}
