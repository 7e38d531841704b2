//! The events that happened in any state. A check without failures proves little if nothing happened in it.

use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_proto::{
    Code, Violation,
    wire::{Body, v1::Verdict},
};

/// An event that a check should reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message ran again, with a higher attempt.
    Redelivered,
    Recalled,
    Skipped,
    /// A puller released a delivery.
    Released,
    Left,
    Ended,
    /// A newer wire replaced an older one.
    Replaced,
    FailedWrite,
    WentAway,
    Batched,
    TimedOut,
    /// A puller suppressed a duplicate (RD-9).
    Recognised,
}

/// The events that have happened on any path.
#[derive(Debug, Default)]
pub struct Seen(AtomicU64);

impl Seen {
    pub fn note(&self, event: Event) {
        self.0.fetch_or(1 << event as u64, Ordering::Relaxed);
    }

    pub fn has(&self, event: Event) -> bool {
        self.0.load(Ordering::Relaxed) & (1 << event as u64) != 0
    }

    pub(super) fn frame(&self, body: &Result<Body, Violation>) {
        match body {
            Ok(Body::Deliver(batch)) if batch.cursor.len() > 1 => self.note(Event::Batched),
            Ok(Body::Skip(_)) => self.note(Event::Skipped),
            Ok(Body::End) => self.note(Event::Ended),
            Ok(Body::Ack(ack)) => {
                for (set, event) in [
                    (ack.recall, Event::Recalled),
                    (ack.leaving, Event::Left),
                    (ack.outcomes.iter().any(|o| o.verdict() == Verdict::Release), Event::Released),
                ] {
                    if set {
                        self.note(event);
                    }
                }
            }
            Ok(Body::Close(close)) if Code::from_wire(close.code) == Code::GoingAway => {
                self.note(Event::WentAway);
            }
            _ => {}
        }
    }
}
