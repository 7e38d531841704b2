//! Whole links of a pusher.

use serde_json::Value;
use tidegate_proto::{Code, Rule, wire::v1::Role};

use super::{
    super::script::{
        accept, answer, app_end, app_finish, app_send, at_least, close, closed, connect, delivery,
        disconnected, end, expect, expect_nothing, graceful_pusher, greeting, pusher, send, skip,
    },
    QUIET, Sequence, sequence, silence,
};

const PUSHERS: &[&str] = &["pusher-core", "pusher-full"];
const FULL_PUSHER: &[&str] = &["pusher-full"];

/// The scripts for pushers: ordinary links, lost ones, and the reconnect grace.
pub(super) fn sequences() -> Vec<Sequence> {
    let mut all = pushers();
    all.extend(losses());
    all.extend(graces());
    all
}

/// A puller connects to the peer, which is a pusher.
fn puller_connects(connection: &str, hello: &str) -> [Value; 3] {
    [
        connect(connection),
        send(connection, &["preface", hello]),
        expect(connection, vec![answer(Role::Pusher)]),
    ]
}

/// The peer, a pusher, connects, and is accepted.
fn pusher_is_accepted(connection: &str, generation: Value, hello: &str) -> [Value; 3] {
    [
        accept(connection),
        expect(connection, vec![greeting(Role::Pusher, generation)]),
        send(connection, &["preface", hello]),
    ]
}

fn done(connection: &str) -> Value {
    expect(connection, vec![end(), closed(Code::Normal)])
}

fn pushers() -> Vec<Sequence> {
    let first = || pusher_is_accepted("A", "1".into(), "hello-puller").to_vec();
    let three = |attempt| {
        vec![
            delivery(0, "n0", attempt, 100),
            delivery(1, "n1", attempt, 100),
            delivery(2, "n2", attempt, 100),
        ]
    };
    vec![
        sequence(
            "pusher-credit",
            PUSHERS,
            &[Rule::Cr1, Rule::Cr2, Rule::Rc1, Rule::Dl1],
            "The worked example of SPEC.md, section 4",
            pusher("connector"),
            [
                first(),
                vec![
                    app_send(5, 300),
                    send("A", &["grant-4-1000"]),
                    expect("A", (0..4).map(|id| delivery(id, &format!("n{id}"), 1, 300)).collect()),
                    expect_nothing("A", QUIET),
                    send("A", &["ack-0-1"]),
                    expect("A", vec![delivery(4, "n4", 1, 300)]),
                    send("A", &["recall-6-1600"]),
                    expect("A", vec![skip(6, 100)]),
                    app_send(1, 300),
                    expect_nothing("A", QUIET),
                    send("A", &["ack-2-4"]),
                    expect("A", vec![delivery(6, "n5", 1, 300)]),
                ],
            ]
            .concat(),
        ),
        sequence(
            "pusher-acceptor-generation",
            PUSHERS,
            &[Rule::Hs9],
            "A connector ignores the generation and the resume of an acceptor",
            pusher("connector"),
            [
                pusher_is_accepted("A", "1".into(), "hello-puller-odd").to_vec(),
                vec![
                    app_send(1, 300),
                    send("A", &["grant-4-1000"]),
                    expect("A", vec![delivery(0, "n0", 1, 300)]),
                ],
            ]
            .concat(),
        ),
        sequence(
            "pusher-recall-while-leaving",
            PUSHERS,
            &[Rule::Rc1, Rule::Rc2, Rule::St1, Rule::Oc8],
            "A recall and leaving in one write: each gets its own Skip. Released messages keep their attempt",
            pusher("connector"),
            [
                first(),
                vec![
                    send("A", &["grant-4-1000"]),
                    app_send(2, 100),
                    expect("A", three(1)[..2].to_vec()),
                    send("A", &["recall-4-1000", "leaving-4-1000"]),
                    expect("A", vec![skip(4, 800), skip(4, 0)]),
                    app_send(1, 100),
                    expect_nothing("A", QUIET),
                    send("A", &["recall-4-1000"]),
                    expect("A", vec![skip(4, 0)]),
                    send("A", &["release-0-1", "close"]),
                    expect("A", vec![closed(Code::Normal)]),
                ],
                pusher_is_accepted("B", at_least(2), "hello-puller").to_vec(),
                vec![send("B", &["grant-4-1000"]), expect("B", three(1))],
            ]
            .concat(),
        ),
        sequence(
            "pusher-verdicts",
            PUSHERS,
            &[Rule::Oc1, Rule::Oc6, Rule::Oc8, Rule::Oc9, Rule::Dl3],
            "One of each outcome: the released message is sent at once, the nacked one after its delay, as attempt 2",
            pusher("connector"),
            [
                first(),
                vec![
                    send("A", &["grant-4-1000"]),
                    app_send(4, 100),
                    expect("A", (0..4).map(|id| delivery(id, &format!("n{id}"), 1, 100)).collect()),
                    send("A", &["four-verdicts"]),
                    expect("A", vec![delivery(4, "n3", 1, 100)]),
                    expect("A", vec![delivery(5, "n1", 2, 100)]),
                    expect_nothing("A", QUIET),
                ],
            ]
            .concat(),
        ),
        sequence(
            "pusher-end-waits",
            PUSHERS,
            &[Rule::St2, Rule::St4],
            "A pusher that finishes with work in hand: it sends End only when nothing is un-acked on any link",
            pusher("acceptor"),
            [
                puller_connects("A", "hello-puller-connects").to_vec(),
                puller_connects("B", "hello-puller-other").to_vec(),
                vec![
                    send("A", &["grant-1-1000"]),
                    app_send(1, 100),
                    expect("A", vec![delivery(0, "n0", 1, 100)]),
                    send("B", &["grant-1-1000"]),
                    app_send(1, 100),
                    expect("B", vec![delivery(0, "n1", 1, 100)]),
                    app_finish(),
                    send("A", &["ack-0-limit-2"]),
                    expect_nothing("A", QUIET),
                    send("B", &["nack-0"]),
                    expect("A", vec![delivery(1, "n1", 2, 100)]),
                    expect_nothing("B", QUIET),
                    send("A", &["ack-1-limit-2"]),
                    done("A"),
                    done("B"),
                    send("A", &["close"]),
                    send("B", &["close"]),
                    expect("A", vec![disconnected()]),
                    expect("B", vec![disconnected()]),
                    app_end(),
                ],
            ]
            .concat(),
        ),
        sequence(
            "pusher-silent-puller",
            PUSHERS,
            &[Rule::Lv3],
            "A puller that promises a frame every 500 ms, and sends none",
            pusher("acceptor"),
            [puller_connects("A", "hello-puller-500-ms").to_vec(), silence()].concat(),
        ),
    ]
}

