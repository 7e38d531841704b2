//! A sender that is restarted. It takes no new messages, gives the workers some time for what is under way, and
//! keeps what they did not finish; its successor sends that again. The worker never notices more than a pause.
//!
//! ```text
//! cargo run -p tidegate-examples --example drain
//! ```

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "an example tells what it does")]

use std::{collections::BTreeSet, error::Error, time::Duration};

use tidegate::{Message, Pull, Push};

const ENDPOINT: &str = "mem://drain";
const JOBS: u32 = 20;
/// The first sender does not live to see the outcome of these last ones.
const SLOW: u32 = 5;

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let worker = tokio::spawn(work(Pull::builder().connect(ENDPOINT).build().await?));

    let first = Push::builder().bind(ENDPOINT).build().await?;
    for job in 1..=JOBS {
        first.send(format!("job {job}")).await?;
    }
    // `drain` closes without ending the stream, so the worker waits for us to come back.
    let left: Vec<Message> = match first.drain(Duration::from_millis(200)).await {
        Ok(_) => Vec::new(),
        Err(unfinished) => {
            let leftover = unfinished.leftover;
            println!(
                "out of time: {} certainly not processed, {} perhaps",
                leftover.unsent.len(),
                leftover.unacked.len()
            );
            // A real program would write them to a file here, and its successor would read it.
            leftover.unsent.into_iter().chain(leftover.unacked).map(|left| left.message).collect()
        }
    };

    let second = Push::builder().bind(ENDPOINT).build().await?;
    println!("the next sender has {} messages to begin with", left.len());
    for message in left {
        second.send(message).await?;
    }
    let stats = second.finish(Duration::MAX).await?;
    println!("finished: {} acked", stats.acked);

    let done = worker.await??;
    println!("the worker has done {} of {JOBS} jobs", done.len());
    if done.len() == JOBS as usize { Ok(()) } else { Err("a job was lost".into()) }
}

/// Does jobs until the stream is over, and returns which ones. What was only *perhaps* processed may come twice: that is why
/// this is a set. (The successor's messages have ids of their own.)
async fn work(pull: Pull) -> Result<BTreeSet<Vec<u8>>, Failure> {
    let mut done = BTreeSet::new();
    let mut received = 0;
    while let Some(delivery) = pull.recv().await? {
        received += 1;
        if received == JOBS - SLOW {
            // A job that takes until its sender is gone.
            delivery.orphaned().await;
        }
        done.insert(delivery.payload().to_vec());
        delivery.ack();
    }
    Ok(done)
}
