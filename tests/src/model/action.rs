//! The smallest steps of a world.

use std::sync::Arc;

use super::{
    ledger::Fate,
    wire::{EndState, MachineSide, Wire},
    world::ModelWorld,
};
use tidegate_proto::wire::{Body, decode};

/// One step. Wires are named by their index in [`ModelWorld::wires`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A driver writes the bytes that its machine has to send on a link.
    Flush {
        wire: usize,
        side: MachineSide,
    },
    /// The next frame arrives.
    Carry {
        wire: usize,
        to: MachineSide,
    },
    /// The acceptor's greeting arrives at the puller.
    Greet {
        wire: usize,
    },
    /// A driver notices that the stream has ended.
    Notice {
        wire: usize,
        side: MachineSide,
    },
    /// A driver removes a link that is finished.
    Remove {
        wire: usize,
        side: MachineSide,
    },
    /// A puller connects.
    Connect {
        push: usize,
        pull: usize,
    },
    Recv {
        pull: usize,
    },
    Settle {
        pull: usize,
        held: usize,
        fate: Fate,
    },
    Wait {
        pull: usize,
    },
    /// A link's deadline passes.
    Fire {
        wire: usize,
        side: MachineSide,
    },
    /// The deadline of a retry passes.
    Retry {
        push: usize,
    },
    Send {
        push: usize,
    },
    Drain {
        push: usize,
    },
    Cancel {
        pull: usize,
    },
    Leave {
        pull: usize,
    },
    Cut {
        wire: usize,
    },
    FailWrite {
        wire: usize,
        side: MachineSide,
    },
    Restart {
        pull: usize,
    },
    RestartPusher {
        push: usize,
    },
}

/// Every action that is possible in `world`.
pub fn possible(world: &ModelWorld) -> Vec<Action> {
    let mut all = Vec::new();
    calm(world, &mut all);
    for pull in 0..world.pullers.len() {
        waits(world, pull, &mut all);
    }
    let faults = world.left;
    for (push, pushing) in world.pushers.iter().enumerate() {
        if pushing.sent < world.bounds.messages {
            all.push(Action::Send { push });
        } else if world.bounds.drain.is_some() && !pushing.draining {
            all.push(Action::Drain { push });
        }
        if faults.pusher_restarts > 0 {
            all.push(Action::RestartPusher { push });
        }
    }
    for (pull, pulling) in world.pullers.iter().enumerate() {
        for held in 0..pulling.held.len() {
            for (count, fate) in [
                (faults.nacks, Fate::Nacked),
                (faults.rejects, Fate::Rejected),
                (faults.releases, Fate::Released),
            ] {
                if count > 0 {
                    all.push(Action::Settle { pull, held, fate });
                }
            }
        }
        if pulling.waiting && faults.cancels > 0 {
            all.push(Action::Cancel { pull });
        }
        let stays = |pull: &usize| !world.pullers[*pull].process.machine.is_leaving();
        let staying = (0..world.pullers.len()).filter(stays).count();
        if pull == 0 && faults.leaves > 0 && staying > 1 && stays(&pull) {
            all.push(Action::Leave { pull });
        }
        if pull == 0 && faults.restarts > 0 && stays(&pull) {
            all.push(Action::Restart { pull });
        }
    }
    for (wire, here) in world.wires.iter().enumerate().filter(|(_, wire)| wire.pull == 0) {
        if faults.cuts > 0 && !here.cut && MachineSide::BOTH.iter().all(|side| !here.is_gone(*side)) {
            all.push(Action::Cut { wire });
        }
        for side in MachineSide::BOTH {
            if side == MachineSide::Pusher && world.timeouts > 0 && is_due(world, here) {
                all.push(Action::Fire { wire, side });
            }
            let broken = here.cut || here.is_gone(side.other());
            if faults.failed_writes > 0 && broken && !here.end(side).failed && here.link(side).is_some() {
                all.push(Action::FailWrite { wire, side });
            }
        }
    }
    all
}

/// The actions of drivers, the network and a well-behaved application, most urgent first. A world comes to rest if the
/// first of these is taken repeatedly, and [`waits`] when there is none.
pub fn calm(world: &ModelWorld, all: &mut Vec<Action>) {
    for (wire, here) in world.wires.iter().enumerate() {
        for side in MachineSide::BOTH {
            on_end(world, wire, here, side, all);
        }
    }
    for (pull, pulling) in world.pullers.iter().enumerate() {
        let machine = &pulling.process.machine;
        if machine.has_queued() && pulling.held.len() < world.bounds.workers {
            all.push(Action::Recv { pull });
        }
        for held in 0..pulling.held.len() {
            all.push(Action::Settle { pull, held, fate: Fate::Acked });
        }
        for push in 0..world.pushers.len() {
            let connected = |wire: &Arc<Wire>| {
                (wire.push, wire.pull) == (push, pull) && !wire.is_gone(MachineSide::Puller)
            };
            if !machine.is_leaving() && !pulling.ended.contains(&push) && !world.wires.iter().any(connected) {
                all.push(Action::Connect { push, pull });
            }
        }
    }
    for (push, pushing) in world.pushers.iter().enumerate() {
        if pushing.process.is_socket_due() {
            all.push(Action::Retry { push });
        }
    }
}

