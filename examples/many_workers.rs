//! Several tasks that send, and several that receive. The tasks of each kind share one socket.
//!
//! ```text
//! cargo run -p tidegate-examples --example many_workers
//! ```

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::{error::Error, time::Duration};

use tidegate::{Pull, Push, Window};
use tokio::task::JoinSet;

const PRODUCERS: u32 = 3;
const WORKERS: usize = 8;
const JOBS: u32 = 1_000;

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let push = Push::builder().bind("tcp://127.0.0.1:0").build().await?;
    let mut pull = Pull::builder().window(Window::messages(2 * WORKERS as u64));
    for endpoint in push.local_endpoints() {
        pull = pull.connect(endpoint.to_string());
    }
    let pull = pull.build().await?;

    // Each delivery goes to one of the waiting tasks.
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        workers.spawn(work(pull.clone()));
    }
    let mut producers = JoinSet::new();
    for producer in 0..PRODUCERS {
        producers.spawn(produce(push.clone(), producer));
    }
    while let Some(ended) = producers.join_next().await {
        ended??;
    }
    // `finish` closes all clones, so it must follow the last producer.
    push.finish(Duration::MAX).await?;

    let mut total = 0;
    while let Some(done) = workers.join_next().await {
        let done = done??;
        println!("a worker did {done}");
        total += done;
    }
    println!("{total} jobs in all");
    if total == PRODUCERS * JOBS { Ok(()) } else { Err("the number of jobs is wrong".into()) }
}

async fn produce(push: Push, producer: u32) -> Result<(), Failure> {
    for job in 0..JOBS {
        push.send(format!("{producer}/{job}")).await?;
    }
    Ok(())
}

/// Works until the stream ends, and returns the number of jobs.
async fn work(pull: Pull) -> Result<u32, Failure> {
    let mut done = 0;
    while let Some(delivery) = pull.recv().await? {
        tokio::task::yield_now().await; // a real worker would do the job here
        delivery.ack();
        done += 1;
    }
    Ok(done)
}
