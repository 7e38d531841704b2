//! A process that has work. Start it, and then one `worker` or several, in any order:
//!
//! ```text
//! cargo run -p tidegate-examples --example pusher -- tcp://127.0.0.1:8433
//! ```

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "an example tells what it does")]

use std::{error::Error, time::Duration};

use tidegate::Push;

const JOBS: u32 = 1_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // Building never waits for workers: they may connect later, leave, and come back.
    let push = Push::builder().bind(tidegate_examples::endpoint()).name("pusher").build().await?;
    for endpoint in push.local_endpoints() {
        println!("listening on {endpoint}");
    }

    // `send` waits for room only: once every worker has all the work that it asked for, and the high-water mark is reached.
    for job in 1..=JOBS {
        push.send(format!("job {job}")).await?;
    }

    // Waits until each message has been processed, and then tells the workers that the stream is over.
    let stats = push.finish(Duration::MAX).await?;
    println!(
        "{} accepted, {} acked, {} rejected, {} tried again",
        stats.accepted, stats.acked, stats.rejected, stats.redelivered
    );
    Ok(())
}
