//! What strangers cost, while links have something to do (HS-14).
//!
//! However many strangers there are, the tasks that greet them get no more than a few turns between two looks of the runtime at
//! its sockets. A runtime takes turns among tasks: without this, 256 strangers would get 256 turns for one of a link.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use tokio::{sync::Notify, task::yield_now};

/// Turns of strangers between two looks at the sockets. A handshake takes about four: with a core that is busy with links, some
/// hundred newcomers a second still get in.
const TURNS: usize = 8;

#[derive(Default)]
pub(super) struct Turnstile {
    state: Mutex<State>,
    used_up: Notify,
}

struct State {
    left: usize,
    /// Who wants a turn: at most a few entries for each stranger that there may be.
    waiting: VecDeque<Waker>,
}

impl Default for State {
    fn default() -> Self {
        Self { left: TURNS, waiting: VecDeque::new() }
    }
}

impl Turnstile {
    /// Does `work`, a turn at a time.
    pub(super) async fn pass<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        poll_fn(|cx| if self.turn(cx) { work.as_mut().poll(cx) } else { Poll::Pending }).await
    }

    /// Takes a turn, or a place in the queue for one.
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

    /// Lets the next ones through, each time that the runtime has looked at its sockets. Runs until it is dropped.
    pub(super) async fn keep(&self) {
        loop {
            self.used_up.notified().await;
            loop {
                // Comes back when all other tasks have had their turn, or many of them, and the sockets were looked at.
                yield_now().await;
                if self.open() {
                    break;
                }
            }
        }
    }

    /// True if nobody waits any more.
    fn open(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.left = state.left.max(TURNS); // it may be open for good since
        let next = state.waiting.len().min(TURNS);
        let woken: Vec<_> = state.waiting.drain(..next).collect();
        let none_left = state.waiting.is_empty();
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        none_left
    }

    /// Lets everybody through from now on, also without anybody to keep it. Those who are left get to their deadlines by that.
    pub(super) fn open_for_good(&self) {
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
    async fn hs_14_a_crowd_of_strangers_gets_few_turns_between_two_looks_at_the_sockets() {
        // HS-14
        let gate = Arc::new(Turnstile::default());
        let turns = Arc::new(AtomicUsize::new(0));
        let keeper = tokio::spawn({
            let gate = gate.clone();
            async move { gate.keep().await }
        });
        let strangers: Vec<_> = (0..100)
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
                    gate.pass(work).await;
                })
            })
            .collect();
        let mut looks = 0;
        while turns.load(Ordering::Relaxed) < 1_000 {
            let before = turns.load(Ordering::Relaxed);
            yield_now().await;
            looks += 1;
            let more = turns.load(Ordering::Relaxed) - before;
            assert!(more <= 2 * TURNS, "{more} turns at a time");
        }
        assert!(looks >= 1_000 / (2 * TURNS), "{looks}");
        for stranger in strangers {
            stranger.await.unwrap(); // each has had all of its turns
        }
        keeper.abort();
    }
}