/// Three deliveries of 100 bytes.
fn messages(attempt: u32) -> Vec<Value> {
    (0..3).map(|id| delivery(id, &format!("n{id}"), attempt, 100)).collect()
}

fn losses() -> Vec<Sequence> {
    vec![sequence(
        "pusher-lost-link",
        PUSHERS,
        &[Rule::Rd1, Rule::Rd3, Rule::Dl3],
        "A link ends without Close: its messages go to the other one, in the order of their numbers, as attempt 2",
        pusher("acceptor"),
        [
            puller_connects("A", "hello-puller-connects").to_vec(),
            puller_connects("B", "hello-puller-other").to_vec(),
            vec![
                send("A", &["grant-4-1000"]),
                app_send(3, 100),
                expect("A", messages(1)),
                send("A", &["ack-0-limit-1"]),
                send("B", &["grant-4-1000"]),
                expect_nothing("B", QUIET),
                close("A"),
                expect("B", vec![delivery(0, "n1", 2, 100), delivery(1, "n2", 2, 100)]),
            ],
        ]
        .concat(),
    )]
}

fn graces() -> Vec<Sequence> {
    let lost = || {
        [
            puller_connects("A", "hello-puller-connects").to_vec(),
            vec![send("A", &["grant-4-1000"]), app_send(3, 100), expect("A", messages(1)), close("A")],
        ]
        .concat()
    };
    let returned = || {
        [
            puller_connects("C", "hello-puller-connects-2").to_vec(),
            vec![
                send("C", &["grant-4-1000"]),
                expect("C", messages(2)),
                send("C", &["ack-0-2"]),
                expect_nothing("C", QUIET),
            ],
        ]
        .concat()
    };
    vec![
        sequence(
            "pusher-grace",
            FULL_PUSHER,
            &[Rule::Rd8, Rule::Hs9],
            "A puller reconnects within the grace: it gets its messages again, and the other puller gets none",
            graceful_pusher("acceptor"),
            [
                lost(),
                puller_connects("B", "hello-puller-other").to_vec(),
                vec![send("B", &["grant-4-1000"]), expect_nothing("B", QUIET)],
                returned(),
                vec![expect_nothing("B", QUIET), app_finish(), done("B"), done("C")],
            ]
            .concat(),
        ),
        sequence(
            "pusher-grace-forged",
            FULL_PUSHER,
            &[Rule::Rd8, Rule::Hs9],
            "A peer that sends the instance of a lost puller, but not its resume, does not get its messages",
            graceful_pusher("acceptor"),
            [
                lost(),
                puller_connects("B", "hello-puller-forged").to_vec(),
                vec![send("B", &["grant-4-1000"]), expect_nothing("B", QUIET)],
                returned(),
                vec![expect_nothing("B", QUIET)],
            ]
            .concat(),
        ),
        sequence(
            "pusher-grace-connector",
            FULL_PUSHER,
            &[Rule::Rd6, Rule::Rd8, Rule::Hs9],
            "A pusher reconnects with the same resume and a higher generation, and sends the messages again",
            graceful_pusher("connector"),
            [
                pusher_is_accepted("A", "1".into(), "hello-puller").to_vec(),
                vec![send("A", &["grant-4-1000"]), app_send(3, 100), expect("A", messages(1)), close("A")],
                pusher_is_accepted("B", at_least(2), "hello-puller").to_vec(),
                vec![send("B", &["grant-4-1000"]), expect("B", messages(2))],
            ]
            .concat(),
        ),
    ]
}
