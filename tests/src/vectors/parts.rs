//! The frames that the scripts send.

use tidegate_proto::wire::{
    PREFACE,
    v1::{self, Role, Verdict, frame::Body},
};

use serde_json::{Value, json};

use super::{acceptor_hello, connector_hello, describe, frame};

/// The `data` of the ping that the scripts send.
pub(super) const PING: u64 = 0x7469_6465;

/// Bytes that a script sends.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) name: &'static str,
    about: &'static str,
    /// `None` for the preface.
    body: Option<Body>,
}

impl Part {
    pub(super) fn bytes(&self) -> Vec<u8> {
        if self.body.is_some() { frame(self.body.clone()) } else { PREFACE.to_vec() }
    }

    pub(super) fn json(&self) -> Value {
        json!({ "about": self.about, "frame": describe(self.body.as_ref()) })
    }
}

fn part(name: &'static str, about: &'static str, body: Body) -> Part {
    Part { name, about, body: Some(body) }
}

/// The scripts send no heartbeats: each takes much less time than three of these intervals.
const HEARTBEAT: u32 = 60_000;

pub(super) fn parts() -> Vec<Part> {
    let mut all = vec![
        Part { name: "preface", about: "The first eight bytes of each direction", body: None },
        part("ping", "A Ping", Body::Ping(v1::Ping { data: PING })),
        part("end", "The stream is over", Body::End(v1::End {})),
        part("close", "Done", Body::Close(v1::Close { code: v1::Code::Normal.into(), ..Default::default() })),
    ];
    all.extend(pushers());
    all.extend(pullers());
    all.extend(acks());
    all.extend(delivers());
    all.extend(skips());
    all
}

fn hello(name: &'static str, about: &'static str, change: impl FnOnce(&mut v1::Hello)) -> Part {
    let mut hello = v1::Hello { heartbeat_ms: HEARTBEAT, generation: 1, ..connector_hello() };
    change(&mut hello);
    part(name, about, Body::Hello(hello))
}

fn pushers() -> [Part; 6] {
    [
        hello("hello-pusher", "A pusher connects, for the first time", |_| ()),
        hello("hello-pusher-2", "The same pusher connects for the second time", |h| h.generation = 2),
        hello("hello-pusher-5", "The same pusher connects for the fifth time", |h| h.generation = 5),
        hello("hello-pusher-forged", "The same instance, with another resume", |h| {
            h.resume = vec![0x55; 16].into();
        }),
        hello("hello-pusher-no-resume", "The same instance, without resume", |h| h.resume.clear()),
        hello("hello-pusher-500-ms", "A pusher that promises a frame every 500 ms", |h| h.heartbeat_ms = 500),
    ]
}

fn pullers() -> [Part; 7] {
    let connects = |name, about, instance: u8, resume: u8, generation| {
        hello(name, about, |h| {
            h.set_role(Role::Puller);
            (h.instance, h.resume) = (vec![instance; 16].into(), vec![resume; 16].into());
            (h.name, h.generation, h.max_message) = ("puller".into(), generation, 1_000);
        })
    };
    let silent = hello("hello-puller-500-ms", "A puller that promises a frame every 500 ms", |h| {
        h.set_role(Role::Puller);
        (h.instance, h.name) = (vec![0x22; 16].into(), "puller".into());
        (h.max_message, h.heartbeat_ms) = (1_000, 500);
    });
    let accepts = v1::Hello { heartbeat_ms: HEARTBEAT, ..acceptor_hello() };
    let odd = v1::Hello { resume: vec![0x99; 3].into(), generation: 7, ..accepts.clone() };
    [
        silent,
        part("hello-puller", "A puller accepts", Body::Hello(accepts)),
        part("hello-puller-odd", "The same, with a generation and a resume of 3 bytes", Body::Hello(odd)),
        connects("hello-puller-connects", "A puller connects, for the first time", 0x22, 0x33, 1),
        connects("hello-puller-connects-2", "The same puller connects for the second time", 0x22, 0x33, 2),
        connects("hello-puller-forged", "The instance of that puller, with another resume", 0x22, 0x55, 1),
        connects("hello-puller-other", "Another puller connects, for the first time", 0x66, 0x77, 1),
    ]
}

