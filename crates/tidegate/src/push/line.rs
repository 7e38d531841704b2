//! The line of those who wait for room.
//!
//! ```text
//!  joins ─► waiting ─── room ───► called ─── comes ───► served (and may send its share of the free room)
//!              ▲                    │ does not come in time
//!              └── comes too late ─ passed
//! ```
//! Whoever is called has its room promised by the machine, so that nobody takes it away. A future that is not polled would keep
//! that room from all others: it is passed over in time, and keeps its place for when it comes.
//!
//! The line is served in rounds: those who join while others are being served wait for the next one. So every sender gets as much
//! as the others, however quickly it comes back.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    task::Waker,
    thread::{self, ThreadId},
};

use tidegate_proto::Pusher;
use tokio::task;

/// In how many rounds free room is given out, about: in one, those who come a little late would get nothing of it; in many, each
/// sender would be woken for every few messages.
pub(super) const ROUNDS: usize = 4;

/// Shares that are not used up; when there are more, all are forgotten.
const MAX_SHARES: usize = 1_024;

/// Who sends: what has just been served may go on for a while, and nobody else in its name.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Who {
    Task(task::Id),
    Thread(ThreadId),
}

impl Who {
    fn here() -> Self {
        task::try_id().map_or_else(|| Self::Thread(thread::current().id()), Self::Task)
    }
}

/// What the task that looks after the called ones has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watch {
    /// Somebody is called: look again in a while.
    Called,
    /// Nobody is.
    Idle,
    /// Nobody is in line.
    Over,
}

struct Waiting {
    waker: Waker,
    /// Bytes that it needs room for.
    size: u64,
}

struct Called {
    size: u64,
    /// It was called before the last look, and is passed over at the next one.
    late: bool,
}

#[derive(Default)]
pub(super) struct Line {
    /// The next place. Places are never used again.
    next: u64,
    waiting: BTreeMap<u64, Waiting>,
    called: BTreeMap<u64, Called>,
    passed: BTreeSet<u64>,
    /// The places before this one belong to this round.
    round: u64,
    /// What each who is served in this round may send beside the message that it waited with.
    share: usize,
    /// What is left of that, by who has been served.
    shares: HashMap<Who, usize>,
    /// To be woken when the lock is free.
    wakers: Vec<Waker>,
    watched: bool,
    watch: Option<Watch>,
}

impl Line {
    /// Whether nobody is in line who comes before a new sender.
    #[inline]
    pub(super) fn is_free(&self) -> bool {
        self.waiting.is_empty() && self.called.is_empty()
    }

    /// Whether somebody waits who has not been called.
    pub(super) fn is_waited_in(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether somebody has been called and has not come.
    pub(super) fn has_called(&self) -> bool {
        !self.called.is_empty()
    }

    /// Whether who asks need not join the line: nobody is in it, or this is part of its share.
    pub(super) fn lets_pass(&mut self) -> bool {
        if self.is_free() {
            return true;
        }
        let who = Who::here();
        let Some(left) = self.shares.get_mut(&who) else { return false };
        *left -= 1;
        if *left == 0 {
            self.shares.remove(&who);
        }
        true
    }

    /// Takes a place at the end.
    pub(super) fn join(&mut self, waker: &Waker, size: u64) -> u64 {
        let place = self.next;
        self.next += 1;
        self.waiting.insert(place, Waiting { waker: waker.clone(), size });
        place
    }

    /// The owner of this place has come. True if it is served: then it has the machine's promise of room.
    pub(super) fn come(&mut self, place: u64, waker: &Waker, size: u64, machine: &mut Pusher) -> bool {
        if let Some(own) = self.waiting.get_mut(&place) {
            own.waker.clone_from(waker);
            return false;
        }
        // The promise may not have been for its size: nothing is let in beyond the bounds in bytes.
        if let Some(called) = self.called.remove(&place) {
            machine.unreserve(called.size);
        }
        self.passed.remove(&place);
        if machine.reserve(size).is_err() {
            self.waiting.insert(place, Waiting { waker: waker.clone(), size });
            return false;
        }
        if self.share > 0 {
            self.shares.insert(Who::here(), self.share);
        }
        true
    }

    /// The owner of this place waits no more.
    pub(super) fn leave(&mut self, place: u64, machine: &mut Pusher) {
        self.waiting.remove(&place);
        self.passed.remove(&place);
        if let Some(Called { size, .. }) = self.called.remove(&place) {
            machine.unreserve(size);
        }
    }

    /// Calls as many as there is room for.
    pub(super) fn call(&mut self, machine: &mut Pusher) {
        if self.waiting.is_empty() {
            return;
        }
        if self.called.is_empty() {
            self.round = self.next;
            self.share = machine.spare() / (self.waiting.len() * ROUNDS);
            // A thread that was kept from using its share may do so later. A task for each message leaves one behind each.
            if self.shares.len() > MAX_SHARES {
                self.shares.clear();
            }
        }
        while let Some(first) = self.waiting.first_entry().filter(|first| *first.key() < self.round)
            && machine.reserve(first.get().size).is_ok()
        {
            let (place, Waiting { waker, size }) = first.remove_entry();
            self.called.insert(place, Called { size, late: false });
            self.wakers.push(waker);
        }
    }

    /// There will be no room: all are woken to learn that.
    pub(super) fn dismiss(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        for (place, Waiting { waker, .. }) in waiting {
            self.passed.insert(place);
            self.wakers.push(waker);
        }
    }

    /// Passes over those who were called before the last look and have not come.
    pub(super) fn look(&mut self, machine: &mut Pusher) {
        for (place, Called { size, .. }) in self.called.extract_if(.., |_, called| called.late) {
            self.passed.insert(place);
            machine.unreserve(size);
        }
        self.called.values_mut().for_each(|called| called.late = true);
    }

    /// Whether a task has to be started that looks after the called ones.
    pub(super) fn needs_watch(&mut self) -> bool {
        !std::mem::replace(&mut self.watched, true)
    }

    /// What that task has to do now.
    pub(super) fn watch(&mut self) -> Watch {
        let watch = self.state();
        self.watched = watch != Watch::Over;
        self.watch = Some(watch);
        watch
    }

    /// Whether that task sleeps and has something to do.
    pub(super) fn wakes_watch(&mut self) -> bool {
        let wakes = self.watch == Some(Watch::Idle) && self.state() != Watch::Idle;
        if wakes {
            self.watch = None;
        }
        wakes
    }

    fn state(&self) -> Watch {
        if !self.called.is_empty() {
            Watch::Called
        } else if self.waiting.is_empty() && self.passed.is_empty() {
            Watch::Over
        } else {
            Watch::Idle
        }
    }

    /// Who is to be woken.
    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.wakers)
    }
}
