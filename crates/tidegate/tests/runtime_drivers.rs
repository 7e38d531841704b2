//! Runtimes that lack what a socket needs are refused when it is built.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // tests may panic

use std::time::Duration;

use tidegate::{BuildError, Pull, Push};
use tokio::runtime::{Builder, Runtime};

fn runtimes(set_up: impl Fn(&mut Builder) -> &mut Builder) -> [Runtime; 2] {
    let (mut current, mut threads) = (Builder::new_current_thread(), Builder::new_multi_thread());
    [set_up(&mut current).build().unwrap(), set_up(threads.worker_threads(1)).build().unwrap()]
}

#[test]
fn a_runtime_without_timers_is_refused_by_every_endpoint() {
    for runtime in runtimes(Builder::enable_io).iter().chain(&runtimes(|builder| builder)) {
        runtime.block_on(async {
            for endpoint in ["tcp://127.0.0.1:0", "mem://no-timers", "unix:///tmp/no-timers"] {
                let bound = Push::builder().bind(endpoint).build().await;
                assert!(matches!(bound, Err(BuildError::NoRuntime)), "{endpoint}: {bound:?}");
                let connected = Pull::builder().connect(endpoint).build().await;
                assert!(matches!(connected, Err(BuildError::NoRuntime)), "{endpoint}: {connected:?}");
            }
        });
    }
}

#[test]
fn a_runtime_without_io_is_refused_by_sockets_of_the_system_only() {
    for runtime in runtimes(Builder::enable_time) {
        runtime.block_on(async {
            for endpoint in ["tcp://127.0.0.1:0", "unix:///tmp/no-io"] {
                let built = Pull::builder().connect("mem://x").connect(endpoint).build().await;
                assert!(matches!(built, Err(BuildError::NoRuntime)), "{endpoint}: {built:?}");
            }
            let push = Push::builder().bind("mem://no-io").build().await.unwrap();
            let pull = Pull::builder().connect("mem://no-io").build().await.unwrap();
            push.send("x").await.unwrap();
            pull.recv().await.unwrap().unwrap().ack();
            push.finish(Duration::from_secs(20)).await.unwrap();
        });
    }
}

#[test]
fn the_librarys_own_thread_has_both() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let push = runtime.block_on(Push::builder().io_thread(true).bind("tcp://127.0.0.1:0").build()).unwrap();
    runtime.block_on(push.finish(Duration::from_secs(20))).unwrap();
}
