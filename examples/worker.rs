//! A process that works for a `pusher`. Start several, stop one with Ctrl-C, kill one: no job is lost.
//!
//! ```text
//! cargo run -p tidegate-examples --example worker -- tcp://127.0.0.1:8433
//! ```

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::{error::Error, time::Duration};

use tidegate::{Delivery, Pull, Window};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // At most ten jobs are here at a time: one in progress and nine waiting. The rest go to other workers.
    let pull = Pull::builder()
        .connect(tidegate_examples::endpoint())
        .name("worker")
        .window(Window::messages(10))
        .build()
        .await?;

    loop {
        tokio::select! {
            // `recv` is cancel safe: if Ctrl-C comes first, no delivery is lost.
            delivery = pull.recv() => match delivery? {
                Some(delivery) => work(delivery).await,
                None => break, // every pusher has ended its stream
            },
            signal = tokio::signal::ctrl_c() => {
                signal?;
                break;
            }
        }
    }

    // Returns the jobs that were not started, which go to other workers at once.
    let stats = pull.leave(Duration::from_secs(10)).await?;
    println!(
        "{} acked, {} nacked, {} rejected, {} released",
        stats.acked, stats.nacked, stats.rejected, stats.released
    );
    Ok(())
}

/// Does one job and settles it. A delivery that is dropped without an outcome, for example by a panic, is
/// nacked.
async fn work(delivery: Delivery) {
    let Some(job) = job_number(delivery.payload()) else {
        // It would always fail, so it must not be retried. The pusher gets the reason.
        return delivery.reject("not a job");
    };
    // A job may fail at first and succeed later.
    if job % 100 == 0 && delivery.attempt() == 1 {
        return delivery.nack_after(Duration::from_millis(50));
    }
    tokio::task::yield_now().await; // a real worker would do the job here
    delivery.ack();
}

fn job_number(payload: &[u8]) -> Option<u32> {
    std::str::from_utf8(payload).ok()?.strip_prefix("job ")?.parse().ok()
}
