//! The state that a puller keeps beside its machine, under the same lock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tidegate_proto::{LinkId, Peer, Puller, PullerEvent, Time};

use super::lane::Lane;
use crate::error::Refusal;
use crate::socket::{Deferred, Inner, Shared, SocketMachine, Wakers};

/// What the deliveries of a link have in common. Deliveries of a batch share it: one reference each would cost as much
/// as the lock.
#[derive(Clone, Default)]
pub(crate) struct DeliveryContext(pub(super) Option<Arc<Origin>>);

pub(crate) struct Origin {
    /// Where the deliveries are settled.
    pub(super) shared: Arc<Shared<PullMachine>>,
    pub(super) pipeline: String,
    /// The verified names of the pusher (TL-4).
    pub(super) names: Vec<String>,
}

pub(crate) type PullMachine = Puller<DeliveryContext>;

pub(crate) struct PullState {
    /// The link whose deliveries are in the lane.
    pub(super) lane_link: Option<LinkId>,
    /// Counts the events after which the lane is put back: its link has closed, or its stream has ended.
    disruptions: Arc<AtomicU64>,
    expect: Option<usize>,
    keep: bool,
    /// The number of `recv` calls that wait for a delivery.
    pub(super) waiting: usize,
    /// An Ack is due; a `recv` that never waits would keep the link from sending it.
    pub(super) yield_due: bool,
    /// `leave` was called, or the streams have ended: `recv` returns nothing more.
    pub(super) closed: bool,
    /// Logged when the lock is released.
    warnings: Vec<String>,
}

impl PullState {
    /// The state, and the lane that goes with it.
    pub(crate) fn with_lane(
        expect: Option<usize>,
        keep: bool,
        min_batch: u64,
        ack_delay: Duration,
    ) -> (Self, Lane) {
        let disruptions = Arc::default();
        let state = Self {
            lane_link: None,
            disruptions: Arc::clone(&disruptions),
            expect,
            keep,
            waiting: 0,
            yield_due: false,
            closed: false,
            warnings: Vec::new(),
        };
        (state, Lane::new(disruptions, min_batch, ack_delay))
    }
}

/// Whether every expected pusher has ended its stream (ST-6).
pub(super) fn is_over(inner: &Inner<PullMachine>) -> bool {
    !inner.state.keep && is_idle_for_good(inner)
}

/// The refusal that makes receiving pointless, if no pusher is left that could bring a message.
pub(super) fn refusal(inner: &Inner<PullMachine>) -> Option<Refusal> {
    if is_idle_for_good(inner) { inner.endpoints.refused.last().cloned() } else { None }
}

/// Whether no endpoint can bring a message any more, and none is queued.
fn is_idle_for_good(inner: &Inner<PullMachine>) -> bool {
    let (state, places) = (&inner.state, &inner.endpoints);
    let connected_done = places.dialing == 0;
    let bound_done = match state.expect.filter(|_| !state.keep) {
        // A pusher with a link may have more messages, however many others have ended.
        Some(expected) => inner.machine.pushers_ended() >= expected && !inner.machine.has_open_streams(),
        None => places.bound.is_empty(),
    };
    connected_done && bound_done && !inner.machine.has_queued()
}

impl SocketMachine for PullMachine {
    type State = PullState;
    type Outside = Lane;
    const GIVES_WAY: bool = true;

    fn after(inner: &mut Inner<Self>, wakers: &Wakers) {
        let (machine, state) = (&mut inner.machine, &mut inner.state);
        while let Some(event) = machine.poll_event() {
            if let PullerEvent::AtCap { cap, held } = event {
                state.warnings.push(format!(
                    "a recv has waited 5 s because {held} deliveries are un-acked and the window is {cap}: ack them \
                     sooner, receive fewer at a time, or set a larger window (this warning is logged once)"
                ));
                continue;
            }
            wakers.changed();
            wakers.ready.notify_waiters();
        }
        if let Some(link) = state.lane_link
            && !machine.may_hand_out(link)
        {
            state.lane_link = None;
            state.disruptions.fetch_add(1, Ordering::Release);
        }
        if state.waiting > 0 && machine.has_next() {
            wakers.ready.notify_one();
        }
    }

    fn take_deferred(state: &mut PullState) -> Deferred {
        Deferred { warnings: std::mem::take(&mut state.warnings), ..Deferred::default() }
    }

    fn opened(inner: &mut Inner<Self>, link: LinkId, peer: &Peer, shared: &Arc<Shared<Self>>) {
        let (pipeline, names) = (peer.pipeline.clone(), peer.names.clone());
        let origin = Origin { shared: shared.clone(), pipeline, names };
        inner.machine.set_context(link, DeliveryContext(Some(Arc::new(origin))));
    }

    fn at_end(inner: &Inner<Self>) -> bool {
        inner.state.closed || (is_over(inner) && inner.endpoints.refused.is_empty())
    }

    fn lose(inner: &mut Inner<Self>, _: Time) -> bool {
        let over = Self::at_end(inner);
        inner.machine.leave(); // the pushers send again what was not handed out
        inner.state.closed |= over; // no `recv` has returned the end yet
        !over
    }

    fn stays(state: &PullState) -> bool {
        state.keep
    }

    fn has_outcome(&self, link: LinkId) -> bool {
        self.has_outcome(link)
    }

    fn is_over(&self, link: LinkId) -> bool {
        self.has_ended(link)
    }

    fn has_ended(&self, link: LinkId) -> bool {
        self.has_ended(link)
    }
}
