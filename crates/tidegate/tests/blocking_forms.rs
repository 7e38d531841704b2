//! Which sockets, receipts and events have a blocking form, and that each form leads back to the async one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at once

mod common;

use common::{LONG, within_thread};
use tidegate::{CannotBlock, Event, Pull, PullBuilder, Push, PushBuilder};

fn push() -> PushBuilder {
    Push::builder()
}

fn pull() -> PullBuilder {
    Pull::builder()
}

#[tokio::test]
async fn without_a_thread_of_its_own_a_socket_has_no_blocking_form() {
    let push = push().bind("mem://no-thread").build().await.unwrap();
    let mut builder = pull().connect("mem://no-thread");
    let early = builder.events();
    let pull = builder.build().await.unwrap();
    let no = CannotBlock::NoIoThread;
    let error = push.blocking().unwrap_err();
    assert_eq!(error, no);
    assert!(error.to_string().contains("io_thread(true)"), "{error}");
    assert_eq!(pull.blocking().unwrap_err(), no);
    assert_eq!(push.events().blocking().unwrap_err().reason(), no);
    assert_eq!(early.blocking().unwrap_err().reason(), no);
    assert_eq!(push.rejections().blocking().unwrap_err().reason(), no);
    let receipt = push.send_tracked("x").await.unwrap();
    let error = receipt.blocking().unwrap_err();
    assert_eq!(error.reason(), no);
    pull.recv().await.unwrap().unwrap().ack();
    let mut receipt = error.into_inner(); // is not lost
    for _ in 0..2 {
        (&mut receipt).await.unwrap(); // with the same result again
    }
    assert_eq!(push.finish(LONG).await.unwrap().acked, 1);
}

#[test]
fn the_events_of_a_socket_have_its_proof_whatever_clones_of_its_builder_do() {
    within_thread(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut builder = push().bind("mem://clones");
        let (of_all, of_all_too) = (builder.events(), builder.events());
        let own = builder.clone().blocking_build().unwrap();
        assert!(of_all.blocking().is_ok(), "all sockets run on the thread");
        assert!(runtime.block_on(builder.build()).is_err(), "the endpoint is taken");
        let mut of_all = of_all_too.blocking().expect("a socket that was not built does not count");
        assert!(matches!(of_all.blocking_recv().unwrap(), Some(Event::Bound { .. })));

        let mut builder = pull().connect("mem://clones");
        let of_all = builder.events();
        let on_runtime = runtime.block_on(builder.clone().build()).unwrap();
        let on_thread = builder.blocking_build().unwrap();
        assert_eq!(on_runtime.events().blocking().unwrap_err().reason(), CannotBlock::NoIoThread);
        assert!(on_thread.events().into_async().blocking().is_ok());
        assert_eq!(
            of_all.blocking().unwrap_err().reason(),
            CannotBlock::NoIoThread,
            "one runs on the runtime"
        );
        own.blocking_abort().unwrap();
    });
}

#[test]
fn an_async_socket_on_the_thread_has_a_blocking_form_and_each_form_leads_back() {
    within_thread(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let push = runtime.block_on(push().bind("mem://both-forms").io_thread(true).build()).unwrap();
        let pull = runtime.block_on(pull().connect("mem://both-forms").io_thread(true).build()).unwrap();
        let blocking = (push.blocking().unwrap(), pull.blocking().unwrap());
        blocking.0.blocking_send("to async").unwrap();
        runtime.block_on(pull.recv()).unwrap().unwrap().ack();
        runtime.block_on(push.send("to blocking")).unwrap();
        let delivery = blocking.1.blocking_recv().unwrap().unwrap();
        assert_eq!(delivery.payload(), b"to blocking");
        delivery.ack();
        let receipt = blocking.0.blocking_send_tracked("x").unwrap().into_async();
        blocking.1.blocking_recv().unwrap().unwrap().ack();
        runtime.block_on(receipt).unwrap();
        runtime.block_on(blocking.0.into_async().finish(LONG)).unwrap();
        assert!(runtime.block_on(blocking.1.into_async().recv()).unwrap().is_none());
    });
}
