//! A shard's own cache, in front of the node's: a hit takes no lock and writes nothing that another thread reads or writes.
//!
//! Invariants: what it holds is asked for again no later than the node's cache says; what another shard has had replaced is found
//! out by the first refusal; it never holds more keys than [`crate::Settings::local_entries_max`].

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use foldhash::fast::RandomState;
use telemetry::ShardMetrics;

use crate::slots::Held;
use crate::{CredentialError, CredentialKey, Credentials, TokenCache};

/// Credentials in use by a shard; cheap to clone, of its thread alone.
#[derive(Debug, Clone)]
#[allow(
    clippy::redundant_allocation,
    reason = "counting an `Rc` is free, while all shards would contend for the count of the `Arc`"
)]
pub struct Lease(Rc<Arc<Credentials>>);

impl Lease {
    /// The same, for whoever keeps them beyond the shard's thread.
    #[must_use]
    pub fn shared(&self) -> Arc<Credentials> {
        Arc::clone(&self.0)
    }
}

impl Deref for Lease {
    type Target = Credentials;

    fn deref(&self) -> &Credentials {
        &self.0
    }
}

struct Entry {
    lease: Lease,
    look_ms: u64,
}

/// See the module.
pub struct LocalCache {
    shared: Arc<TokenCache>,
    entries: RefCell<HashMap<CredentialKey, Entry, RandomState>>,
    metrics: Arc<ShardMetrics>,
}

impl LocalCache {
    pub(crate) fn new(shared: Arc<TokenCache>, metrics: Arc<ShardMetrics>) -> Self {
        Self { shared, entries: RefCell::default(), metrics }
    }

    /// Credentials at this Unix time in milliseconds, from memory or from a provider.
    ///
    /// # Errors
    /// [`CredentialError`], when there are none and none can be had.
    pub async fn get(&self, key: &CredentialKey, now_ms: u64) -> Result<Lease, CredentialError> {
        if let Some(lease) = self.hit(key, now_ms) {
            return Ok(lease);
        }
        self.metrics.credentials_misses.add(1);
        let held = self.shared.ask(key, now_ms).await?;
        Ok(self.keep(key, held, now_ms))
    }

    /// Credentials that the shard holds itself.
    #[must_use]
    pub fn hit(&self, key: &CredentialKey, now_ms: u64) -> Option<Lease> {
        let entries = self.entries.borrow();
        let entry = entries.get(key)?;
        if now_ms >= entry.look_ms {
            return None;
        }
        self.metrics.credentials_hits.add(1);
        Some(entry.lease.clone())
    }

    /// See [`TokenCache::replace`].
    pub async fn replace(&self, key: &CredentialKey, refused: &Arc<Credentials>, now_ms: u64) -> Lease {
        let others = self.hit(key, now_ms).filter(|lease| !Arc::ptr_eq(&lease.0, refused));
        if let Some(others) = others {
            return others;
        }
        match self.shared.ask_again(key, refused, now_ms).await {
            Ok(held) => self.keep(key, held, now_ms),
            Err(_) => Lease(Rc::new(Arc::clone(refused))),
        }
    }

    fn keep(&self, key: &CredentialKey, held: Held, now_ms: u64) -> Lease {
        let lease = Lease(Rc::new(held.credentials));
        let mut entries = self.entries.borrow_mut();
        if entries.len() >= self.shared.settings.local_entries_max && !entries.contains_key(key) {
            entries.retain(|_, entry| now_ms < entry.look_ms);
            if entries.len() >= self.shared.settings.local_entries_max {
                // All are in use: begin anew, which costs a look at the node's cache for each and no fetch.
                entries.clear();
            }
        }
        entries.insert(key.clone(), Entry { lease: lease.clone(), look_ms: held.look_ms });
        lease
    }
}
