//! Connects a pusher and a puller back to back through two byte vectors, and moves one message and its ack.

#![forbid(unsafe_code)]

use std::{collections::VecDeque, error::Error, time::Duration};

use tidegate_proto::{
    DEFAULT_MAX_MESSAGE, FinalOutcome, InstanceId, LinkId, Machine, Peer, PollBudget, Puller, PullerSettings,
    Pusher, PusherEvent, PusherSettings, Role, Time, Verdict, Violation,
    handshake::{self, Local},
    wire::FrameReader,
};

/// One link of a machine, and the reader of the bytes that arrive on it.
struct Driver {
    link: LinkId,
    reader: FrameReader,
}

impl Driver {
    fn open<M: Machine>(machine: &mut M, now: Time, peer: Peer) -> Result<Self, Violation> {
        let mut reader = FrameReader::new();
        reader.open(machine.frame_limit());
        Ok(Self { link: machine.open(now, peer)?, reader })
    }

    /// One poll: passes the bytes of `input` to the machine, runs its timers, and appends what it sends to `output`.
    fn poll<M: Machine>(&mut self, machine: &mut M, now: Time, input: &mut Vec<u8>, output: &mut Vec<u8>) {
        let link = self.link;
        if machine.wants_read(now, link) {
            if !input.is_empty() {
                self.reader.buffer().extend_from_slice(input);
                self.reader.filled(input.len());
                input.clear();
                machine.feed(now, link, &mut self.reader, &mut PollBudget::unlimited());
            }
            machine.handle_would_block(link); // all of `input` was read
        }
        if machine.poll_timeout(link).is_some_and(|at| at <= now) {
            machine.handle_timeout(now, link, self.reader.progress());
        }
        let mut out = VecDeque::new();
        machine.poll_transmit(now, link, &mut out);
        for bytes in out {
            output.extend_from_slice(&bytes);
            machine.handle_written(now, link, bytes.len());
        }
    }
}

/// What a side announces in its `Hello`.
fn local(role: Role, instance: InstanceId) -> Local {
    Local {
        role,
        instance,
        name: "example".into(),
        pipeline: String::new(),
        token: None,
        max_message: DEFAULT_MAX_MESSAGE as u64,
        heartbeat: Duration::from_secs(2),
        offered: Vec::new(),
        required: Vec::new(),
    }
}

/// The first frame of a stream, which begins with the preface.
fn first_frame(bytes: &[u8]) -> Result<bytes::Bytes, Box<dyn Error>> {
    let mut reader = FrameReader::new();
    reader.buffer().extend_from_slice(bytes);
    Ok(reader.next_frame()?.ok_or("the first frame is not complete")?)
}

fn main() -> Result<(), Box<dyn Error>> {
    // A real program draws the instances and the seed at random.
    let (pusher_id, puller_id) = (InstanceId([1; 16]), InstanceId([2; 16]));
    let mut pusher = Pusher::new(PusherSettings::default(), pusher_id, 7)?;
    let mut puller: Puller = Puller::new(PullerSettings::default())?;

    // The handshake: the puller connects, and the pusher accepts.
    let (acceptor, connector) = (local(Role::Pusher, pusher_id), local(Role::Puller, puller_id));
    let greeting = handshake::greet(&connector, None, 1);
    let (_, peer, answer) = handshake::accept(first_frame(&greeting)?, &[acceptor])?;
    let mut now = Time(0);
    let mut push_driver = Driver::open(&mut pusher, now, peer)?;
    let peer = handshake::confirm(first_frame(&answer)?, &connector).map_err(|e| format!("{e:?}"))?;
    let mut pull_driver = Driver::open(&mut puller, now, peer)?;

    // The application sends a message, and waits for its outcome.
    let accepted = pusher.send("job 1".into(), true).map_err(|refused| refused.reason)?;
    let (mut to_pusher, mut to_puller) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        push_driver.poll(&mut pusher, now, &mut to_pusher, &mut to_puller);
        pull_driver.poll(&mut puller, now, &mut to_puller, &mut to_pusher);
        while let Some(delivery) = puller.recv() {
            assert_eq!(delivery.payload(), b"job 1");
            puller.settle(&delivery, &Verdict::Ack);
        }
        now = now + Duration::from_millis(1);
    }
    assert_eq!(pusher.poll_event(), Some(PusherEvent::Settled(accepted.number, FinalOutcome::Acked)));
    Ok(())
}
