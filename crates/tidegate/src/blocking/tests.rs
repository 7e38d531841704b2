//! Every call is refused on the thread that runs the links, without an effect.

use std::{sync::mpsc, time::Duration};

use tidegate_proto::Message;

use super::{BlockingError, BlockingSendError};
use crate::{BuildError, CannotBlock, Pull, Push};

const LONG: Duration = Duration::from_secs(60);
const ON_IO_THREAD: CannotBlock = CannotBlock::OnIoThread;

/// The message of a refused send.
fn refused<T: std::fmt::Debug, E: std::fmt::Debug>(result: Result<T, BlockingSendError<E>>) -> Message {
    match result.unwrap_err() {
        BlockingSendError::CannotBlock { message, reason: ON_IO_THREAD } => message,
        other => panic!("{other:?}"),
    }
}

fn is_refused<T: std::fmt::Debug, E: std::fmt::Debug>(result: Result<T, BlockingError<E>>) -> bool {
    matches!(result, Err(BlockingError::CannotBlock(ON_IO_THREAD)))
}

#[test]
fn no_call_blocks_the_thread_of_the_links() {
    let push = Push::builder().bind("mem://blocking-refused").blocking_build().unwrap();
    let pull = Pull::builder().connect("mem://blocking-refused").blocking_build().unwrap();
    let receipts = [(); 2].map(|()| push.blocking_send_tracked("job").unwrap());
    let handle = push.shared().runtime.handle.clone();
    let (done, ended) = mpsc::channel();
    let (there, other) = (push.clone(), pull.clone());
    handle.spawn(async move {
        let (push, pull) = (there, other);
        assert_eq!(refused(push.blocking_send(vec![1; 100_000])).size(), 100_000);
        assert_eq!(refused(push.blocking_send("x")).payload(), "x");
        assert_eq!(refused(push.blocking_send_timeout("x", LONG)).payload(), "x");
        assert_eq!(refused(push.blocking_send_tracked("x")).payload(), "x");
        assert_eq!(refused(push.blocking_send_tracked_timeout("x", LONG)).payload(), "x");
        let mut messages = ["x", "y"].into_iter();
        assert_eq!(refused(push.blocking_send_all(&mut messages)).payload(), "x");
        assert_eq!(messages.next(), Some("y"));
        assert_eq!(push.blocking_send_all([""; 0]).unwrap(), 0);
        assert!(is_refused(push.blocking_reserve()));
        assert!(is_refused(push.blocking_reserve_timeout(LONG)));
        assert!(is_refused(push.blocking_connected(9)));
        assert!(is_refused(push.blocking_drain(LONG)));
        assert!(is_refused(push.blocking_finish(LONG)));
        assert_eq!(push.blocking_flush(), Err(ON_IO_THREAD));
        assert_eq!(push.blocking_abort().unwrap_err(), ON_IO_THREAD);
        assert_eq!(push.events().blocking_recv(), Err(ON_IO_THREAD));
        assert_eq!(push.events().blocking_recv_timeout(LONG), Err(ON_IO_THREAD));
        assert_eq!(push.rejections().blocking_recv(), Err(ON_IO_THREAD));
        assert_eq!(push.rejections().blocking_recv_timeout(LONG), Err(ON_IO_THREAD));
        assert!(is_refused(pull.blocking_recv()));
        assert!(is_refused(pull.blocking_recv_timeout(LONG)));
        assert!(is_refused(pull.blocking_recv_many(&mut Vec::new(), 9)));
        assert!(is_refused(pull.blocking_connected(9)));
        assert!(is_refused(pull.blocking_leave(LONG)));
        assert_eq!(pull.events().blocking_recv(), Err(ON_IO_THREAD));
        let [first, mut second] = receipts;
        assert!(is_refused(first.blocking_wait()));
        assert!(second.blocking_wait_timeout(LONG).is_some_and(is_refused));
        let built: Result<_, BlockingError<BuildError>> =
            Push::builder().bind("mem://blocking-refused-too").blocking_build();
        assert!(is_refused(built));
        assert!(is_refused(Pull::builder().connect("mem://blocking-refused").blocking_build()));
        done.send(second).unwrap();
    });
    let mut second = ended.recv_timeout(LONG).expect("an assertion has failed, or a call hangs");
    // None of these calls had an effect.
    for _ in 0..2 {
        pull.blocking_recv().unwrap().unwrap().ack();
    }
    for _ in 0..2 {
        assert_eq!(second.blocking_wait_timeout(LONG), Some(Ok(())), "the outcome is kept");
    }
    second.blocking_wait().unwrap();
    let stats = push.blocking_finish(LONG).unwrap();
    assert_eq!((stats.accepted, stats.acked), (2, 2));
}
