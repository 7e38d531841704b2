//! State of this process only: a fork copies memory, but neither the threads nor what they serve.

use std::{
    mem,
    ops::{Deref, DerefMut},
    process,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// A value that starts over in the child of a fork.
pub(crate) struct OfProcess<T>(Mutex<(u32, T)>);

impl<T: Default> Default for OfProcess<T> {
    fn default() -> Self {
        Self(Mutex::new((process::id(), T::default())))
    }
}

impl<T: Default> OfProcess<T> {
    pub(crate) fn lock(&self) -> impl DerefMut<Target = T> {
        let mut value = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let process = process::id();
        if value.0 != process {
            // The parent's value is not dropped: that would wake tasks of a runtime that has no threads here.
            mem::forget(mem::replace(&mut *value, (process, T::default())));
        }
        Locked(value)
    }
}

struct Locked<'a, T>(MutexGuard<'a, (u32, T)>);

impl<T> Deref for Locked<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.1
    }
}

impl<T> DerefMut for Locked<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_another_process_is_not_used() {
        let of_parent = OfProcess(Mutex::new((process::id() + 1, 7)));
        assert_eq!(*of_parent.lock(), 0);
        *of_parent.lock() = 8;
        assert_eq!(*of_parent.lock(), 8);
    }
}
