//! The bounds of a check, which make the number of states finite.

use std::fmt;

/// The bounds of one check, and the settings of the machines. `Default` has no faults.
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
    /// The window in bytes; a message is one byte.
    pub window_bytes: u64,
    /// The budget of each puller.
    pub budget: u64,
    /// Deliveries that an application holds at once.
    pub workers: usize,
    /// Whether applications wait for messages, which makes a puller grant credit (CR-6), or poll for them.
    pub waits: bool,
    pub grace: Grace,
    /// How often a settle time-out may requeue a delivery.
    pub timeouts: u8,
    /// Whether the pushers finish (`Some(true)`) or drain (`Some(false)`) after the last message is sent.
    pub drain: Option<bool>,
    /// Whether the check starts after the first grants have arrived, or before.
    pub granted: bool,
    /// Whether all messages are sent before the check starts.
    pub sent: bool,
    /// The number of pushers to which the pullers are connected at the start.
    pub joined: usize,
    pub faults: Faults,
}

/// The reconnect grace (RD-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grace {
    None,
    /// The grace may end at any moment.
    Short,
    /// The grace does not end before the puller reconnects.
    Long,
}

impl Bounds {
    /// Whether a delivery can be lost with a link.
    pub fn loses_links(&self) -> bool {
        self.faults.cuts + self.faults.restarts + self.faults.pusher_restarts > 0
    }

    /// Whether no message may run twice.
    pub fn runs_once(&self) -> bool {
        let Faults { restarts, nacks, releases, leaves, .. } = self.faults;
        self.grace == Grace::Long && restarts + nacks + releases + leaves + self.timeouts == 0
    }
}

/// How often each fault may happen, in all. Pullers are interchangeable, so a fault that affects one puller (a cut, a
/// failed write, a restart or leaving) always affects the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// A wire breaks.
    pub cuts: u8,
    /// A puller's process dies and restarts.
    pub restarts: u8,
    /// A pusher's process dies and restarts with its store (RD-11).
    pub pusher_restarts: u8,
    /// An application stops waiting for a message.
    pub cancels: u8,
    pub nacks: u8,
    pub rejects: u8,
    pub releases: u8,
    /// A puller leaves. At least one stays.
    pub leaves: u8,
    /// A side learns from a failed write that a wire is broken.
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
        write!(f, "{}", if *granted { "" } else { ", starting before the first grants" })?;
        match grace {
            Grace::None => {}
            Grace::Short => write!(f, ", a short grace")?,
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
        let Faults { cuts, restarts, pusher_restarts, cancels, nacks, .. } = *faults;
        let Faults { rejects, releases, leaves, failed_writes, .. } = *faults;
        for (count, name) in [
            (cuts, "cut"),
            (restarts, "restart"),
            (pusher_restarts, "pusher restart"),
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
