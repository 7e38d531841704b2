//! The handshake scheduler: limits the CPU share of unfinished handshakes while links have work (HS-14).
//!
//! However many handshakes there are, their tasks get only a few turns between two polls of the sockets by
//! the runtime. A runtime shares its time among tasks, so without this 256 handshakes would get 256 turns for
//! one of a link.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use tokio::{sync::Notify, task::yield_now};

/// Turns of handshakes between two polls of the sockets. A handshake takes about four turns, so beside links
/// that keep a core busy, some hundred new peers a second are still accepted.
const MAX_TURNS: usize = 8;

#[derive(Default)]
pub(crate) struct HandshakeScheduler {
    state: Mutex<SchedulerState>,
    used_up: Notify,
}

struct SchedulerState {
    left: usize,
    /// Tasks that wait for a turn: at most a few entries for each handshake.
    waiting: VecDeque<Waker>,
}

impl Default for SchedulerState {
    fn default() -> Self {
        Self { left: MAX_TURNS, waiting: VecDeque::new() }
    }
}

impl HandshakeScheduler {
    /// Runs `work`, one turn at a time.
    pub(crate) async fn run<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        poll_fn(|cx| if self.turn(cx) { work.as_mut().poll(cx) } else { Poll::Pending }).await
    }

    /// Takes a turn, or joins the queue for one.
    fn turn(&self, cx: &Context<'_>) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.left == 0 {
            state.waiting.push_back(cx.waker().clone());
            return false;
        }
        state.left -= 1;
        if state.left == 0 {
            self.used_up.notify_one();
        }
        true
    }

    /// Grants the next turns each time the runtime has polled its sockets. Runs until it is dropped.
    pub(crate) async fn refill_turns(&self) {
        loop {
            self.used_up.notified().await;
            loop {
                // Returns when all or many other tasks have run and the sockets have been polled.
                yield_now().await;
                if self.refill() {
                    break;
                }
            }
        }
    }

    /// Returns true if no task waits any more.
    fn refill(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.left = state.left.max(MAX_TURNS); // may be open permanently by now
        let next = state.waiting.len().min(MAX_TURNS);
        let woken: Vec<_> = state.waiting.drain(..next).collect();
        let none_left = state.waiting.is_empty();
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        none_left
    }

    /// Stops limiting: all tasks run from now on, even without `refill_turns`. The remaining handshakes end by their
    /// deadlines.
    pub(crate) fn disable(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.left = usize::MAX;
        let woken = std::mem::take(&mut state.waiting);
        drop(state);
        woken.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[tokio::test]
    async fn hs_14_many_handshakes_get_few_turns_between_two_polls_of_the_sockets() {
        // HS-14
        let gate = Arc::new(HandshakeScheduler::default());
        let turns = Arc::new(AtomicUsize::new(0));
        let keeper = tokio::spawn({
            let gate = gate.clone();
            async move { gate.refill_turns().await }
        });
        let handshakes: Vec<_> = (0..100)
            .map(|_| {
                let (gate, turns) = (gate.clone(), turns.clone());
                tokio::spawn(async move {
                    let mut left = 10;
                    let work = poll_fn(|cx| {
                        turns.fetch_add(1, Ordering::Relaxed);
                        left -= 1;
                        cx.waker().wake_by_ref();
                        if left == 0 { Poll::Ready(()) } else { Poll::Pending }
                    });
                    gate.run(work).await;
                })
            })
            .collect();
        let mut looks = 0;
        while turns.load(Ordering::Relaxed) < 1_000 {
            let before = turns.load(Ordering::Relaxed);
            yield_now().await;
            looks += 1;
            let more = turns.load(Ordering::Relaxed) - before;
            assert!(more <= 2 * MAX_TURNS, "{more} turns at a time");
        }
        assert!(looks >= 1_000 / (2 * MAX_TURNS), "{looks}");
        for handshake in handshakes {
            handshake.await.unwrap(); // each got all of its turns
        }
        keeper.abort();
    }
}
