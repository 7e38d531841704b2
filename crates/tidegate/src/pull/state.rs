//! What a puller's handles keep beside the machine, under the same lock.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tidegate_proto::{LinkId, Puller, PullerEvent, Time};

use super::receiver::Lending;
use crate::error::Refusal;
use crate::shared::{Inner, Later, Role, Shared, Signals};

/// Where a delivery is settled. Deliveries share it by batch: one reference for each would cost as much as the lock.
#[derive(Clone, Default)]
pub(crate) struct Home(pub(super) Option<Arc<Shared<PullMachine>>>);

pub(crate) type PullMachine = Puller<Home>;

pub(crate) struct PullState {
    /// Lots that receivers have taken, one at most for each.
    pub(super) lendings: HashMap<u64, Lending>,
    /// How many receivers there have been.
    pub(super) receivers: u64,
    pub(super) ack_delay: Duration,
    expect: Option<usize>,
    keep: bool,
    /// How many `recv` wait for a delivery.
    pub(super) waiting: usize,
    /// How many of them there are together with those that let others go first: a `recv` that comes takes nothing before them.
    pub(super) in_line: usize,
    /// An Ack is due, and a `recv` that goes on without waiting would keep its link from sending it.
    pub(super) yield_due: bool,
    /// `leave` has been called, or the streams are over: `recv` gives nothing more.
    pub(super) closed: bool,
    /// Warnings to be logged when the lock is free.
    warnings: Vec<String>,
}

impl PullState {
    pub(super) fn new(expect: Option<usize>, keep: bool, ack_delay: Duration) -> Self {
        Self {
            lendings: HashMap::new(),
            receivers: 0,
            ack_delay,
            expect,
            keep,
            waiting: 0,
            in_line: 0,
            yield_due: false,
            closed: false,
            warnings: Vec::new(),
        }
    }
}

/// Whether every expected pusher has ended its stream (ST-6).
pub(super) fn is_over(inner: &Inner<PullMachine>) -> bool {
    !inner.state.keep && is_idle_for_good(inner)
}

/// The refusal that makes receiving pointless: nobody else is left who could bring a message.
pub(super) fn refusal(inner: &Inner<PullMachine>) -> Option<Refusal> {
    if is_idle_for_good(inner) { inner.places.refused.last().cloned() } else { None }
}

/// Whether no endpoint is left that brings messages, and no message is left.
fn is_idle_for_good(inner: &Inner<PullMachine>) -> bool {
    let (state, places) = (&inner.state, &inner.places);
    let connected_done = places.dialing == 0;
    let bound_done = match state.expect.filter(|_| !state.keep) {
        // Whoever has a link may still have work, however many have said that they are done.
        Some(expected) => inner.machine.pushers_ended() >= expected && !inner.machine.has_open_streams(),
        None => places.bound.is_empty(),
    };
    connected_done && bound_done && !inner.machine.has_queued()
}

impl Role for PullMachine {
    type State = PullState;
    const GIVES_WAY: bool = true;

    fn after(inner: &mut Inner<Self>, signals: &Signals) {
        let (machine, state) = (&mut inner.machine, &mut inner.state);
        while let Some(event) = machine.poll_event() {
            if let PullerEvent::AtCap { cap, held } = event {
                state.warnings.push(format!(
                    "a recv has been waiting for 5 s because {held} deliveries are un-acked, as many as the window of {cap} \
                     allows: ack them sooner, take no more than can be worked on at once, or set a larger window (this is said once)"
                ));
                continue;
            }
            signals.changed();
            signals.ready.notify_waiters();
        }
        if state.waiting > 0 && machine.has_next() {
            signals.ready.notify_one();
        }
    }

    fn take_later(state: &mut PullState) -> Later {
        Later { warnings: std::mem::take(&mut state.warnings), ..Later::default() }
    }

    fn opened(inner: &mut Inner<Self>, link: LinkId, shared: &Arc<Shared<Self>>) {
        inner.machine.set_home(link, Home(Some(shared.clone())));
    }

    fn at_end(inner: &Inner<Self>) -> bool {
        inner.state.closed || (is_over(inner) && inner.places.refused.is_empty())
    }

    fn lose(inner: &mut Inner<Self>, _: Time) -> bool {
        let over = Self::at_end(inner);
        inner.machine.leave(); // what was not handed out is lost with its link, and sent again by its pusher
        inner.state.closed |= over; // no recv has noticed it yet
        !over
    }

    fn stays(state: &PullState) -> bool {
        state.keep
    }

    fn is_proven(&self, link: LinkId) -> bool {
        self.is_proven(link)
    }

    fn is_over(&self, link: LinkId) -> bool {
        self.has_ended(link)
    }

    fn has_ended(&self, link: LinkId) -> bool {
        self.has_ended(link)
    }
}
