//! A program without async: a sender, and two workers that block their threads for as long as a job takes.
//! The links run on a separate thread of the library, so that a blocked worker does not miss heartbeats.
//!
//! ```text
//! cargo run -p tidegate-examples --example blocking
//! ```
#![allow(clippy::print_stdout, reason = "an example prints what it does")]
#![forbid(unsafe_code)]

use std::{error::Error, thread, time::Duration};

use tidegate::{Pull, Push, Window};

const JOBS: u64 = 20;

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let push = Push::builder().bind("tcp://127.0.0.1:0").blocking_build()?;
    let endpoint = push.local_endpoints().first().ok_or("the pusher has no endpoint")?.to_string();
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let endpoint = endpoint.clone();
            thread::spawn(move || work(&endpoint))
        })
        .collect();

    for job in 1..JOBS {
        push.blocking_send(job.to_string())?; // waits for room
    }
    // Waits until a worker has processed it.
    push.blocking_send_tracked(JOBS.to_string())?.blocking_wait()?;
    println!("the last job is done");

    // Must happen before `main` returns: messages that are un-acked then are lost with the process.
    let stats = push.blocking_finish(Duration::from_secs(60))?;
    println!("{} sent, {} acked", stats.accepted, stats.acked);
    for worker in workers {
        let done = worker.join().map_err(|_| "a worker has panicked")??;
        println!("a worker did {done} jobs");
    }
    Ok(())
}

/// Receives one job at a time, and blocks its thread during the job.
fn work(endpoint: &str) -> Result<u64, Failure> {
    let pull = Pull::builder().connect(endpoint).window(Window::messages(1)).blocking_build()?;
    let mut done = 0;
    while let Some(delivery) = pull.blocking_recv()? {
        let number: u64 = std::str::from_utf8(delivery.payload())?.parse()?;
        let sum = (0..number * 100_000).fold(0_u64, |sum, n| sum.wrapping_add(n * n)); // the work
        println!("job {number}: {sum}");
        delivery.ack();
        done += 1;
    }
    Ok(done)
}
