//! Sends messages through the library within one thread, to count the instructions: send, encode, decode, recv, ack and
//! the returned credit. `tests/instructions.rs` runs it under a CPU simulator.

#![forbid(unsafe_code)]

use std::time::Duration;

use bytes::Bytes;
use tidegate::{Pull, Push, Window};

/// Each payload has memory of its own, as in the benchmarks.
const SLOTS: usize = 256;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<usize> = std::env::args().skip(1).map(|a| a.parse()).collect::<Result<_, _>>()?;
    let [count, size, links] = arguments[..] else { return Err("usage: hot_path COUNT SIZE LINKS".into()) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(count, size, links))
}

async fn run(count: usize, size: usize, links: usize) -> Result<(), Box<dyn std::error::Error>> {
    let push = Push::builder().bind("mem://hot").build().await?;
    let mut pulls = Vec::new();
    for _ in 0..links {
        pulls.push(Pull::builder().connect("mem://hot").window(Window::messages(1_000)).build().await?);
    }
    push.connected(links).await?;
    let consumers: Vec<_> = pulls
        .into_iter()
        .map(|pull| {
            tokio::spawn(async move {
                let mut bytes = 0;
                while let Ok(Some(delivery)) = pull.recv().await {
                    bytes += delivery.payload().len();
                    delivery.ack();
                }
                bytes
            })
        })
        .collect();
    let memory = Bytes::from(vec![7; SLOTS * size.max(1)]);
    for n in 0..count {
        let at = n % SLOTS * size;
        push.send(memory.slice(at..at + size)).await?;
    }
    let stats = push.finish(Duration::MAX).await?;
    let mut bytes = 0;
    for consumer in consumers {
        bytes += consumer.await?;
    }
    if stats.acked != count as u64 || bytes != count * size {
        return Err(format!("{} of {count} messages acked, {bytes} bytes received", stats.acked).into());
    }
    Ok(())
}
