//! Whole links, step by step.

use serde_json::{Value, json};
use tidegate_proto::{
    Code, Rule,
    wire::v1::{Role, Verdict},
};

use super::{
    ids,
    script::{
        Script, accept, answer, app_end, app_finish, app_leave, app_receive, app_receive_nothing, app_send,
        app_settle, app_settle_with, at_least, close, closed, connect, delivery, disconnected, end, expect,
        expect_in_any_order, expect_nothing, graceful_pusher, greeting, leaving, limits, outcome, puller,
        pusher, send, skip, wait,
    },
};

/// A script, and who needs to pass it.
#[derive(Clone, Debug)]
pub(super) struct Sequence {
    pub(super) name: &'static str,
    /// The profiles of SPEC.md that it is for.
    profiles: &'static [&'static str],
    rules: &'static [Rule],
    about: &'static str,
    script: Script,
}

impl Sequence {
    pub(super) fn json(&self) -> Value {
        self.script
            .describe(json!({ "profiles": self.profiles, "rules": ids(self.rules), "about": self.about }))
    }
}

/// How long nothing must happen.
const QUIET: u64 = 300;

const PUSHERS: &[&str] = &["pusher-core", "pusher-full"];
const FULL_PUSHER: &[&str] = &["pusher-full"];
const PULLERS: &[&str] = &["puller-core", "puller-full"];
const FULL_PULLER: &[&str] = &["puller-full"];

pub(super) fn sequences() -> Vec<Sequence> {
    let mut all = pushers();
    all.extend(losses());
    all.extend(graces());
    all.extend(pullers());
    all.extend(returns());
    all.extend(ends());
    all
}

fn sequence(
    name: &'static str,
    profiles: &'static [&'static str],
    rules: &'static [Rule],
    about: &'static str,
    peer: Value,
    steps: Vec<Value>,
) -> Sequence {
    Sequence { name, profiles, rules, about, script: Script { peer, prelude: None, steps } }
}

/// A puller connects to the peer, which is a pusher.
fn puller_connects(connection: &str, hello: &str) -> [Value; 3] {
    [
        connect(connection),
        send(connection, &["preface", hello]),
        expect(connection, vec![answer(Role::Pusher)]),
    ]
}

/// A pusher connects to the peer, which is a puller.
fn pusher_connects(connection: &str, hello: &str) -> [Value; 3] {
    [
        connect(connection),
        send(connection, &["preface", hello]),
        expect(connection, vec![answer(Role::Puller)]),
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

/// Three intervals of 500 ms without a byte.
fn silence() -> Vec<Value> {
    vec![expect_nothing("A", 1_000), wait(6_000), expect("A", vec![closed(Code::Silent)])]
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
                        expect("A", vec![super::script::pong(super::parts::PING)]),
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
                        expect("B", vec![super::script::pong(super::parts::PING)]),
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
