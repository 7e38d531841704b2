//! Whole links of a puller.

use serde_json::{Value, json};
use tidegate_proto::{
    Code, Rule,
    wire::v1::{Role, Verdict},
};

use super::{
    super::{
        parts::PING,
        script::{
            answer, app_end, app_leave, app_receive, app_receive_nothing, app_settle, app_settle_with,
            at_least, close, closed, connect, disconnected, expect, expect_in_any_order, expect_nothing,
            leaving, limits, outcome, pong, puller, send,
        },
    },
    QUIET, Sequence, sequence, silence,
};

const PULLERS: &[&str] = &["puller-core", "puller-full"];
const FULL_PULLER: &[&str] = &["puller-full"];

/// The scripts for pullers: ordinary links, what a puller returns, and the end of a stream.
pub(super) fn sequences() -> Vec<Sequence> {
    let mut all = pullers();
    all.extend(returns());
    all.extend(ends());
    all
}

/// A pusher connects to the peer, which is a puller.
fn pusher_connects(connection: &str, hello: &str) -> [Value; 3] {
    [
        connect(connection),
        send(connection, &["preface", hello]),
        expect(connection, vec![answer(Role::Puller)]),
    ]
}

fn pullers() -> Vec<Sequence> {
    vec![
        sequence(
            "puller-credit",
            PULLERS,
            &[Rule::Cr5, Rule::Cr10, Rule::Dl7, Rule::Oc1, Rule::Oc5, Rule::Oc7],
            "Grants without being asked; each outcome makes room. Outcomes may come in any order",
            puller(),
            [
                pusher_connects("A", "hello-pusher").to_vec(),
                vec![
                    expect("A", vec![limits(4, 1_000)]),
                    send("A", &["deliver-4x250"]),
                    app_receive("d0", 0, 1),
                    app_receive("d1", 1, 1),
                    app_receive("d2", 2, 1),
                    app_receive("d3", 3, 1),
                    app_settle("d0", Verdict::Ack),
                    expect("A", vec![outcome(0, Verdict::Ack)]),
                    app_settle("d1", Verdict::Ack),
                    expect("A", vec![outcome(1, Verdict::Ack), limits(6, 1_500)]),
                    app_settle_with("d3", Verdict::Nack, 1_500, "database is down"),
                    expect(
                        "A",
                        vec![json!({ "outcome": {
                            "delivery": "3", "verdict": "VERDICT_NACK", "delay_ms": 1_500, "reason": "database is down",
                        }})],
                    ),
                    app_settle_with("d2", Verdict::Reject, 0, "not a job"),
                    expect(
                        "A",
                        vec![
                            json!({ "outcome": {
                                "delivery": "2", "verdict": "VERDICT_REJECT", "reason": "not a job",
                            }}),
                            limits(8, 2_000),
                        ],
                    ),
                ],
            ]
            .concat(),
        ),
        sequence(
            "puller-leaving",
            FULL_PULLER,
            &[Rule::St1, Rule::Rc4, Rule::Cr1],
            "The worked example of SPEC.md, section 9",
            puller(),
            [
                pusher_connects("A", "hello-pusher").to_vec(),
                vec![
                    expect("A", vec![limits(4, 1_000)]),
                    send("A", &["deliver-3x100"]),
                    app_receive("d0", 10, 1),
                    app_leave(),
                    expect("A", vec![leaving()]),
                    expect_nothing("A", QUIET),
                    send("A", &["deliver-id-3", "skip-4-600"]),
                    expect_in_any_order("A", (1..4).map(|id| outcome(id, Verdict::Release)).collect()),
                    expect_nothing("A", QUIET),
                    app_settle("d0", Verdict::Ack),
                    expect("A", vec![outcome(0, Verdict::Ack), closed(Code::Normal)]),
                    send("A", &["close"]),
                    expect("A", vec![disconnected()]),
                    app_end(),
                ],
            ]
            .concat(),
        ),
        sequence(
            "puller-silent-pusher",
            PULLERS,
            &[Rule::Lv3],
            "A pusher that promises a frame every 500 ms, and sends none",
            puller(),
            [
                pusher_connects("A", "hello-pusher-500-ms").to_vec(),
                silence(),
            ]
            .concat(),
        ),
    ]
}

/// A pusher connects, and the application has received its first message, number 10, as `d0`.
fn received(rest: Vec<Value>) -> Vec<Value> {
    [
        pusher_connects("A", "hello-pusher").to_vec(),
        vec![expect("A", vec![limits(4, 1_000)]), send("A", &["deliver-1x100"]), app_receive("d0", 10, 1)],
        rest,
    ]
    .concat()
}

fn room(messages: u64) -> Value {
    json!({ "limits": { "message_limit": at_least(messages) } })
}

