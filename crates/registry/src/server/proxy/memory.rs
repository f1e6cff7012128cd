//! What was learnt and when, by repository and thing; bounded by forgetting all of it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

type Known<V> = HashMap<(String, String), (Instant, V)>;

/// Values with the time they were learnt at.
#[derive(Debug)]
pub(super) struct Memory<V> {
    known: Mutex<Known<V>>,
    max: usize,
}

impl<V: Clone> Memory<V> {
    /// A memory of at most `max` values.
    pub(super) fn new(max: usize) -> Self {
        Self { known: Mutex::default(), max }
    }

    fn lock(&self) -> MutexGuard<'_, Known<V>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, name: &str, thing: &str, value: V) {
        let mut known = self.lock();
        if known.len() >= self.max {
            known.clear();
        }
        known.insert((name.to_owned(), thing.to_owned()), (Instant::now(), value));
    }

    /// The value, if it was learnt no longer than `age` ago.
    pub(super) fn get(&self, name: &str, thing: &str, age: Duration) -> Option<V> {
        let known = self.lock();
        let (since, value) = known.get(&(name.to_owned(), thing.to_owned()))?;
        (since.elapsed() < age).then(|| value.clone())
    }

    pub(super) fn forget(&self, name: &str, thing: &str) {
        self.lock().remove(&(name.to_owned(), thing.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_old_is_not_known() {
        let memory = Memory::new(2);
        memory.put("a", "1", "x");
        assert_eq!(memory.get("a", "1", Duration::MAX), Some("x"));
        assert_eq!(memory.get("a", "1", Duration::ZERO), None);
        memory.put("a", "2", "y");
        memory.put("a", "3", "z");
        assert_eq!((memory.get("a", "1", Duration::MAX), memory.get("a", "3", Duration::MAX)), (None, Some("z")));
        memory.forget("a", "3");
        assert_eq!(memory.get("a", "3", Duration::MAX), None);
    }
}
