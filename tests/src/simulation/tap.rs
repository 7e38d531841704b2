//! Decodes the frames of a connection with the generated code only, independently of the library, so that the checkers
//! compare the rules with the bytes on the wire.

use prost::Message as _;
use tidegate_proto::{
    InstanceId, Rule,
    wire::v1::{self, frame::Body},
};

use super::history::{Ack, DeliveredItem, FrameSummary, Pen, Range, Verdict, What, Wire};

const PREFACE: usize = 8;

/// Splits one direction into frames.
#[derive(Default)]
struct Cutter {
    bytes: Vec<u8>,
    preface: bool,
}

impl Cutter {
    fn feed(&mut self, bytes: &[u8]) -> Vec<FrameSummary> {
        self.bytes.extend_from_slice(bytes);
        let mut frames = Vec::new();
        let mut at = 0;
        if !self.preface && self.bytes.len() >= PREFACE {
            self.preface = true;
            at = PREFACE;
        }
        while self.preface
            && let Some(head) = self.bytes.get(at..at + 4)
        {
            let length = u32::from_be_bytes(head.try_into().unwrap()) as usize;
            let Some(body) = self.bytes.get(at + 4..at + 4 + length) else { break };
            frames.push(frame(body));
            at += 4 + length;
        }
        self.bytes.drain(..at);
        frames
    }
}

fn frame(bytes: &[u8]) -> FrameSummary {
    let frame = v1::Frame::decode(bytes).expect("a frame that cannot be read");
    match frame.body.expect("a frame without a body") {
        Body::Hello(hello) => {
            let instance =
                InstanceId(hello.instance[..].try_into().unwrap_or_else(|_| panic!("{}", Rule::Hs8)));
            let resume = hello.resume.iter().fold(0, |all, byte| all << 8 | u128::from(*byte));
            FrameSummary::Hello(instance, resume, hello.generation)
        }
        Body::Deliver(deliver) => {
            let mut next = deliver.first_number;
            let items = deliver.messages.iter().map(|message| {
                let number = next.checked_add_signed(message.gap).unwrap_or_else(|| panic!("{}", Rule::Dl2));
                next = number + 1;
                let headers: usize = message.headers.iter().map(|h| h.name.len() + h.value.len()).sum();
                let size = (message.payload.len() + headers) as u64;
                DeliveredItem { number, attempt: message.attempt.max(1), size }
            });
            FrameSummary::Deliver(deliver.first_id, items.collect())
        }
        Body::Ack(ack) => {
            let outcomes = ack.outcomes.iter().map(range).collect();
            let v1::Ack { message_limit, byte_limit, recall, leaving, .. } = ack;
            FrameSummary::Ack(Ack { outcomes, message_limit, byte_limit, recall, leaving })
        }
        Body::Skip(skip) => FrameSummary::Skip(skip.next_id, skip.bytes),
        Body::End(_) => FrameSummary::End,
        Body::Close(close) => FrameSummary::Close(close.code),
        Body::Working(working) => FrameSummary::Working(working.deliveries),
        Body::Ping(_) | Body::Pong(_) => FrameSummary::Sign,
    }
}

fn range(outcome: &v1::Outcome) -> Range {
    let verdict = match outcome.verdict() {
        v1::Verdict::Ack => Verdict::Ack,
        v1::Verdict::Nack => Verdict::Nack,
        v1::Verdict::Reject => Verdict::Reject,
        v1::Verdict::Release => Verdict::Release,
        v1::Verdict::Unspecified => panic!("{}", Rule::Oc10),
    };
    Range { first: outcome.first, count: outcome.count, verdict, delay_ms: outcome.delay_ms }
}

/// Both directions of one end.
pub(super) struct Tap {
    pen: Pen,
    wire: Wire,
    sent: Cutter,
    read: Cutter,
}

impl Tap {
    pub(super) fn new(pen: Pen, wire: Wire) -> Self {
        Self { pen, wire, sent: Cutter::default(), read: Cutter::default() }
    }

    pub(super) fn sent(&mut self, bytes: &[u8]) {
        for frame in self.sent.feed(bytes) {
            self.pen.write(What::Sent(self.wire.clone(), frame));
        }
    }

    pub(super) fn read(&mut self, bytes: &[u8]) {
        for frame in self.read.feed(bytes) {
            self.pen.write(What::Read(self.wire.clone(), frame));
        }
    }

    /// The name of this end.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.wire.name, self.wire.connector)
    }

    pub(super) fn dropped(&self) {
        self.pen.write(What::Dropped(self.wire.clone()));
    }
}
