//! A process that has work. Start it, and then one or more `worker` processes, in any order:
//!
//! ```text
//! cargo run -p tidegate-examples --example pusher -- tcp://127.0.0.1:8433
//! ```

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::{error::Error, time::Duration};

use tidegate::Push;

const JOBS: u32 = 1_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // Building never waits for workers: they may connect later, disconnect, and reconnect.
    let push = Push::builder().bind(tidegate_examples::endpoint()).name("pusher").build().await?;
    for endpoint in push.local_endpoints() {
        println!("listening on {endpoint}");
    }

    // `send` waits only if the queue is full, that is if no worker has credit left and the high-water mark is
    // reached.
    for job in 1..=JOBS {
        push.send(format!("job {job}")).await?;
    }

    // Waits until all messages have been processed, and then ends the stream.
    let stats = push.finish(Duration::MAX).await?;
    println!(
        "{} accepted, {} acked, {} rejected, {} redelivered",
        stats.accepted, stats.acked, stats.rejected, stats.redelivered
    );
    Ok(())
}
