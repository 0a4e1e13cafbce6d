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
        match &*self.routes {
            [(only, _)] => Some(Arc::clone(only)),
            routes => DICE.with_borrow_mut(|dice| draw(routes, dice).map(Arc::clone)),
        }
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

    /// What was asked for is not there any more. What else is known of the machine stays.
    pub(super) fn forget(&self, machine: &str, qualifier: &str) {
        let mut guard = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let inner = &mut *guard;
        let Some(entries) = inner.machines.get_mut(machine) else { return };
        inner.entries -= usize::from(entries.remove(qualifier).is_some());
        if entries.is_empty() {
            inner.machines.remove(machine);
        }
    }
}

#[cfg(test)]
mod tests {
    use ids::{Logging, Mode};

    use super::*;

    fn entry(revision: u32) -> Entry {
        let template = Template {
            arn: "m".into(),
            name: "m".into(),
            mode: Mode::Standard,
            dialect: asl::Dialect::Asl,
            definition: Bytes::new(),
            hash: [0; 32],
            version: revision,
            created_ms: 0,
            updated_ms: 0,
            role_arn: String::new(),
            comment: String::new(),
            retention_s: 0,
            logging: Logging::default(),
            origin: String::new(),
            about: super::super::About::default(),
        };
        Entry::of(Arc::new(template), 0)
    }

    fn known(cache: &Cache, machine: &str, qualifier: &str) -> Option<u32> {
        cache.get(machine, qualifier).map(|(template, _)| template.version)
    }

    #[test]
    fn what_was_looked_up_before_a_change_of_ours_is_not_kept_after_it() {
        let cache = Cache::default();
        let (looking, changing, quicker) = (cache.begin(), cache.begin(), cache.begin());
        cache.changed("m", Some(entry(3)), quicker);
        assert_eq!(known(&cache, "m", ""), Some(3));
        cache.changed("m", Some(entry(2)), changing);
        assert_eq!(known(&cache, "m", ""), None, "it may be old");
        cache.keep("m", "", entry(1), looking);
        assert_eq!(known(&cache, "m", ""), None, "it is old");
        cache.keep("m", "", entry(3), cache.begin());
        assert_eq!(known(&cache, "m", ""), Some(3));
    }

    #[test]
    fn a_change_forgets_all_of_a_machine_and_an_unknown_alias_only_itself() {
        let cache = Cache::default();
        for qualifier in ["", "1", "PROD"] {
            cache.keep("m", qualifier, entry(1), cache.begin());
        }
        cache.forget("m", "PROD");
        cache.forget("m", "nobody");
        assert_eq!((known(&cache, "m", ""), known(&cache, "m", "PROD")), (Some(1), None));
        cache.changed("m", None, cache.begin());
        assert_eq!((known(&cache, "m", ""), known(&cache, "m", "1")), (None, None));
    }

    #[test]
    fn a_full_cache_begins_anew() {
        let cache = Cache::default();
        for number in 0..CACHED_MAX {
            cache.keep(&format!("m{}", number / 100), &number.to_string(), entry(1), cache.begin());
        }
        assert_eq!(known(&cache, "m0", "0"), Some(1));
        cache.keep("m0", "0", entry(2), cache.begin());
        assert_eq!(known(&cache, "m99", "9999"), Some(1), "nothing was added");
        cache.keep("more", "", entry(1), cache.begin());
        assert_eq!((known(&cache, "m0", "0"), known(&cache, "more", "")), (None, Some(1)));
    }
}
