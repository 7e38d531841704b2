//! Many failures at once, and workers that report progress without end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::time::Duration;

use tidegate::{Pull, Push, Window};

const LONG: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn lm_3_a_burst_of_nacks_and_releases_does_not_get_a_puller_closed() {
    // LM-3, OC-5: eight jobs that fail at once, again and again, and none that succeeds.
    const COUNT: u64 = 100_000;
    let push = Push::builder()
        .bind("tcp://127.0.0.1:0")
        .max_held(2 * COUNT as usize, 1 << 30)
        .build()
        .await
        .unwrap();
    let at = push.local_endpoints()[0].to_string();
    let pull = Pull::builder().connect(&at).window(Window::messages(2_000)).build().await.unwrap();
    push.connected(1).await.unwrap();
    let jobs: Vec<_> = (0..8)
        .map(|_| {
            let pull = pull.clone();
            tokio::spawn(async move {
                while let Some(delivery) = pull.recv().await.unwrap() {
                    delivery.nack_with(Some(LONG), "exit status 1");
                }
            })
        })
        .collect();
    for number in 0..COUNT {
        push.send(number.to_string()).await.unwrap();
    }
    let all_nacked = async {
        while push.stats().nacked < COUNT {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, all_nacked).await.expect("all of them are nacked in the end");
    let stats = push.stats();
    assert_eq!((stats.links, stats.links_opened, stats.returned), (1, 1, 0), "over one link: {stats:?}");
    jobs.into_iter().for_each(|job| job.abort());
}

#[tokio::test(start_paused = true)]
async fn oc_12_progress_reports_hold_a_message_no_longer_than_max_work_time() {
    // OC-12, OC-13: a report every 0.4 s, with a settle timeout of 1 s.
    let push = Push::builder()
        .bind("mem://busy-for-ever")
        .settle_timeout(Some(Duration::from_secs(1)))
        .max_work_time(Some(Duration::from_secs(5)))
        .build()
        .await
        .unwrap();
    let pull =
        Pull::builder().connect("mem://busy-for-ever").window(Window::messages(10)).build().await.unwrap();
    push.send("stuck").await.unwrap();
    let stuck = pull.recv().await.unwrap().unwrap();
    let begun = tokio::time::Instant::now();
    let again = loop {
        stuck.working();
        tokio::select! {
            delivery = pull.recv() => break delivery.unwrap().unwrap(),
            () = tokio::time::sleep(Duration::from_millis(400)) => {}
        }
        assert!(begun.elapsed() < LONG, "it is held forever");
    };
    assert_eq!(again.attempt(), 2);
    assert!(begun.elapsed() >= Duration::from_secs(5), "and not before its time");
    assert_eq!(push.stats().timed_out, 1);
    again.ack();
    stuck.ack();
    push.finish(LONG).await.unwrap();
}