fn acks() -> Vec<Part> {
    let grant = |message_limit, byte_limit| v1::Ack { message_limit, byte_limit, ..Default::default() };
    let settles = |first, count, verdict: Verdict, ack| {
        let outcome = v1::Outcome { first, count, verdict: verdict.into(), ..Default::default() };
        v1::Ack { outcomes: vec![outcome], ..ack }
    };
    let verdicts = [Verdict::Ack, Verdict::Nack, Verdict::Reject, Verdict::Release];
    let outcomes = (0..4).zip(verdicts).map(|(first, verdict)| v1::Outcome {
        first,
        count: 1,
        verdict: verdict.into(),
        delay_ms: if verdict == Verdict::Nack { 200 } else { 0 },
        reason: String::new(),
    });
    let nack = v1::Outcome {
        first: 0,
        count: 1,
        verdict: Verdict::Nack.into(),
        delay_ms: 20,
        reason: "database is down".into(),
    };
    let all = [
        ("grant-1-1000", "Credit for 1 message", grant(1, 1_000)),
        ("grant-2-1000", "Credit for 2 messages in all", grant(2, 1_000)),
        ("grant-4-1000", "Credit for 4 messages and 1,000 bytes", grant(4, 1_000)),
        ("recall-4-1000", "Asks for unused credit back", v1::Ack { recall: true, ..grant(4, 1_000) }),
        ("leaving-4-1000", "The puller stops receiving", v1::Ack { leaving: true, ..grant(4, 1_000) }),
        ("recall-6-1600", "Asks for unused credit back", v1::Ack { recall: true, ..grant(6, 1_600) }),
        ("ack-0", "Delivery 0 was processed", settles(0, 1, Verdict::Ack, grant(4, 1_000))),
        (
            "ack-0-limit-1",
            "Delivery 0 was processed; no new credit",
            settles(0, 1, Verdict::Ack, grant(1, 1_000)),
        ),
        ("ack-0-limit-2", "Delivery 0 was processed", settles(0, 1, Verdict::Ack, grant(2, 2_000))),
        ("ack-1-limit-2", "Delivery 1 was processed", settles(1, 1, Verdict::Ack, grant(2, 2_000))),
        ("ack-0-1", "Deliveries 0 and 1 were processed", settles(0, 2, Verdict::Ack, grant(6, 1_600))),
        ("ack-2-4", "Deliveries 2 to 4 were processed", settles(2, 3, Verdict::Ack, grant(10, 2_600))),
        ("ack-0-2", "Deliveries 0 to 2 were processed", settles(0, 3, Verdict::Ack, grant(4, 1_000))),
        ("ack-0-3", "Deliveries 0 to 3 were processed", settles(0, 4, Verdict::Ack, grant(4, 1_000))),
        ("ack-4-5", "Deliveries 4 and 5 were processed", settles(4, 2, Verdict::Ack, grant(8, 2_000))),
        (
            "release-0-1",
            "Deliveries 0 and 1 were not begun",
            settles(0, 2, Verdict::Release, grant(4, 1_000)),
        ),
        ("nack-0", "Delivery 0 has failed", v1::Ack { outcomes: vec![nack], ..grant(1, 1_000) }),
        (
            "four-verdicts",
            "Deliveries 0 to 3: processed, failed, failed for good, not begun",
            v1::Ack { outcomes: outcomes.collect(), ..grant(8, 2_000) },
        ),
    ];
    all.into_iter().map(|(name, about, ack)| part(name, about, Body::Ack(ack))).collect()
}

fn delivers() -> Vec<Part> {
    let deliver = |name, about, ids: (u64, u64), count, size, attempt| {
        let message = v1::Message { payload: vec![b'm'; size].into(), attempt, ..Default::default() };
        let messages = vec![message; count];
        part(name, about, Body::Deliver(v1::Deliver { first_id: ids.0, first_number: ids.1, messages }))
    };
    vec![
        deliver("deliver-2x300", "Ids 0 and 1, numbers 0 and 1, of 300 bytes each", (0, 0), 2, 300, 0),
        deliver("deliver-4x250", "Ids 0 to 3, numbers 0 to 3, of 250 bytes each", (0, 0), 4, 250, 0),
        deliver("deliver-3x100", "Ids 0 to 2, numbers 10 to 12, of 100 bytes each", (0, 10), 3, 100, 0),
        deliver("deliver-3x100-again", "The same messages again, at attempt 2", (0, 10), 3, 100, 2),
        deliver("deliver-id-3", "Id 3, number 13, of 100 bytes", (3, 13), 1, 100, 0),
        deliver("deliver-1x100", "Id 0, number 10, of 100 bytes", (0, 10), 1, 100, 0),
        deliver("deliver-1x100-again", "The same message again, at attempt 2", (0, 10), 1, 100, 2),
        deliver("deliver-2x100", "Ids 0 and 1, numbers 10 and 11, of 100 bytes each", (0, 10), 2, 100, 0),
    ]
}

fn skips() -> [Part; 1] {
    [part("skip-4-600", "Gives 600 bytes and no id up", Body::Skip(v1::Skip { next_id: 4, bytes: 600 }))]
}
