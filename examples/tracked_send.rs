//! A sender that waits for the outcome of its messages, for example before it answers a request.
//!
//! ```text
//! cargo run -p tidegate-examples --example tracked_send
//! ```

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::{error::Error, time::Duration};

use tidegate::{Pull, Push};

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    // Both ends are in one process to keep the example short; `tcp://` works the same.
    let push = Push::builder().bind("mem://orders").build().await?;
    let pull = Pull::builder().connect("mem://orders").build().await?;
    let worker = tokio::spawn(work(pull));

    // One after another: a receipt is a future of the outcome.
    for order in ["3 apples", "-1 pears"] {
        let receipt = push.send_tracked(order).await?;
        match receipt.await {
            Ok(()) => println!("{order}: processed"),
            Err(error) => println!("{order}: {error}"),
        }
    }

    // Or concurrently: send all messages first, and then wait for the receipts.
    let mut receipts = Vec::new();
    for n in 1..=100 {
        receipts.push(push.send_tracked(format!("{n} oranges")).await?);
    }
    for receipt in receipts {
        receipt.await?;
    }
    println!("100 more: processed");

    push.finish(Duration::from_secs(10)).await?;
    worker.await?
}

/// Accepts only orders with positive numbers.
async fn work(pull: Pull) -> Result<(), Failure> {
    while let Some(delivery) = pull.recv().await? {
        if delivery.payload().starts_with(b"-") {
            delivery.reject("the number is negative");
        } else {
            delivery.ack();
        }
    }
    Ok(())
}