/// Whether a deadline of the pusher's end is due. Only settle time-outs are within the horizon there.
fn is_due(world: &ModelWorld, wire: &Wire) -> bool {
    wire.link(MachineSide::Pusher).is_some_and(|link| world.pushers[wire.push].process.is_due(link))
}

fn on_end(world: &ModelWorld, wire: usize, here: &Wire, side: MachineSide, all: &mut Vec<Action>) {
    let end = here.end(side);
    match end.state {
        EndState::Gone => return,
        EndState::Greeting => all.push(Action::Greet { wire }),
        EndState::Open(link) => {
            let (woken, finished, due) = match side {
                MachineSide::Pusher => world.pushers[here.push].process.asks(link),
                MachineSide::Puller => world.pullers[here.pull].process.asks(link),
            };
            if woken && !end.failed {
                all.push(Action::Flush { wire, side });
            }
            if !end.inbox.is_empty() {
                all.push(Action::Carry { wire, to: side });
            }
            if finished {
                all.push(Action::Remove { wire, side });
            }
            if due && side == MachineSide::Puller {
                all.push(Action::Fire { wire, side });
            }
        }
    }
    if here.may_notice(side) {
        all.push(Action::Notice { wire, side });
    }
}

/// An idle application starts to wait for a message.
pub fn waits(world: &ModelWorld, pull: usize, all: &mut Vec<Action>) {
    let pulling = &world.pullers[pull];
    let machine = &pulling.process.machine;
    let idle = world.bounds.waits && pulling.held.len() < world.bounds.workers && !machine.has_queued();
    if idle && !pulling.waiting && !machine.is_leaving() {
        all.push(Action::Wait { pull });
    }
}

/// Describes an action in the world in which it happens.
pub fn describe(world: &ModelWorld, action: Action) -> String {
    let name = |wire: usize| {
        let here = &world.wires[wire];
        format!("wire {} (pusher {}, puller {})", here.serial, here.push, here.pull)
    };
    match action {
        Action::Flush { wire, side } => format!("{}: the {side} writes its frames", name(wire)),
        Action::Carry { wire, to } => {
            let frame = world.wires[wire].end(to).inbox.front().cloned().unwrap_or_default();
            format!("{}: the {to} receives {}", name(wire), frame_text(frame))
        }
        Action::Greet { wire } => format!("{}: the puller is greeted", name(wire)),
        Action::Notice { wire, side } => {
            format!("{}: the {side} notices that the stream has ended", name(wire))
        }
        Action::Remove { wire, side } => format!("{}: the {side} removes the finished link", name(wire)),
        Action::Connect { push, pull } => format!("puller {pull} connects to pusher {push}"),
        Action::Recv { pull } => format!("application {pull} receives a delivery"),
        Action::Settle { pull, held, fate } => {
            let held = &world.pullers[pull].held[held];
            let (number, attempt) = (held.received.id().number, held.received.attempt());
            format!("application {pull}: message {number}, attempt {attempt}, is {fate:?}")
        }
        Action::Wait { pull } => format!("application {pull} starts to wait"),
        Action::Fire { wire, side } => format!("{}: a deadline of the {side} passes", name(wire)),
        Action::Retry { push } => format!("pusher {push}: the deadline of a retry passes"),
        Action::Send { push } => format!("pusher {push} sends message {}", world.pushers[push].sent),
        Action::Drain { push } => format!("pusher {push} drains"),
        Action::Cancel { pull } => format!("application {pull} stops waiting"),
        Action::Leave { pull } => format!("puller {pull} leaves"),
        Action::Cut { wire } => format!("{} is cut", name(wire)),
        Action::FailWrite { wire, side } => format!("{}: a write of the {side} fails", name(wire)),
        Action::Restart { pull } => format!("puller {pull} dies and restarts"),
        Action::RestartPusher { push } => format!("pusher {push} dies and restarts with its store"),
    }
}

fn frame_text(frame: bytes::Bytes) -> String {
    match decode(frame, u64::MAX) {
        Ok(Body::Deliver(batch)) => {
            let cursor = batch.cursor;
            format!("Deliver of {} from id {}", cursor.len(), cursor.next_id())
        }
        Ok(Body::Ack(ack)) => {
            let outcomes: Vec<_> =
                ack.outcomes.iter().map(|o| format!("{}+{} {:?}", o.first, o.count, o.verdict())).collect();
            let flags = [(ack.recall, " recall"), (ack.leaving, " leaving")];
            let flags: String = flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
            format!("Ack [{}] limits {}, {}{flags}", outcomes.join(", "), ack.message_limit, ack.byte_limit)
        }
        Ok(Body::Skip(skip)) => format!("Skip to id {}, {} bytes", skip.next_id, skip.bytes),
        Ok(Body::Close(close)) => format!("Close {:?} {}", close.code(), close.reason),
        Ok(other) => format!("{other:?}"),
        Err(violation) => format!("an invalid frame: {violation}"),
    }
}
