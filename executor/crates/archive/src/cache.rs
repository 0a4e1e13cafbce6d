//! Indexes of segments that were read lately, within a bound of bytes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::index::Index;

/// Bytes of all indexes that are kept. Beyond: those that were asked for longest ago go first.
const BYTES_MAX: usize = 64 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    indexes: HashMap<String, (u64, Arc<Index>)>,
    bytes: usize,
    asked: u64,
}

impl Cache {
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Index>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.asked += 1;
        let asked = known.asked;
        let (last, index) = known.indexes.get_mut(name)?;
        *last = asked;
        Some(Arc::clone(index))
    }

    pub(crate) fn put(&self, name: String, index: &Arc<Index>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.asked += 1;
        let asked = known.asked;
        known.bytes += index.bytes();
        if let Some((_, old)) = known.indexes.insert(name, (asked, Arc::clone(index))) {
            known.bytes -= old.bytes();
        }
        while known.bytes > BYTES_MAX && known.indexes.len() > 1 {
            let oldest = known.indexes.iter().min_by_key(|(_, (asked, _))| *asked);
            let Some(name) = oldest.map(|(name, _)| name.clone()) else { return };
            if let Some((_, old)) = known.indexes.remove(&name) {
                known.bytes -= old.bytes();
            }
        }
    }
}
