//! The history of a scenario: the checkers' only input besides the settings.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex},
    time::Duration,
};

use tidegate::{Code, MessageId, PullLinkStats, PullStats, PushLinkStats, PushStats};
use tidegate_proto::InstanceId;

/// A process: the index of its host in the scenario, and its life, because hosts restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process {
    /// The index of the host.
    pub host: usize,
    /// The life of the host, from 0.
    pub life: u32,
}

/// The application's name of a message, which the payload contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag {
    /// The process that sent it.
    pub from: Process,
    /// The number of the message among those that this process offered.
    pub serial: u32,
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wire {
    /// The name of the connection: the same at both ends, and unique.
    pub name: Arc<str>,
    /// Whether this end is the connector.
    pub connector: bool,
}

/// A frame, reduced to the fields that a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FrameSummary {
    /// Instance, `resume` and generation.
    Hello(InstanceId, u128, u64),
    /// First id, and the messages.
    Deliver(u64, Vec<DeliveredItem>),
    /// Outcomes, limits and flags.
    Ack(Ack),
    /// `next_id` and bytes.
    Skip(u64, u64),
    /// Deliveries that are being processed.
    Working(Vec<u64>),
    /// The end of the stream.
    End,
    /// The code.
    Close(i32),
    /// Ping or Pong.
    Sign,
}

/// An `Ack` frame.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ack {
    /// In order.
    pub outcomes: Vec<Range>,
    /// Ids below this may be sent.
    pub message_limit: u64,
    /// Messages may be sent while fewer bytes than this were sent.
    pub byte_limit: u64,
    /// Recalls unused credit.
    pub recall: bool,
    /// The puller leaves.
    pub leaving: bool,
}

/// The outcome of consecutive deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Range {
    /// The first id.
    pub first: u64,
    /// The number of deliveries.
    pub count: u64,
    /// The verdict.
    pub verdict: Verdict,
    /// The delay that a nack asks for, in milliseconds.
    pub delay_ms: u32,
}

/// A message in a `Deliver` frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeliveredItem {
    /// The message number.
    pub number: u64,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// The size according to CR-4.
    pub size: u64,
}

/// An application's outcome for a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Processed.
    Ack,
    /// Failed; also when dropped.
    Nack,
    /// Not to be delivered again.
    Reject,
    /// Not started.
    Release,
}

/// The final outcome that a receipt reports.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TrackedOutcome {
    /// Processed.
    Acked,
    /// Rejected after this number of attempts.
    Rejected(u32),
    /// Certainly not processed.
    NotSent,
    /// Whether it was processed is unknown.
    Unknown,
}

/// How a pusher stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Everything settled, then `End`.
    Finish,
    /// Everything settled within the linger time; the pusher starts again.
    Drain,
    /// At once.
    Abort,
}

/// One event.
#[derive(Clone, Debug, Hash)]
pub enum What {
    /// A fault of the network or of a host.
    Fault(String),
    /// A process started.
    Begun,
    /// A process was killed.
    Killed,
    /// A process ended by itself.
    Exited,
    /// A pusher is about to send a message.
    Offered(Tag, u64),
    /// The message was accepted; its number, if known.
    Accepted(Tag, Option<u64>),
    /// The message was not accepted, and will not be sent.
    NotTaken(Tag),
    /// The outcome that its receipt reported.
    Receipt(Tag, TrackedOutcome),
    /// The message was reported as rejected.
    Rejection(Tag, MessageId, u32),
    /// A pusher is about to stop.
    Stopping(Ending),
    /// A pusher stopped: its last counts, and the messages left: certainly not processed, and unknown.
    Stopped(Ending, Box<PushStats>, Vec<(Tag, u32)>, Vec<(Tag, u32)>),
    /// The counts of a pusher.
    PushStats(Box<PushStats>, Vec<PushLinkStats>),
    /// A puller's application received a delivery.
    Handed(Handed),
    /// The application settled it. Whether its link had ended by then.
    Settled(Handed, Verdict, bool),
    /// The counts of a puller, and the number of deliveries that its application held.
    PullStats(Box<PullStats>, Vec<PullLinkStats>, u64),
    /// A puller left; whether within the linger time.
    Left(bool),
    /// A puller learned that all streams have ended.
    Ended,
    /// A link is open, over the connection of this name.
    Connected(u64, String),
    /// A link has ended: the code, and whether the peer closed.
    Disconnected(u64, String, Option<Code>, bool),
    /// A handshake was refused, by this side or by the peer.
    Refused(Code),
    /// A process started to connect to an address.
    Dialed(String),
    /// A frame was written completely.
    Sent(Wire, FrameSummary),
    /// A frame was read.
    Read(Wire, FrameSummary),
    /// A stream was dropped by its link.
    Dropped(Wire),
}

