//! How much may happen: what makes the number of states finite.

use std::fmt;

/// The bound of one check, and what the machines are set to. `Default` has no faults.
#[derive(Clone, Debug)]
pub struct Bounds {
    pub pushers: usize,
    pub pullers: usize,
    /// Messages that each pusher sends.
    pub messages: u64,
    /// Whether senders wait for the outcome of each message.
    pub tracked: bool,
    /// The window of each puller.
    pub window: u64,
    /// The same in bytes; a message is one byte.
    pub window_bytes: u64,
    /// The budget of each puller.
    pub budget: u64,
    /// Deliveries that an application holds at once.
    pub workers: usize,
    /// Whether applications wait for messages, which has credit granted (CR-6), rather than look for some now and then.
    pub waits: bool,
    pub grace: Grace,
    /// Whether a pusher gives a delivery to somebody else that has had no outcome for a while: so often.
    pub timeouts: u8,
    /// Whether the pushers are told to finish (`Some(true)`) or to stop (`Some(false)`) once all is sent.
    pub drain: Option<bool>,
    /// Whether it begins when the first grants have arrived, rather than before.
    pub granted: bool,
    /// Whether all messages have been sent before it begins.
    pub sent: bool,
    /// Pushers to which the pullers are connected when it begins.
    pub joined: usize,
    pub faults: Faults,
}

/// For how long messages of a lost link wait for their puller (RD-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grace {
    None,
    /// It may be over at any moment.
    Short,
    /// It is not over before the puller is back.
    Long,
}

impl Bounds {
    /// Whether a delivery can be lost on its way.
    pub fn loses_links(&self) -> bool {
        self.faults.cuts + self.faults.restarts > 0
    }

    /// Whether there is no reason for any message to run twice.
    pub fn runs_once(&self) -> bool {
        let Faults { restarts, nacks, releases, leaves, .. } = self.faults;
        self.grace == Grace::Long && restarts + nacks + releases + leaves + self.timeouts == 0
    }
}

/// How often each may happen, in all. Pullers are alike, so that what happens to one of them happens to the first:
/// cuts, failed writes, restarts and leaving.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// A wire breaks.
    pub cuts: u8,
    /// A puller's process dies and begins anew.
    pub restarts: u8,
    /// An application stops waiting for a message.
    pub cancels: u8,
    pub nacks: u8,
    pub rejects: u8,
    pub releases: u8,
    /// A puller leaves. One always stays.
    pub leaves: u8,
    /// A side finds out by a failed write that a wire is broken.
    pub failed_writes: u8,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            pushers: 1,
            pullers: 2,
            messages: 2,
            tracked: false,
            window: 1,
            window_bytes: 1 << 20,
            budget: 100,
            workers: 1,
            waits: false,
            grace: Grace::None,
            timeouts: 0,
            drain: None,
            granted: true,
            sent: false,
            joined: usize::MAX,
            faults: Faults::default(),
        }
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pushers, pullers, messages, tracked, window, window_bytes, .. } = self;
        let Self { budget, workers, waits, drain, granted, sent, joined, grace, timeouts, faults, .. } = self;
        write!(f, "{pushers} pusher(s), {pullers} puller(s), {messages} message(s) each")?;
        write!(f, ", window {window} ({window_bytes} bytes), budget {budget}, {workers} worker(s)")?;
        write!(f, "{}", if *waits { " that wait" } else { "" })?;
        write!(f, "{}", if *tracked { ", tracked" } else { "" })?;
        write!(f, "{}", if *granted { "" } else { ", from before the first grants" })?;
        match grace {
            Grace::None => {}
            Grace::Short => write!(f, ", a grace")?,
            Grace::Long => write!(f, ", a long grace")?,
        }
        write!(f, "{}", if *sent { ", sent beforehand" } else { "" })?;
        if joined < pushers {
            write!(f, ", {joined} of the pushers joined")?;
        }
        match drain {
            None => {}
            Some(true) => write!(f, ", then finish")?,
            Some(false) => write!(f, ", then stop")?,
        }
        let Faults { cuts, restarts, cancels, nacks, rejects, releases, leaves, failed_writes } = *faults;
        for (count, name) in [
            (cuts, "cut"),
            (restarts, "restart"),
            (cancels, "cancelled wait"),
            (nacks, "nack"),
            (rejects, "reject"),
            (releases, "release"),
            (leaves, "leaving"),
            (failed_writes, "failed write"),
            (*timeouts, "settle time-out"),
        ] {
            if count > 0 {
                write!(f, ", {count} {name}(s)")?;
            }
        }
        Ok(())
    }
}
