//! The watch of a lane: it collects acks while the application takes no delivery (OC-5), and puts deliveries back that
//! nobody takes.

use std::{sync::Arc, time::Duration};

use tokio::sync::Notify;

use super::{lane::Tick, state::PullMachine};
use crate::socket::Shared;

/// The time between two ticks: the precision of timers.
pub(super) const TICK: Duration = Duration::from_millis(1);
/// After this many ticks without a change, acks are collected at once, and the watch ticks every [`SLOW_TICK`].
const QUIET_TICKS: u32 = 64;
/// An ack that is stored just when the watch becomes quiet is collected after this time at most. This is a bound in
/// theory: a store is seen within microseconds, and the last of the frequent ticks collects it.
const SLOW_TICK: Duration = Duration::from_secs(1);
/// The watch ends after this many ticks in which no page was in use.
const UNUSED_TICKS: u32 = 16;

/// Starts the watch. It runs where the links run, and holds no reference to the socket while it sleeps.
pub(super) fn spawn(shared: &Arc<Shared<PullMachine>>, wake: Arc<Notify>) {
    let weak = Arc::downgrade(shared);
    shared.runtime.handle.spawn(async move {
        let (mut still, mut unused) = (0, 0);
        loop {
            if still < QUIET_TICKS + 2 {
                tokio::time::sleep(TICK).await;
            } else {
                tokio::select! {
                    () = tokio::time::sleep(SLOW_TICK) => {}
                    () = wake.notified() => still = 0,
                }
            }
            let Some(shared) = weak.upgrade() else { return };
            let lane = &shared.outside;
            match lane.tick(&shared, still >= QUIET_TICKS) {
                Tick::Moved => (still, unused) = (0, 0),
                Tick::Still => (still, unused) = (still + 1, 0),
                Tick::Unused => (still, unused) = (0, unused + 1),
            }
            if unused >= UNUSED_TICKS && lane.end_watch() {
                return;
            }
        }
    });
}
