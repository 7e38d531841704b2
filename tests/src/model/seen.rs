//! What has happened in any state at all: a check in which nothing went wrong proves little if nothing happened.

use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_proto::{
    Code, Violation,
    wire::{Body, v1::Verdict},
};

/// Something that a check should have met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message ran again, with a higher attempt.
    Redelivered,
    Recalled,
    Skipped,
    /// A puller gave back what nobody had begun, or what its application gave back.
    Released,
    Left,
    Ended,
    /// A newer wire took an older one's place.
    Replaced,
    FailedWrite,
    WentAway,
    Batched,
    TimedOut,
    /// A puller knew a message that came again (RD-9).
    Recognised,
}

/// The events that have been met, by any path.
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
