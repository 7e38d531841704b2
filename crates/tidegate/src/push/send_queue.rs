//! The queue of senders that wait for room.
//!
//! ```text
//!  joins ─► waiting ─── room ───► called ─── comes ───► served (and may send its share of the free room)
//!              ▲                    │ does not come in time
//!              └── comes too late ─ passed
//! ```
//! The machine reserves room for a called sender, so that no other sender takes it. A future that is not
//! polled would keep that room from all others, so it is passed over after a while. It keeps its place for
//! when it is polled.
//!
//! The queue is served in rounds: senders that join during a round wait for the next one. So each sender gets
//! an equal share, however quickly it returns.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    task::Waker,
    thread::{self, ThreadId},
};

use tidegate_proto::Pusher;
use tokio::task;

/// The number of rounds in which free room is handed out, about. With one, senders that join a little later
/// would get nothing. With many, a sender would be woken for every few messages.
pub(super) const ROUNDS: usize = 4;

/// The most shares that are kept for later use. If there are more, all are dropped.
const MAX_SHARES: usize = 1_024;

/// Identifies a sender: a share belongs to the task or thread that was served.
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

/// What the watch task has to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watch {
    /// A sender has been called: check again after a while.
    Called,
    /// No sender has been called.
    Idle,
    /// The queue is empty.
    Over,
}

struct WaitingSend {
    waker: Waker,
    /// Bytes of room that the sender needs.
    size: u64,
}

struct CalledSend {
    size: u64,
    /// The sender was called before the last check, and is passed over at the next one.
    late: bool,
}

#[derive(Default)]
pub(super) struct SendQueue {
    /// The next place number; never reused.
    next: u64,
    waiting: BTreeMap<u64, WaitingSend>,
    called: BTreeMap<u64, CalledSend>,
    passed: BTreeSet<u64>,
    /// Places below this number belong to the current round.
    round: u64,
    /// How many messages each sender served in this round may send in addition to the one it waited with.
    share: usize,
    /// The unused shares.
    shares: HashMap<Who, usize>,
    /// Wakers to call when the lock is released.
    wakers: Vec<Waker>,
    watched: bool,
    watch: Option<Watch>,
}

impl SendQueue {
    /// Whether a new sender may go ahead because the queue is empty.
    #[inline]
    pub(super) fn is_free(&self) -> bool {
        self.waiting.is_empty() && self.called.is_empty()
    }

    /// Whether a sender waits that has not been called.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The number of senders that wait and have not been called.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether a sender has been called and has not come yet.
    pub(super) fn has_called(&self) -> bool {
        !self.called.is_empty()
    }

    /// Whether the current sender may go ahead: the queue is empty, or the sender has a share left.
    pub(super) fn admits_at_once(&mut self) -> bool {
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

    /// Joins the end of the queue, and returns the place.
    pub(super) fn join(&mut self, waker: &Waker, size: u64) -> u64 {
        let place = self.next;
        self.next += 1;
        self.waiting.insert(place, WaitingSend { waker: waker.clone(), size });
        place
    }

    /// Called when the future that owns this place is polled. Returns true if the sender is served: then room
    /// is reserved for it.
    pub(super) fn claim(&mut self, place: u64, waker: &Waker, size: u64, machine: &mut Pusher) -> bool {
        if let Some(own) = self.waiting.get_mut(&place) {
            own.waker.clone_from(waker);
            return false;
        }
        // The room may have been reserved for another size. Nothing may exceed the byte limits.
        if let Some(called) = self.called.remove(&place) {
            machine.unreserve(called.size);
        }
        self.passed.remove(&place);
        if machine.reserve(size).is_err() {
            self.waiting.insert(place, WaitingSend { waker: waker.clone(), size });
            return false;
        }
        if self.share > 0 {
            self.shares.insert(Who::here(), self.share);
        }
        true
    }

    /// Removes a place whose future was dropped.
    pub(super) fn leave(&mut self, place: u64, machine: &mut Pusher) {
        self.waiting.remove(&place);
        self.passed.remove(&place);
        if let Some(CalledSend { size, .. }) = self.called.remove(&place) {
            machine.unreserve(size);
        }
    }

    /// Calls waiting senders while there is room.
    pub(super) fn call(&mut self, machine: &mut Pusher) {
        if self.waiting.is_empty() {
            return;
        }
        if self.called.is_empty() {
            self.round = self.next;
            self.share = machine.free_slots() / (self.waiting.len() * ROUNDS);
            // A thread may use its share later, but a program with one task for each message leaves a share
            // behind for each.
            if self.shares.len() > MAX_SHARES {
                self.shares.clear();
            }
        }
        while let Some(first) = self.waiting.first_entry().filter(|first| *first.key() < self.round)
            && machine.reserve(first.get().size).is_ok()
        {
            let (place, WaitingSend { waker, size }) = first.remove_entry();
            self.called.insert(place, CalledSend { size, late: false });
            self.wakers.push(waker);
        }
    }

    /// Wakes all waiting senders because there will be no more room.
    pub(super) fn dismiss(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        for (place, WaitingSend { waker, .. }) in waiting {
            self.passed.insert(place);
            self.wakers.push(waker);
        }
    }

    /// Passes over the senders that were called before the last check and have not come.
    pub(super) fn expire_calls(&mut self, machine: &mut Pusher) {
        for (place, CalledSend { size, .. }) in self.called.extract_if(.., |_, called| called.late) {
            self.passed.insert(place);
            machine.unreserve(size);
        }
        self.called.values_mut().for_each(|called| called.late = true);
    }

    /// Whether the watch task must be started.
    pub(super) fn needs_watch(&mut self) -> bool {
        !std::mem::replace(&mut self.watched, true)
    }

    /// What the watch task has to do now.
    pub(super) fn watch(&mut self) -> Watch {
        let watch = self.state();
        self.watched = watch != Watch::Over;
        self.watch = Some(watch);
        watch
    }

    /// Whether the watch task must be woken.
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

    /// Takes the wakers to call.
    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.wakers)
    }
}
