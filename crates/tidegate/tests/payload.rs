//! What can be sent: every type of payload, in every form of sending, whether it is copied at once or has to wait.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

mod common;

use std::{
    borrow::Cow,
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use common::{LONG, within};
use tidegate::{Message, Payload, Pull, Push, SendError, TrySendError, Window};

/// The forms of sending.
const FORMS: usize = 8;

async fn send(push: &Push, form: usize, payload: impl Payload) {
    match form {
        0 => push.send(payload).await.unwrap(),
        1 => push.try_send(payload).unwrap(),
        2 => push.send_timeout(payload, LONG).await.unwrap(),
        3 => drop(push.send_tracked(payload).await.unwrap()),
        4 => drop(push.try_send_tracked(payload).unwrap()),
        5 => push.reserve().await.unwrap().send(payload).unwrap(),
        6 => drop(push.try_reserve().unwrap().send_tracked(payload).unwrap()),
        _ => assert_eq!(push.send_all([payload]).await.unwrap(), 1),
    }
}

/// Sends the text `rope` as each type.
async fn send_each_type(push: &Push, form: usize) -> u64 {
    let (text, array) = ("rope", *b"rope");
    let (vec, string) = (text.as_bytes().to_vec(), text.to_owned());
    let (bytes, message) = (Bytes::from(vec.clone()), Message::from(text));
    send(push, form, text).await;
    send(push, form, &string).await;
    send(push, form, string.clone().into_boxed_str()).await;
    send(push, form, Cow::Borrowed(text)).await;
    send(push, form, Cow::<str>::Owned(string.clone())).await;
    send(push, form, string).await;
    send(push, form, &vec[..]).await;
    send(push, form, &vec).await;
    send(push, form, vec.clone().into_boxed_slice()).await;
    send(push, form, Cow::Borrowed(&vec[..])).await;
    send(push, form, BytesMut::from(&vec[..])).await;
    send(push, form, vec).await;
    send(push, form, &array).await;
    send(push, form, array).await;
    send(push, form, &bytes).await;
    send(push, form, bytes).await;
    send(push, form, &message).await;
    send(push, form, message).await;
    18
}

async fn build(name: &str) -> (Push, String) {
    let at = format!("mem://payload-{name}");
    (Push::builder().bind(&at).build().await.unwrap(), at)
}

async fn link(push: &Push, at: &str) -> Pull {
    let pull = Pull::builder().connect(at).window(Window::messages(100)).build().await.unwrap();
    within(push.connected(1)).await.unwrap();
    within(async {
        while push.link_stats()[0].credit_messages == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    pull
}

#[tokio::test]
async fn every_type_arrives_unchanged_from_every_form_at_once_and_from_the_queue() {
    for form in 0..FORMS {
        for waits in [false, true] {
            let (push, at) = build(&format!("types-{form}-{waits}")).await;
            let mut pull = None;
            if !waits {
                pull = Some(link(&push, &at).await);
            }
            let count = within(send_each_type(&push, form)).await;
            let stats = push.stats();
            assert_eq!((stats.accepted, stats.accepted_bytes), (count, 4 * count), "form {form}");
            assert_eq!(stats.queued, if waits { count } else { 0 }, "form {form}");
            let pull = match pull {
                Some(pull) => pull,
                None => link(&push, &at).await,
            };
            for n in 0..count {
                let delivery = within(pull.recv()).await.unwrap().unwrap();
                assert_eq!(delivery.payload(), b"rope", "form {form}, type {n}");
                delivery.ack();
            }
            let stats = within(push.finish(LONG)).await.unwrap();
            assert_eq!((stats.acked, stats.held_bytes), (count, 0), "form {form}");
        }
    }
}

#[tokio::test]
async fn payloads_of_all_sizes_arrive_from_every_form_even_if_the_buffer_is_used_again() {
    const SIZES: [usize; 6] = [0, 1, 127, 16 * 1_024 - 1, 16 * 1_024, 100_000];
    for form in 0..FORMS {
        let (push, at) = build(&format!("sizes-{form}")).await;
        let pull = link(&push, &at).await;
        let mut buffer = Vec::new();
        for (n, size) in SIZES.into_iter().enumerate() {
            buffer.clear();
            buffer.resize(size, n as u8);
            within(send(&push, form, &buffer)).await;
        }
        buffer.fill(9);
        for (n, size) in SIZES.into_iter().enumerate() {
            let delivery = within(pull.recv()).await.unwrap().unwrap();
            assert_eq!(delivery.payload().len(), size, "form {form}");
            assert!(delivery.payload().iter().all(|byte| *byte == n as u8), "form {form}, size {size}");
            delivery.ack();
        }
        assert_eq!(within(push.finish(LONG)).await.unwrap().acked, SIZES.len() as u64);
    }
}

#[tokio::test]
async fn headers_are_kept_and_a_payload_that_is_not_plain_is_sent_as_its_message() {
    struct Job;
    impl Payload for Job {
        fn plain(&self) -> Option<&[u8]> {
            None
        }

        fn into_message(self) -> Message {
            Message::from("job").with_header("key", "17")
        }
    }
    for form in 0..FORMS {
        let (push, at) = build(&format!("headers-{form}")).await;
        let pull = link(&push, &at).await;
        let message = Message::from("job").with_header("key", "17");
        within(send(&push, form, Job)).await;
        within(send(&push, form, &message)).await;
        within(send(&push, form, message)).await;
        for _ in 0..3 {
            let delivery = within(pull.recv()).await.unwrap().unwrap();
            assert_eq!(delivery.payload(), b"job");
            assert_eq!(delivery.headers().get("key").unwrap(), "17", "form {form}");
            delivery.ack();
        }
        assert_eq!(within(push.finish(LONG)).await.unwrap().acked, 3);
    }
}

#[tokio::test]
async fn an_error_contains_a_borrowed_payload_whole() {
    let at = "mem://payload-errors";
    let push = Push::builder().bind(at).high_water_mark(0).max_message(5).build().await.unwrap();
    let word = "rope".to_owned();
    match push.try_send(&word) {
        Err(TrySendError::Full(message)) => assert_eq!(message.payload(), "rope"),
        other => panic!("{other:?}"),
    }
    match push.send_timeout(&word, Duration::from_millis(1)).await {
        Err(TrySendError::Full(message)) => assert_eq!(message.payload(), "rope"),
        other => panic!("{other:?}"),
    }
    let mut waits = push.send(&word);
    assert!(poll(&mut waits).await.is_pending());
    match within(push.send(b"too large")).await {
        Err(SendError::Invalid { message, .. }) => {
            assert_eq!(message.payload(), "too large", "it does not wait");
        }
        other => panic!("{other:?}"),
    }
    drop(waits);
    push.abort().await;
    match within(push.send(&word)).await {
        Err(SendError::Closed(message)) => assert_eq!(message.payload(), "rope"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn sending_all_keeps_the_room_of_a_permit() {
    let at = "mem://payload-permit";
    let push = Push::builder().bind(at).high_water_mark(1).build().await.unwrap();
    let pull = Pull::builder().connect(at).window(Window::messages(3)).build().await.unwrap();
    within(async {
        while push.link_stats().first().is_none_or(|link| link.credit_messages < 3) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let permit = push.try_reserve().unwrap();
    assert_eq!(within(push.send_all(["a", "b", "c"])).await.unwrap(), 3);
    assert!(matches!(push.try_send("d"), Err(TrySendError::Full(_))), "the permit has the only room");
    permit.send("d").unwrap();
    for expected in ["a", "b", "c", "d"] {
        let delivery = within(pull.recv()).await.unwrap().unwrap();
        assert_eq!(delivery.payload(), expected.as_bytes());
        delivery.ack();
    }
    assert_eq!(within(push.finish(LONG)).await.unwrap().acked, 4);
}

async fn poll<T>(work: &mut (impl Future<Output = T> + Unpin)) -> Poll<T> {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *work).poll(cx))).await
}

#[tokio::test]
async fn a_send_that_was_not_polled_or_not_completed_has_not_happened() {
    let (push, at) = build("cancelled").await;
    let pull = link(&push, &at).await;
    drop(push.send("never polled"));
    assert_eq!(push.stats().accepted, 0);
    let mut sent = push.send("polled");
    assert!(matches!(poll(&mut sent).await, Poll::Ready(Ok(()))));
    assert_eq!(push.stats().accepted, 1);
    assert!(poll(&mut sent).await.is_pending(), "after it has completed");
    drop(sent);
    assert_eq!(push.stats().accepted, 1, "once");
    within(pull.recv()).await.unwrap().unwrap().ack();

    let push = Push::builder().bind("mem://payload-waits").high_water_mark(0).build().await.unwrap();
    let mut waits = push.send("waits");
    assert!(poll(&mut waits).await.is_pending());
    assert_eq!(push.stats().waiting_sends, 1);
    drop(waits);
    assert_eq!((push.stats().waiting_sends, push.stats().accepted), (0, 0));
}

#[tokio::test]
async fn a_small_payload_is_freed_when_it_was_copied_and_a_large_one_when_it_is_settled() {
    for (size, copied) in [(100, true), (20_000, false)] {
        let (push, at) = build(&format!("freed-{size}")).await;
        let pull = link(&push, &at).await;
        let bytes = Bytes::from(vec![7; size]);
        within(push.send(&bytes)).await.unwrap();
        assert_eq!(bytes.is_unique(), copied);
        within(pull.recv()).await.unwrap().unwrap().ack();
        within(push.finish(LONG)).await.unwrap();
        assert!(bytes.is_unique());
    }
}

#[test]
fn the_future_of_a_send_is_small_and_can_move_to_another_thread() {
    fn size<F: Future + Send>(_: impl FnOnce(&'static Push) -> F) -> usize {
        size_of::<F>()
    }
    let pointer = size_of::<usize>();
    assert!(size(|push| push.send(&b"rope"[..])) <= 4 * pointer);
    assert!(size(|push| push.send(Bytes::new())) <= 6 * pointer);
    assert!(size(|push| push.send(Message::default())) <= 7 * pointer);
}