/// A delivery that an application received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handed {
    /// The message's tag.
    pub tag: Tag,
    /// The message id.
    pub id: MessageId,
    /// The attempt number.
    pub attempt: u32,
    /// The puller's link that carried it.
    pub link: u64,
}

/// An event, with its time and process.
#[derive(Clone, Debug, Hash)]
pub struct Entry {
    /// Simulated time.
    pub at: Duration,
    /// The process; `None`: the world.
    pub who: Option<Process>,
    /// The event.
    pub what: What,
}

/// The maximum number of entries. A scenario with more is in a loop, perhaps without advancing time, and would fill all
/// memory before the seed is printed.
const MAX_ENTRIES: usize = 2_000_000;

#[derive(Default)]
struct Inner {
    entries: Vec<Entry>,
    /// The world's time while the world acts.
    world: Option<Duration>,
}

/// Records all events.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Inner>>);

impl Recorder {
    fn with<R>(&self, f: impl FnOnce(&mut Inner) -> R) -> R {
        f(&mut self.0.lock().unwrap())
    }

    /// The recorder of one process.
    #[must_use]
    pub fn pen(&self, who: Process) -> Pen {
        Pen { recorder: self.clone(), who: Some(who) }
    }

    /// Sets the time at which the world acts, because no host's clock runs meanwhile; `None` when it has acted.
    pub fn world(&self, now: Option<Duration>) {
        self.with(|inner| inner.world = now);
    }

    /// Records an event of the world or of a process.
    ///
    /// # Panics
    /// There are more than `MAX_ENTRIES` events.
    pub fn write(&self, who: Option<Process>, what: What) {
        // Without the lock, because this accesses the simulation.
        let elapsed = turmoil::sim_elapsed();
        let count = self.with(|inner| {
            let at = inner.world.or(elapsed).unwrap_or_default();
            inner.entries.push(Entry { at, who, what });
            inner.entries.len()
        });
        assert!(count < MAX_ENTRIES, "{count} events: the scenario does not end");
    }

    /// Takes all events recorded so far.
    #[must_use]
    pub fn take(&self) -> History {
        History { entries: self.with(|inner| std::mem::take(&mut inner.entries)) }
    }
}

/// Records the events of one process.
#[derive(Clone)]
pub struct Pen {
    recorder: Recorder,
    who: Option<Process>,
}

impl Pen {
    /// Records one event.
    pub fn write(&self, what: What) {
        self.recorder.write(self.who, what);
    }
}

/// All events, in order.
#[derive(Clone, Debug, Hash)]
pub struct History {
    /// In the order of the events; the times of different hosts may differ by a tick.
    pub entries: Vec<Entry>,
}

impl History {
    /// A hash that is equal for equal histories.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    /// The processes in it, in order.
    #[must_use]
    pub fn processes(&self) -> Vec<Process> {
        let mut all: Vec<_> = self.entries.iter().filter_map(|entry| entry.who).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The events of one process.
    pub fn of(&self, who: Process) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.who == Some(who))
    }
}
