//! A sender that is restarted. It accepts no new messages, gives the workers some time for the messages in
//! progress, and keeps those that are left. The next sender sends them again. The worker only sees a pause.
//!
//! ```text
//! cargo run -p tidegate-examples --example drain
//! ```

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::{collections::BTreeSet, error::Error, time::Duration};

use tidegate::{Message, Pull, Push};

const ENDPOINT: &str = "mem://drain";
const JOBS: u32 = 20;
/// The first sender ends before it receives the outcomes of the last jobs.
const SLOW: u32 = 5;

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let worker = tokio::spawn(work(Pull::builder().connect(ENDPOINT).build().await?));

    let first = Push::builder().bind(ENDPOINT).build().await?;
    for job in 1..=JOBS {
        first.send(format!("job {job}")).await?;
    }
    // `drain` closes without ending the stream, so the worker waits for the next sender.
    let left: Vec<Message> = match first.drain(Duration::from_millis(200)).await {
        Ok(_) => Vec::new(),
        Err(unfinished) => {
            let leftover = unfinished.leftover;
            println!(
                "out of time: {} certainly not processed, {} perhaps",
                leftover.unsent.len(),
                leftover.unacked.len()
            );
            // A real program would write them to a file here, and the next sender would read it.
            leftover.unsent.into_iter().chain(leftover.unacked).map(|left| left.message).collect()
        }
    };

    let second = Push::builder().bind(ENDPOINT).build().await?;
    println!("the next sender starts with {} messages", left.len());
    for message in left {
        second.send(message).await?;
    }
    let stats = second.finish(Duration::MAX).await?;
    println!("finished: {} acked", stats.acked);

    let done = worker.await??;
    println!("the worker has done {} of {JOBS} jobs", done.len());
    if done.len() == JOBS as usize { Ok(()) } else { Err("a job was lost".into()) }
}

/// Does jobs until the stream ends, and returns them. A job that was *perhaps* processed may arrive twice, so
/// this returns a set. (The messages of the next sender have new ids.)
async fn work(pull: Pull) -> Result<BTreeSet<Vec<u8>>, Failure> {
    let mut done = BTreeSet::new();
    let mut received = 0;
    while let Some(delivery) = pull.recv().await? {
        received += 1;
        if received == JOBS - SLOW {
            // A job that lasts until its sender is gone.
            delivery.orphaned().await;
        }
        done.insert(delivery.payload().to_vec());
        delivery.ack();
    }
    Ok(done)
}
