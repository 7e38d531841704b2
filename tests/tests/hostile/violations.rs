//! Violations of credit and acks over real sockets. `tests/vectors/bad` has more violations, without sockets.

use tidegate::{Code, Window};
use tidegate_proto::{
    Role, Rule,
    wire::{
        Body,
        v1::{self, Verdict, frame::Body as Frame},
    },
};
use tidegate_tests::hostile::raw::{Raw, ack, deliver, outcome};

use crate::job::{self, STRANGE, closed_by, link};

fn is_deliver(body: &Body) -> Option<()> {
    matches!(body, Body::Deliver(_)).then_some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_impossible_ack_closes_its_link_and_no_other() {
    // OC-2, OC-10, FR-5, ER-1
    job::pusher(
        10_000,
        false,
        |push| push,
        |at| {
            let odd = |verdict| v1::Outcome { verdict, ..outcome(0, 1, Verdict::Ack) };
            let cases = [
                (vec![outcome(1, 1, Verdict::Ack)], Code::UnknownDelivery, Rule::Oc2),
                (vec![outcome(0, 2, Verdict::Release)], Code::UnknownDelivery, Rule::Oc2),
                (vec![outcome((1 << 53) - 2, 1, Verdict::Nack)], Code::UnknownDelivery, Rule::Oc2),
                (vec![outcome(0, 0, Verdict::Ack)], Code::Malformed, Rule::Oc10),
                (vec![outcome(u64::MAX, 2, Verdict::Ack)], Code::Malformed, Rule::Oc10),
                (vec![odd(0)], Code::Malformed, Rule::Oc10),
                (vec![odd(5)], Code::Malformed, Rule::Oc10),
                // The valid outcome before it has no effect: the message is not lost.
                (
                    vec![outcome(0, 1, Verdict::Ack), outcome(7, 1, Verdict::Ack)],
                    Code::UnknownDelivery,
                    Rule::Oc2,
                ),
            ];
            for (instance, (outcomes, code, rule)) in cases.into_iter().enumerate() {
                let mut raw = link(at, Role::Puller, 10 + instance as u8);
                raw.send(ack(Vec::new(), (1, 1))).unwrap();
                raw.until(is_deliver).unwrap();
                raw.send(ack(outcomes, (1, 1))).unwrap();
                assert_eq!(closed_by(&mut raw, rule), code);
            }
            for (instance, frame) in [
                (30, deliver(0, &[STRANGE])),
                (31, Frame::Skip(v1::Skip { next_id: 0, bytes: 0 })),
                (32, Frame::End(v1::End {})),
                (33, Frame::Hello(v1::Hello::default())),
            ] {
                let mut raw = link(at, Role::Puller, instance);
                raw.send(frame).unwrap();
                assert_eq!(closed_by(&mut raw, Rule::Fr5), Code::Unexpected);
            }
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ack_for_a_skipped_delivery_closes_its_link() {
    // OC-2, RC-1
    job::pusher(
        2_000,
        true,
        |push| push,
        |at| {
            let mut raw = link(at, Role::Puller, 1);
            // The recall is in the same Ack as the limits, so that nothing can be delivered in between (OC-4).
            let recall = v1::Ack { message_limit: 10, byte_limit: 100, recall: true, ..v1::Ack::default() };
            raw.send(Frame::Ack(recall)).unwrap();
            let skip =
                raw.until(|body| if let Body::Skip(skip) = body { Some(*skip) } else { None }).unwrap();
            assert_eq!(skip, v1::Skip { next_id: 10, bytes: 100 });
            raw.send(ack(vec![outcome(9, 1, Verdict::Ack)], (10, 100))).unwrap();
            assert_eq!(closed_by(&mut raw, Rule::Oc2), Code::UnknownDelivery);
        },
    )
    .await;
}

/// A pusher's link with its first grant: messages and bytes.
fn granted(at: std::net::SocketAddr, instance: u8) -> (Raw, u64, u64) {
    let mut raw = link(at, Role::Pusher, instance);
    let limits = |body: &Body| match body {
        Body::Ack(ack) if ack.message_limit > 0 => Some((ack.message_limit, ack.byte_limit)),
        _ => None,
    };
    let (messages, bytes) = raw.until(limits).unwrap();
    (raw, messages, bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_credit_violation_closes_its_link_and_no_other() {
    // CR-2, CR-3, DL-1, RC-3, FR-5, ST-7, ER-1
    job::puller(
        10_000,
        |pull| pull.window(Window::fixed(4, 1_000)),
        |at| {
            // A delivery at the limit is valid. The window belongs to the socket, so no link has more than all of it.
            let (mut raw, messages, bytes) = granted(at, 1);
            assert!((1..=4).contains(&messages) && (1..=1_000).contains(&bytes), "{messages}, {bytes}");
            raw.send(deliver(0, &vec![STRANGE; messages as usize])).unwrap();
            let settled = |body: &Body| match body {
                Body::Ack(ack) => ack.outcomes.iter().any(|o| o.first + o.count == messages).then_some(()),
                _ => None,
            };
            raw.until(settled).unwrap();
            let (mut raw, ..) = granted(at, 2);
            raw.send(deliver(0, &[STRANGE; 5])).unwrap();
            assert_eq!(closed_by(&mut raw, Rule::Cr3), Code::Credit);
            // Two messages use the bytes up; a third is one too many.
            let (mut raw, ..) = granted(at, 3);
            raw.send(deliver(0, &[&[0; 500], &[0; 500], &[0; 500]])).unwrap();
            assert_eq!(closed_by(&mut raw, Rule::Cr3), Code::Credit);
            for (instance, frame, code, rule) in [
                (4, deliver(1, &[STRANGE]), Code::Malformed, Rule::Dl1),
                (6, ack(Vec::new(), (1, 1)), Code::Unexpected, Rule::Fr5),
                (7, Frame::Hello(v1::Hello::default()), Code::Unexpected, Rule::Fr5),
            ] {
                let (mut raw, ..) = granted(at, instance);
                raw.send(frame).unwrap();
                assert_eq!(closed_by(&mut raw, rule), code);
            }
            let (mut raw, ..) = granted(at, 5);
            raw.send(Frame::Skip(v1::Skip { next_id: 9, bytes: 1 })).unwrap();
            // If the other link needs the credit, there is a recall, and this Skip gives up too much.
            assert!(matches!(closed_by(&mut raw, Rule::Rc3), Code::Unexpected | Code::Credit));
            let (mut raw, ..) = granted(at, 8);
            raw.send(Frame::End(v1::End {})).unwrap();
            raw.send(deliver(0, &[STRANGE])).unwrap();
            assert_eq!(closed_by(&mut raw, Rule::St7), Code::Unexpected);
        },
    )
    .await;
}