fn returns() -> Vec<Sequence> {
    vec![
        sequence(
            "puller-reconnect",
            FULL_PULLER,
            &[Rule::Rd5, Rule::Rd9, Rule::Hs9],
            "SPEC.md's example of section 8: messages that were acked or are being worked on are not handed out again",
            puller(),
            [
                pusher_connects("A", "hello-pusher").to_vec(),
                vec![
                    expect("A", vec![limits(4, 1_000)]),
                    send("A", &["deliver-3x100"]),
                    app_receive("d0", 10, 1),
                    app_receive("d1", 11, 1),
                    app_settle("d0", Verdict::Ack),
                    expect("A", vec![outcome(0, Verdict::Ack)]),
                    close("A"),
                ],
                pusher_connects("B", "hello-pusher-2").to_vec(),
                vec![
                    expect("B", vec![room(3)]),
                    send("B", &["deliver-3x100-again"]),
                    expect("B", vec![outcome(0, Verdict::Ack)]),
                    app_receive("d2", 12, 2),
                    app_receive_nothing(QUIET),
                    app_settle("d1", Verdict::Ack),
                    expect("B", vec![outcome(1, Verdict::Ack)]),
                    app_settle("d2", Verdict::Ack),
                    expect("B", vec![outcome(2, Verdict::Ack)]),
                ],
            ]
            .concat(),
        ),
        sequence(
            "puller-redelivery",
            PULLERS,
            &[Rule::Rd1, Rule::Hs9],
            "A peer without resume is never recognized: a message that comes again is handed out again, as attempt 2",
            puller(),
            [
                pusher_connects("A", "hello-pusher-no-resume").to_vec(),
                vec![
                    expect("A", vec![limits(4, 1_000)]),
                    send("A", &["deliver-1x100"]),
                    app_receive("d0", 10, 1),
                    app_settle("d0", Verdict::Ack),
                    expect("A", vec![outcome(0, Verdict::Ack)]),
                    close("A"),
                ],
                pusher_connects("B", "hello-pusher-no-resume").to_vec(),
                vec![
                    expect("B", vec![room(1)]),
                    send("B", &["deliver-1x100-again"]),
                    app_receive("d1", 10, 2),
                ],
            ]
            .concat(),
        ),
        sequence(
            "puller-forged",
            PULLERS,
            &[Rule::Rd9, Rule::Hs9],
            "The instance and numbers of a pusher without its resume: no link is replaced, no message is suppressed",
            puller(),
            received(
                [
                    vec![app_settle("d0", Verdict::Ack), expect("A", vec![outcome(0, Verdict::Ack)])],
                    pusher_connects("B", "hello-pusher-forged").to_vec(),
                    vec![
                        send("A", &["ping"]),
                        expect("A", vec![pong(PING)]),
                        close("A"),
                        expect("B", vec![room(1)]),
                        send("B", &["deliver-1x100-again"]),
                        app_receive("d1", 10, 2),
                        app_settle("d1", Verdict::Ack),
                        expect("B", vec![outcome(0, Verdict::Ack)]),
                    ],
                ]
                .concat(),
            ),
        ),
        sequence(
            "puller-replaced",
            PULLERS,
            &[Rule::Hs9],
            "A higher generation of the same peer replaces its link at once; a lower one is refused",
            puller(),
            received(
                [
                    pusher_connects("B", "hello-pusher-2").to_vec(),
                    vec![
                        expect("A", vec![closed(Code::Replaced)]),
                        connect("C"),
                        send("C", &["preface", "hello-pusher"]),
                        expect("C", vec![closed(Code::Stale)]),
                        send("B", &["ping"]),
                        expect("B", vec![pong(PING)]),
                    ],
                ]
                .concat(),
            ),
        ),
    ]
}

fn ends() -> Vec<Sequence> {
    vec![
        sequence(
            "puller-end",
            PULLERS,
            &[Rule::St4, Rule::St6, Rule::Oc5],
            "The stream ends: the application learns it",
            puller(),
            received(vec![
                app_settle("d0", Verdict::Ack),
                expect("A", vec![outcome(0, Verdict::Ack)]),
                send("A", &["end", "close"]),
                expect("A", vec![closed(Code::Normal)]),
                app_end(),
            ]),
        ),
        sequence(
            "puller-end-with-work",
            PULLERS,
            &[Rule::St7, Rule::St4],
            "End while deliveries have no outcome (OC-12): the puller drops the one that its application has not \
             received, and the outcome of the other one has no effect",
            puller(),
            [
                pusher_connects("A", "hello-pusher").to_vec(),
                vec![
                    expect("A", vec![limits(4, 1_000)]),
                    send("A", &["deliver-2x100"]),
                    app_receive("d0", 10, 1),
                    send("A", &["end", "close"]),
                    expect("A", vec![closed(Code::Normal)]),
                    app_settle("d0", Verdict::Ack),
                    app_end(),
                ],
            ]
            .concat(),
        ),
    ]
}
