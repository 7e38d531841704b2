//! The timer of a socket: retries, the reconnect grace, slow starts.

use std::{sync::Arc, time::Duration};

use super::{Shared, SocketMachine, lost::SocketGuard};
use crate::caught::caught;

impl<M: SocketMachine> Shared<M> {
    /// Runs the timer of the socket as long as the socket exists: retries that are due.
    pub(crate) fn spawn_timer(self: &Arc<Self>) {
        // The task does not hold the socket while it sleeps, so that the socket can be dropped.
        let (keeper, earlier) = (SocketGuard::new(self), self.wakers.timer.clone());
        self.runtime.handle.spawn(async move {
            loop {
                let Some(strong) = keeper.socket() else { return };
                let deadline = strong.with(|inner| {
                    inner.timer = inner.machine.poll_socket_timeout();
                    inner.timer
                });
                let sleep = deadline.map(|at| tokio::time::sleep_until(strong.instant(at)));
                drop(strong);
                let idle = tokio::time::sleep(Duration::from_secs(1));
                tokio::select! {
                    biased;
                    () = async { match sleep { Some(sleep) => sleep.await, None => std::future::pending().await } } => {
                        let Some(strong) = keeper.socket() else { return };
                        // The owner of a payload may panic when it is dropped; the timer continues.
                        if let Err(panicked) = caught(|| strong.with(|inner| {
                            let now = strong.now();
                            inner.machine.handle_socket_timeout(now);
                        })) {
                            tracing::error!("the timer of a socket {panicked}");
                        }
                    }
                    () = earlier.notified() => {}
                    // With nothing due, check now and then whether the socket still exists.
                    () = idle => {}
                }
            }
        });
    }
}
