//! Recognition of peers: only by their keys (HS-9).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use bytes::Bytes;
use tidegate_proto::{
    Code, LinkId, Machine, Message, Peer, PeerKey, Puller, Pusher, Role, Time, Verdict,
    wire::v1::{self, frame::Body as Frame},
};
use tidegate_testkit::{ack, close_of, frame, peer, puller, pusher, sent};

/// A peer with this generation, and always the same instance.
fn known(role: Role, key: Option<u128>, generation: u64) -> Peer {
    Peer { key: key.map(PeerKey::new), ..peer(role, 1, Some((0, generation))) }
}

/// One message, at this attempt.
fn deliver(number: u64, attempt: u32) -> Bytes {
    let message = v1::Message { attempt, payload: Bytes::from_static(b"m"), ..Default::default() };
    frame(Frame::Deliver(v1::Deliver { first_id: 0, first_number: number, messages: vec![message] }))
}

#[test]
fn hs_9_only_a_link_of_the_same_key_is_replaced() {
    // HS-9
    let (mut pusher, mut puller) = (pusher(|_| ()), puller(|_| ()));
    for (role, machine) in
        [(Role::Puller, &mut pusher as &mut dyn Machine), (Role::Pusher, &mut puller as &mut dyn Machine)]
    {
        let mut open = |key, generation| machine.open(Time(0), known(role, key, generation));
        let links: Vec<LinkId> = [None, None, Some(1), Some(2)]
            .into_iter()
            .zip([9, 9, 9, 1])
            .map(|(key, generation)| open(key, generation).unwrap())
            .collect();
        assert_eq!(open(Some(2), 1).unwrap_err().code, Code::Stale);
        open(None, 1).unwrap();
        open(Some(2), 2).unwrap();
        // For a connector, a link to the same acceptor replaces no other one.
        machine.open(Time(0), Peer { generation: None, ..known(role, Some(1), 1) }).unwrap();
        let replaced = links.iter().map(|link| is_replaced(machine, *link)).collect::<Vec<_>>();
        assert_eq!(replaced, [false, false, false, true]);
    }
}

/// Whether a machine closes a link with REPLACED.
fn is_replaced(machine: &mut dyn Machine, link: LinkId) -> bool {
    let mut out = std::collections::VecDeque::new();
    machine.poll_transmit(Time(0), link, &mut out);
    out.iter().any(|bytes| bytes.windows(5).any(|window| window == b"newer"))
}

/// A pusher that has lost a link of this key, with a message in flight.
fn lost(key: Option<u128>) -> Pusher {
    let mut pusher = pusher(|_| ());
    let link = pusher.open(Time(0), known(Role::Puller, key, 1)).unwrap();
    pusher.handle_frame(Time(0), link, ack(Vec::new(), 10, 1 << 20));
    pusher.send(Message::new("m"), false).unwrap();
    assert_eq!(sent(&mut pusher, Time(0), link).len(), 1);
    pusher.handle_link_lost(Time(0), link, "cut");
    pusher
}

#[test]
fn rd_8_there_is_grace_for_the_same_key_and_none_without_one() {
    // RD-8
    let waits = |pusher: &Pusher| pusher.stats().in_grace;
    assert_eq!(waits(&lost(None)), 0);
    let mut pusher = lost(Some(1));
    assert_eq!(waits(&pusher), 1);
    for other in [None, Some(2)] {
        let link = pusher.open(Time(0), known(Role::Puller, other, 2)).unwrap();
        pusher.handle_frame(Time(0), link, ack(Vec::new(), 10, 1 << 20));
        assert_eq!((waits(&pusher), sent(&mut pusher, Time(0), link).len()), (1, 0));
    }
    let link = pusher.open(Time(0), known(Role::Puller, Some(1), 2)).unwrap();
    pusher.handle_frame(Time(0), link, ack(Vec::new(), 10, 1 << 20));
    assert_eq!(sent(&mut pusher, Time(0), link).len(), 1);
    assert!(close_of(&mut pusher, Time(0), link).is_none());
}

/// Whether a message that was acked on a link of the key `first`, and redelivered on one of the key `then`, is
/// processed again.
fn is_run_again(first: Option<u128>, then: Option<u128>) -> bool {
    let mut puller: Puller = puller(|_| ());
    let link = puller.open(Time(0), known(Role::Pusher, first, 1)).unwrap();
    sent(&mut puller, Time(0), link);
    puller.handle_frame(Time(0), link, deliver(5, 0));
    let received = puller.recv().unwrap();
    puller.settle(&received, &Verdict::Ack);
    sent(&mut puller, Time(0), link);
    puller.handle_link_lost(Time(0), link, "cut");
    let link = puller.open(Time(0), known(Role::Pusher, then, 2)).unwrap();
    sent(&mut puller, Time(0), link);
    puller.handle_frame(Time(0), link, deliver(5, 2));
    let again = puller.recv().is_some();
    assert_eq!(puller.stats().duplicates_suppressed, u64::from(!again));
    again
}

#[test]
fn rd_9_duplicates_are_those_of_the_same_key_and_there_are_none_without_one() {
    // RD-9
    assert!(!is_run_again(Some(1), Some(1)));
    assert!(is_run_again(Some(1), Some(2)));
    assert!(is_run_again(Some(1), None));
    assert!(is_run_again(None, Some(1)));
    assert!(is_run_again(None, None));
}
