//! What one thread keeps for a while, within a bound.
//!
//! Invariant: two generations, each of at most half the bound; what is used moves to the younger one, and when that is full the
//! older one goes. No operation takes longer than a look-up or two. Nothing here fails.

use std::collections::HashMap;

/// See the module.
pub(super) struct Recent<V> {
    half: usize,
    young: HashMap<Box<str>, V>,
    old: HashMap<Box<str>, V>,
}

impl<V> Recent<V> {
    /// Keeps so many at most.
    pub(super) fn new(bound: usize) -> Self {
        Self { half: (bound / 2).max(1), young: HashMap::new(), old: HashMap::new() }
    }

    /// What is kept under this name.
    pub(super) fn get(&mut self, name: &str) -> Option<&V> {
        if !self.young.contains_key(name) {
            let (name, value) = self.old.remove_entry(name)?;
            self.put(name, value);
        }
        self.young.get(name)
    }

    /// Keeps a value, instead of what was there.
    pub(super) fn put(&mut self, name: impl Into<Box<str>>, value: V) {
        let name = name.into();
        if self.young.len() >= self.half && !self.young.contains_key(&name) {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&name);
        self.young.insert(name, value);
    }

    /// Keeps nothing any more.
    pub(super) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_goes_within_the_bound() {
        let mut recent = Recent::new(10);
        recent.put("used", 0);
        for n in 1..1_000 {
            recent.put(n.to_string(), n);
            assert_eq!(recent.get("used"), Some(&0));
            assert!(recent.young.len() + recent.old.len() <= 10);
        }
        assert_eq!(recent.get("1"), None);
        assert_eq!(recent.get("999"), Some(&999));
    }

    #[test]
    fn a_value_that_is_replaced_does_not_come_back() {
        let mut recent = Recent::new(4);
        for n in 0..4 {
            recent.put("a", n);
            recent.put(format!("b{n}"), 9);
            assert_eq!(recent.get("a"), Some(&n));
        }
        recent.clear();
        assert_eq!(recent.get("a"), None);
    }
}
