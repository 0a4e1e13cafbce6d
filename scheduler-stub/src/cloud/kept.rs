//! What is remembered: up to a number, then the oldest is let go.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

/// See the module.
#[derive(Debug)]
pub(super) struct Kept<K, V> {
    most: usize,
    table: Mutex<(HashMap<K, V>, VecDeque<K>)>,
}

impl<K: Clone + Eq + Hash, V: Clone> Kept<K, V> {
    /// Keeps so many.
    pub fn new(most: usize) -> Self {
        Self { most, table: Mutex::default() }
    }

    /// In the place of what has this key.
    pub fn put(&self, key: K, value: V) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, order) = &mut *table;
        if known.insert(key.clone(), value).is_none() {
            order.push_back(key);
        }
        if order.len() > self.most
            && let Some(oldest) = order.pop_front()
        {
            known.remove(&oldest);
        }
    }

    /// What has this key.
    pub fn get(&self, key: &K) -> Option<V> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).0.get(key).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_let_go() {
        let kept = Kept::new(2);
        for (key, value) in [(1, 'a'), (2, 'b'), (2, 'c'), (3, 'd')] {
            kept.put(key, value);
        }
        assert_eq!([1, 2, 3].map(|key| kept.get(&key)), [None, Some('c'), Some('d')]);
    }
}
