//! The law of conservation: every message is in exactly one place.
//!
//! For a pusher, accepted = acked + rejected + aborted + in flight + queued. For a puller, received = acked + nacked +
//! rejected + released + dropped + in flight + queued + duplicates that wait.

use tidegate_proto::{PullStats, PushStats};

/// Checks the messages of a pusher.
///
/// # Errors
/// Messages are missing, or counted twice.
pub fn check_pusher(stats: &PushStats) -> Result<(), String> {
    let settled = stats.acked + stats.rejected + stats.aborted;
    let placed = settled + stats.in_flight + stats.queued;
    if stats.accepted == placed {
        return Ok(());
    }
    Err(format!("conservation: {} messages are accepted, but {placed} are placed: {stats:?}", stats.accepted))
}

/// Checks the messages of a puller.
///
/// # Errors
/// Messages are missing, or counted twice.
pub fn check_puller(stats: &PullStats) -> Result<(), String> {
    let settled = stats.acked + stats.nacked + stats.rejected + stats.released + stats.dropped;
    let placed = settled + stats.in_flight + stats.queued + stats.duplicates_waiting;
    if stats.received == placed {
        return Ok(());
    }
    Err(format!("conservation: {} messages are received, but {placed} are placed: {stats:?}", stats.received))
}

/// Asserts what [`check_pusher`] checks.
///
/// # Panics
/// Messages are missing, or counted twice.
#[track_caller]
pub fn assert_pusher(stats: &PushStats) {
    check_pusher(stats).unwrap();
}

/// Asserts what [`check_puller`] checks.
///
/// # Panics
/// Messages are missing, or counted twice.
#[track_caller]
pub fn assert_puller(stats: &PullStats) {
    check_puller(stats).unwrap();
}

#[cfg(test)]
mod tests {
    use tidegate_proto::Verdict;

    use super::*;
    use crate::{SECOND, World, puller, pusher};

    #[test]
    fn a_message_that_is_missing_is_found_on_both_sides() {
        let mut world = World::new(vec![pusher(|_| ())], vec![puller(|_| ())]);
        world.join(0, 0);
        for payload in ["acked", "held", "queued"] {
            world.send(0, payload);
        }
        let first = world.recv(0).unwrap();
        world.give(0, first, &Verdict::Ack);
        let _held = world.recv(0);
        world.pass(SECOND);
        let (push, pull) = (world.pushers[0].stats(), world.pullers[0].stats());
        assert_eq!((push.accepted, push.acked, pull.received, pull.in_flight), (3, 1, 3, 1));
        assert_pusher(&push);
        assert_puller(&pull);
        let (mut lost, mut twice) = (push.clone(), pull.clone());
        lost.accepted += 1;
        twice.queued += 1;
        assert!(check_pusher(&lost).is_err() && check_puller(&twice).is_err());
    }
}
