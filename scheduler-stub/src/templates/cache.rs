//! Machines that were looked up for starts.
//!
//! Invariants: at most [`CACHED_MAX`] entries; what was looked up before a change of ours is not kept after it. Nothing
//! here fails.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use ids::DefinitionHash;

use super::published::draw;
use super::{CACHED_MAX, Template};
use crate::placement::Dice;

thread_local! {
    /// Which way an alias leads this time.
    static DICE: RefCell<Dice> = RefCell::new(Dice::random());
}

/// What a text led to.
pub(super) struct Entry {
    /// One, or those of an alias with their weights.
    pub(super) routes: Vec<(Arc<Template>, u8)>,
    /// Unix microseconds.
    pub(super) looked_up_us: u64,
}

impl Entry {
    pub(super) fn of(template: Arc<Template>, looked_up_us: u64) -> Self {
        Self { routes: vec![(template, 100)], looked_up_us }
    }

    /// One of them. There is one: entries are made of what was found.
    pub(super) fn draw(&self) -> Option<Arc<Template>> {
        DICE.with_borrow_mut(|dice| draw(&self.routes, dice).map(Arc::clone))
    }
}

#[derive(Default)]
struct Inner {
    /// By machine, then by qualifier as it is written; that of the machine itself is empty.
    machines: HashMap<String, HashMap<String, Entry>>,
    entries: usize,
    /// Changes of ours so far.
    changes: u64,
}

impl Inner {
    fn insert(&mut self, machine: &str, qualifier: &str, entry: Entry) {
        let replaces = self.machines.get(machine).is_some_and(|machine| machine.contains_key(qualifier));
        if !replaces && self.entries >= CACHED_MAX {
            self.machines.clear();
            self.entries = 0;
        }
        self.entries += usize::from(!replaces);
        self.machines.entry(machine.to_owned()).or_default().insert(qualifier.to_owned(), entry);
    }

    fn remove(&mut self, machine: &str) {
        self.entries -= self.machines.remove(machine).map_or(0, |gone| gone.len());
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Cache(RwLock<Inner>);

impl Cache {
    /// What is known, and when it was looked up.
    pub(super) fn get(&self, machine: &str, qualifier: &str) -> Option<(Arc<Template>, u64)> {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let entry = inner.machines.get(machine)?.get(qualifier)?;
        Some((entry.draw()?, entry.looked_up_us))
    }

    /// The text of a definition that one of a machine's entries has.
    pub(super) fn definition(&self, machine: &str, hash: &DefinitionHash) -> Option<Bytes> {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut templates = inner.machines.get(machine)?.values().flat_map(|entry| &entry.routes);
        templates
            .find(|(template, _)| template.hash == *hash)
            .map(|(template, _)| template.definition.clone())
    }

    /// Before something is read or changed: what [`Cache::keep`] and [`Cache::changed`] want to know.
    pub(super) fn begin(&self) -> u64 {
        self.0.read().unwrap_or_else(PoisonError::into_inner).changes
    }

    /// What was looked up, unless something was changed here since.
    pub(super) fn keep(&self, machine: &str, qualifier: &str, entry: Entry, begun: u64) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if inner.changes == begun {
            inner.insert(machine, qualifier, entry);
        }
    }

    /// A machine was changed here, into this one where it is known; that stays known unless something else was changed
    /// meanwhile, for then it may be old.
    pub(super) fn changed(&self, machine: &str, into: Option<Entry>, begun: u64) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        inner.remove(machine);
        if let Some(entry) = into.filter(|_| inner.changes == begun) {
            inner.insert(machine, "", entry);
        }
        inner.changes += 1;
    }

    /// What was asked for is not there any more.
    pub(super) fn forget(&self, machine: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(machine);
    }
}
