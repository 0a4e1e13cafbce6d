//! Objects: members in the order of their text, found by a linear search while they are few and by a hash
//! index beyond.
//!
//! Invariants: no key twice; replacing a member keeps its place; the index, where there is one, names every
//! member.

use std::collections::HashMap;

use super::{Str, Value};

/// Up to this many members a linear search is as fast as hashing.
const LINEAR_MAX: usize = 16;

type Index = HashMap<Str, usize, foldhash::fast::RandomState>;

/// An object's members, in the order of its text. Equality does not look at the order.
#[derive(Debug, Clone, Default)]
pub struct Map {
    entries: Vec<(Str, Value)>,
    /// Place of each key, once there are more than [`LINEAR_MAX`]. Seeded, so that no input can make it slow.
    index: Option<Box<Index>>,
}

impl Map {
    /// Without members, with room for some.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { entries: Vec::with_capacity(capacity), index: None }
    }

    /// How many members.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of this key.
    #[inline]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.position(key).map(|at| &self.entries[at].1)
    }

    /// The value of this key, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.position(key).map(|at| &mut self.entries[at].1)
    }

    /// Whether this key is there.
    pub fn contains_key(&self, key: &str) -> bool {
        self.position(key).is_some()
    }

    /// Sets a member. A key that is there keeps its place; its old value is returned.
    pub fn insert(&mut self, key: impl Into<Str>, value: Value) -> Option<Value> {
        let key = key.into();
        if let Some(at) = self.position(&key) {
            return Some(std::mem::replace(&mut self.entries[at].1, value));
        }
        if let Some(index) = &mut self.index {
            index.insert(key.clone(), self.entries.len());
        }
        self.entries.push((key, value));
        if self.index.is_none() && self.entries.len() > LINEAR_MAX {
            self.build_index();
        }
        None
    }

    /// Adds a member whose key is known not to be there: the caller has seen to it.
    pub(crate) fn push_new(&mut self, key: Str, value: Value) {
        debug_assert!(!self.contains_key(&key), "the key {key} is there twice");
        if self.entries.len() < LINEAR_MAX {
            self.entries.push((key, value));
        } else {
            self.insert(key, value);
        }
    }

    /// Takes a member out; those behind it move up.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let at = self.position(key)?;
        let (_, value) = self.entries.remove(at);
        self.index = None;
        if self.entries.len() > LINEAR_MAX {
            self.build_index();
        }
        Some(value)
    }

    /// The members in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Str, &Value)> + DoubleEndedIterator {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    /// The keys in order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &Str> {
        self.entries.iter().map(|(key, _)| key)
    }

    /// The values in order.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &Value> {
        self.entries.iter().map(|(_, value)| value)
    }

    #[inline]
    fn position(&self, key: &str) -> Option<usize> {
        match &self.index {
            None => self.entries.iter().position(|(candidate, _)| candidate == key),
            Some(index) => look_up(index, key),
        }
    }

    fn build_index(&mut self) {
        let places = self.entries.iter().enumerate().map(|(at, (key, _))| (key.clone(), at));
        self.index = Some(Box::new(places.collect()));
    }
}

/// Out of line, so that the linear search is short enough to be inlined.
#[inline(never)]
fn look_up(index: &Index, key: &str) -> Option<usize> {
    index.get(key).copied()
}

impl PartialEq for Map {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|(key, value)| other.get(key) == Some(value))
    }
}

impl<K: Into<Str>> FromIterator<(K, Value)> for Map {
    fn from_iter<I: IntoIterator<Item = (K, Value)>>(members: I) -> Self {
        let members = members.into_iter();
        let mut map = Self::with_capacity(members.size_hint().0);
        for (key, value) in members {
            map.insert(key, value);
        }
        map
    }
}

impl<'a> IntoIterator for &'a Map {
    type Item = (&'a Str, &'a Value);
    type IntoIter =
        std::iter::Map<std::slice::Iter<'a, (Str, Value)>, fn(&'a (Str, Value)) -> (&'a Str, &'a Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.iter().map(|(key, value)| (key, value))
    }
}
