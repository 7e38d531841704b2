//! What happened: the only thing that the checkers look at.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex},
    time::Duration,
};

use tidegate::{Code, MessageId, PullLinkStats, PullStats, PushLinkStats, PushStats};
use tidegate_proto::InstanceId;

/// Names a host by its place in the scenario, and the process that runs there: hosts restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process {
    /// Which host.
    pub host: usize,
    /// Which of its lives.
    pub life: u32,
}

/// What the application calls a message: it is in the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag {
    /// The process that sent it.
    pub from: Process,
    /// Counts the messages that this process offered.
    pub serial: u32,
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wire {
    /// The connection: the same at both ends, and never the same again.
    pub name: Arc<str>,
    /// Whether this end made it.
    pub connector: bool,
}

/// A frame, as far as a rule is about it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Frame {
    /// Instance, `resume` and generation.
    Hello(InstanceId, u128, u64),
    /// First id, and the messages.
    Deliver(u64, Vec<Item>),
    /// Outcomes, limits and flags.
    Ack(Ack),
    /// `next_id` and bytes.
    Skip(u64, u64),
    /// Deliveries that are being worked on.
    Working(Vec<u64>),
    /// The stream is over.
    End,
    /// With its code.
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
    /// While fewer bytes than this have been.
    pub byte_limit: u64,
    /// Asks for unused credit.
    pub recall: bool,
    /// Leaves.
    pub leaving: bool,
}

/// The outcome of deliveries that follow on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Range {
    /// The first id.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// Which.
    pub verdict: Verdict,
    /// What a nack asks for, in milliseconds.
    pub delay_ms: u32,
}

/// A message in a `Deliver` frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Item {
    /// Its number.
    pub number: u64,
    /// 1 for the first.
    pub attempt: u32,
    /// As CR-4 counts.
    pub size: u64,
}

/// What an application said of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Processed.
    Ack,
    /// Failed; also when dropped.
    Nack,
    /// Never again.
    Reject,
    /// Not started.
    Release,
}

/// The final outcome of a message that somebody waited for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Processed.
    Acked,
    /// After so many attempts.
    Rejected(u32),
    /// Certainly not processed.
    NotSent,
    /// Nobody knows.
    Unknown,
}

/// How a pusher stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Everything settled, then `End`.
    Finish,
    /// Everything settled, as far as the linger time goes; it comes back.
    Drain,
    /// At once.
    Abort,
}

/// One thing that happened.
#[derive(Clone, Debug, Hash)]
pub enum What {
    /// The network or a host was tampered with.
    Fault(String),
    /// A process began.
    Begun,
    /// A process was killed.
    Killed,
    /// A process came to its end by itself.
    Exited,
    /// A pusher is about to send a message.
    Offered(Tag, u64),
    /// It was taken; its number, if that is known.
    Accepted(Tag, Option<u64>),
    /// It was not taken, and never is.
    NotTaken(Tag),
    /// The outcome that its receipt told.
    Receipt(Tag, Outcome),
    /// It was reported as rejected.
    Rejection(Tag, MessageId, u32),
    /// A pusher is about to stop.
    Stopping(Ending),
    /// A pusher stopped: its last counts; and what was left: certainly not processed, and unknown.
    Stopped(Ending, Box<PushStats>, Vec<(Tag, u32)>, Vec<(Tag, u32)>),
    /// The counts of a pusher.
    PushStats(Box<PushStats>, Vec<PushLinkStats>),
    /// A puller's application was handed a delivery.
    Handed(Handed),
    /// It gave it its outcome. Whether its link was gone by then.
    Settled(Handed, Verdict, bool),
    /// The counts of a puller, and how many deliveries its application held.
    PullStats(Box<PullStats>, Vec<PullLinkStats>, u64),
    /// A puller left; whether in time.
    Left(bool),
    /// A puller was told that all streams are over.
    Ended,
    /// A link is open, over the connection of this name.
    Connected(u64, String),
    /// A link has ended: the code, and whether the peer closed.
    Disconnected(u64, String, Option<Code>, bool),
    /// A peer was refused, or we were.
    Refused(Code),
    /// Somebody began to connect to an address.
    Dialed(String),
    /// A frame was written whole, or read.
    Sent(Wire, Frame),
    /// A frame has arrived.
    Read(Wire, Frame),
    /// A stream was dropped by its link.
    Dropped(Wire),
}

/// A delivery in the hands of an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handed {
    /// What was sent.
    pub tag: Tag,
    /// Its id.
    pub id: MessageId,
    /// Which attempt.
    pub attempt: u32,
    /// Over which link of the puller.
    pub link: u64,
}

/// Something that happened, when and to whom.
#[derive(Clone, Debug, Hash)]
pub struct Entry {
    /// Simulated time.
    pub at: Duration,
    /// `None`: the world.
    pub who: Option<Process>,
    /// What.
    pub what: What,
}

/// More than this a scenario does not come to: then something goes round and round, perhaps without time passing, and would fill
/// all memory before anybody saw the seed.
const MOST_ENTRIES: usize = 2_000_000;

#[derive(Default)]
struct Inner {
    entries: Vec<Entry>,
    /// The world's time, while it is the world that acts.
    world: Option<Duration>,
}

/// Where everything is written down.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Inner>>);

impl Recorder {
    fn with<R>(&self, f: impl FnOnce(&mut Inner) -> R) -> R {
        f(&mut self.0.lock().unwrap())
    }

    /// The pen of a process.
    #[must_use]
    pub fn pen(&self, who: Process) -> Pen {
        Pen { recorder: self.clone(), who: Some(who) }
    }

    /// The world acts at this time, or has acted: a host's clock does not run meanwhile.
    pub fn world(&self, now: Option<Duration>) {
        self.with(|inner| inner.world = now);
    }

    /// Writes down what the world did.
    ///
    /// # Panics
    /// There is no end to it.
    pub fn write(&self, who: Option<Process>, what: What) {
        // Not under the lock: it looks into the simulation.
        let elapsed = turmoil::sim_elapsed();
        let count = self.with(|inner| {
            let at = inner.world.or(elapsed).unwrap_or_default();
            inner.entries.push(Entry { at, who, what });
            inner.entries.len()
        });
        assert!(count < MOST_ENTRIES, "{count} things have happened, and there is no end to it");
    }

    /// Everything so far.
    #[must_use]
    pub fn take(&self) -> History {
        History { entries: self.with(|inner| std::mem::take(&mut inner.entries)) }
    }
}

/// Writes down what one process does and sees.
#[derive(Clone)]
pub struct Pen {
    recorder: Recorder,
    who: Option<Process>,
}

impl Pen {
    /// Writes one thing down.
    pub fn write(&self, what: What) {
        self.recorder.write(self.who, what);
    }
}

/// All that happened, in order.
#[derive(Clone, Debug, Hash)]
pub struct History {
    /// In the order in which it happened; times of different hosts may differ by a tick.
    pub entries: Vec<Entry>,
}

impl History {
    /// The same for the same history.
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

    /// What happened to one process.
    pub fn of(&self, who: Process) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.who == Some(who))
    }
}
