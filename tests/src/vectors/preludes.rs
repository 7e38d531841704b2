//! The scripts that bring a peer into the state that a vector assumes.

use serde_json::{Value, json};
use tidegate_proto::wire::v1::{Role, Verdict};

use super::script::{
    Script, accept, answer, app_leave, app_receive, app_send, app_settle, connect, delivery, expect,
    greeting, leaving, limits, outcome, puller, pusher, send, skip,
};

/// A script with a name.
#[derive(Clone, Debug)]
pub(super) struct Prelude {
    pub(super) name: &'static str,
    about: &'static str,
    script: Script,
}

impl Prelude {
    pub(super) fn json(&self) -> Value {
        self.script.describe(json!({ "about": self.about }))
    }
}

/// The peer of the prelude with this name.
///
/// # Panics
/// There is no such prelude.
#[allow(clippy::expect_used)]
pub(super) fn peer_of(name: &str) -> Value {
    preludes().into_iter().find(|prelude| prelude.name == name).expect("a prelude").script.peer
}

pub(super) fn preludes() -> Vec<Prelude> {
    let prelude = |name, about, peer, prelude, steps| {
        let script = Script { peer, prelude, steps };
        Prelude { name, about, script }
    };
    vec![
        prelude(
            "puller-connected",
            "A connection to a puller; nothing was sent",
            puller(),
            None,
            vec![connect("A")],
        ),
        prelude(
            "puller-known",
            "The same; the puller has a link of the pusher already, with generation 5",
            puller(),
            None,
            vec![
                connect("B"),
                send("B", &["preface", "hello-pusher-5"]),
                expect("B", vec![answer(Role::Puller)]),
                connect("A"),
            ],
        ),
        prelude(
            "pusher-connected",
            "A connection to a pusher; nothing was sent",
            pusher("acceptor"),
            None,
            vec![connect("A")],
        ),
        prelude(
            "pusher-greets",
            "A pusher has connected and has sent its Hello",
            pusher("connector"),
            None,
            vec![accept("A"), expect("A", vec![greeting(Role::Pusher, "1".into())])],
        ),
        prelude(
            "puller-delivered",
            "The puller has granted 4 messages and 1,000 bytes; its application has received deliveries 0 and 1",
            puller(),
            None,
            vec![
                connect("A"),
                send("A", &["preface", "hello-pusher"]),
                expect("A", vec![answer(Role::Puller), limits(4, 1_000)]),
                send("A", &["deliver-2x300"]),
                app_receive("d0", 0, 1),
                app_receive("d1", 1, 1),
            ],
        ),
        prelude(
            "puller-recalled",
            "And then the application has stopped receiving: a Skip is due",
            puller(),
            Some("puller-delivered"),
            vec![app_leave(), expect("A", vec![leaving()])],
        ),
        prelude(
            "puller-ended",
            "And then both deliveries were acked, and End has been sent",
            puller(),
            Some("puller-delivered"),
            vec![
                app_settle("d0", Verdict::Ack),
                app_settle("d1", Verdict::Ack),
                expect("A", vec![outcome(0, Verdict::Ack), outcome(1, Verdict::Ack)]),
                send("A", &["end"]),
            ],
        ),
        prelude(
            "pusher-delivered",
            "The pusher got credit for 4 messages and 1,000 bytes, and has sent deliveries 0 and 1 of 300 bytes each",
            pusher("connector"),
            Some("pusher-greets"),
            vec![
                send("A", &["preface", "hello-puller", "grant-4-1000"]),
                app_send(2, 300),
                expect("A", vec![delivery(0, "n0", 1, 300), delivery(1, "n1", 1, 300)]),
            ],
        ),
        prelude(
            "pusher-recalled",
            "And then credit was recalled, and the pusher has skipped it",
            pusher("connector"),
            Some("pusher-delivered"),
            vec![send("A", &["recall-4-1000"]), expect("A", vec![skip(4, 400)])],
        ),
    ]
}
