//! Catches panics in code of the application: transports, rules, owners of payloads. Each becomes an error
//! where it happens, so that it costs one attempt or link, but not the task that retries.

use std::{
    any::Any,
    future::poll_fn,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    task::Poll,
};

/// A panic that was caught. The program's panic hook has already seen it.
#[derive(Debug, thiserror::Error)]
#[error("panicked: {0}")]
pub(crate) struct Panicked(String);

impl Panicked {
    fn new(payload: &(dyn Any + Send)) -> Self {
        let text = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Self(text.unwrap_or("no text").to_owned())
    }

    /// Whether `error` is a caught panic.
    pub(crate) fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.downcast_ref::<Self>().is_some())
    }
}

impl From<Panicked> for io::Error {
    fn from(panicked: Panicked) -> Self {
        Self::other(panicked)
    }
}

/// Calls `f` and catches a panic. What a panic leaves half done must be safe to use.
pub(crate) fn caught<R>(f: impl FnOnce() -> R) -> Result<R, Panicked> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        let panicked = Panicked::new(&*payload);
        // The drop of the panic's own payload may panic; then that payload is leaked.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
        panicked
    })
}

/// Runs a future and catches a panic, also of its drop.
pub(crate) async fn caught_in<F: Future>(work: F) -> Result<F::Output, Panicked> {
    let mut work = Box::pin(work);
    let result = poll_fn(|cx| match caught(|| work.as_mut().poll(cx)) {
        Ok(polled) => polled.map(Ok),
        Err(panicked) => Poll::Ready(Err(panicked)),
    })
    .await;
    caught(|| drop(work))?;
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::park::block_on;

    #[test]
    fn a_panic_in_a_call_a_future_or_a_drop_is_an_error_with_its_text() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("in drop");
            }
        }
        assert_eq!(caught(|| 7).unwrap(), 7);
        assert_eq!(block_on(caught_in(async { 7 })).unwrap(), 7);
        let text = |panicked: Panicked| panicked.to_string();
        assert_eq!(text(caught(|| panic!("static")).unwrap_err()), "panicked: static");
        assert_eq!(text(caught(|| panic!("{}", 7)).unwrap_err()), "panicked: 7");
        assert_eq!(text(block_on(caught_in(async { panic!("late") })).unwrap_err()), "panicked: late");
        let kept = async move {
            let _bomb = Bomb;
            std::future::ready(()).await;
        };
        assert_eq!(text(block_on(caught_in(kept)).unwrap_err()), "panicked: in drop");
        assert!(Panicked::is(&caught(|| panic!("x")).unwrap_err().into()));
        assert!(!Panicked::is(&io::Error::other("x")));
    }
}
