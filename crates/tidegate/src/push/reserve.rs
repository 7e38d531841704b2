//! Reservations: room for a message before there is one.

use std::time::Duration;

use tidegate_proto::Blocked;

use super::{
    Permit, Push, refusal,
    send::{ANY, closed},
    waiting::Turn,
};
use crate::error::{ReserveError, TryReserveError};

impl Push {
    /// Reserves room for one message, waiting for it as [`Self::send`] does. The permit then sends without
    /// waiting.
    ///
    /// A permit is for a message of any size, and remains valid if the credit it was granted for is gone.
    /// Permits count towards the high-water mark, but do not delay sends for which a link has credit. So `n`
    /// outstanding permits may exceed the high-water mark by up to `n` messages, and the byte limits by up to
    /// `n × max_message`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let push = tidegate::Push::builder().bind("mem://doc-reserve").high_water_mark(1).build().await?;
    /// let mut jobs = vec!["resize 18.png", "resize 17.png"];
    /// let permit = push.reserve().await?; // if this is cancelled, no job has been taken
    /// if let Some(job) = jobs.pop() {
    ///     permit.send(job)?; // does not wait
    /// }
    /// assert_eq!(push.stats().accepted, 1);
    /// assert_eq!(jobs, ["resize 18.png"]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ReserveError`] if the pusher is closed, or every endpoint has refused permanently.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, nothing is reserved.
    pub async fn reserve(&self) -> Result<Permit, ReserveError> {
        Turn::new(self, ANY).await
    }

    /// Reserves room for one message, waiting at most `wait` for it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use tidegate::{Push, TryReserveError};
    ///
    /// let push = Push::builder().bind("mem://doc-reserve-timeout").high_water_mark(1).build().await?;
    /// let permit = push.reserve_timeout(Duration::from_secs(1)).await?;
    /// let full = push.reserve_timeout(Duration::from_millis(5)).await;
    /// assert!(matches!(full, Err(TryReserveError::Full)));
    /// permit.send("resize 17.png")?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`TryReserveError::Full`] if there was no room within `wait`, and otherwise the same as
    /// [`Self::reserve`].
    ///
    /// # Cancel safety
    /// The same as [`Self::reserve`].
    pub async fn reserve_timeout(&self, wait: Duration) -> Result<Permit, TryReserveError> {
        self.turn_within(wait, ANY).await
    }

    /// Reserves room for one message if there is room now and no other sender waits for it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let push = tidegate::Push::builder().bind("mem://doc-try-reserve").high_water_mark(1).build().await?;
    /// let permit = push.try_reserve()?;
    /// assert!(push.try_reserve().is_err()); // the permit holds the only room
    /// permit.send("resize 17.png")?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`TryReserveError::Full`] if there is no room now, and otherwise the same as [`Self::reserve`].
    pub fn try_reserve(&self) -> Result<Permit, TryReserveError> {
        let reserved = self.shared().with(|inner| {
            let reserved = if inner.others_wait() { Err(Blocked::Full) } else { inner.machine.reserve(ANY) };
            reserved.map_err(|reason| match (reason, refusal(inner)) {
                (Blocked::Full, Some(refusal)) => ReserveError::Refused(Box::new(refusal)).into(),
                (Blocked::Full, None) => {
                    inner.state.refused = true;
                    TryReserveError::Full
                }
                _ => closed(inner.lost).into(),
            })
        });
        reserved.map(|()| Permit::new(self.clone(), ANY))
    }

    pub(super) async fn turn_within(&self, wait: Duration, size: u64) -> Result<Permit, TryReserveError> {
        match self.shared().timeout(wait, Turn::new(self, size)).await {
            Some(result) => Ok(result?),
            None => Err(TryReserveError::Full),
        }
    }
}
