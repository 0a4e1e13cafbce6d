//! Ids of requests: what an answer names, so that it is found in logs. Both APIs have UUIDs for it.
//!
//! Invariant: no id comes twice, on any thread or after a restart, but by a chance of 2^-60 or so. They are no secret. Nothing
//! here fails.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

/// Makes the ids of one thread.
pub(super) struct RequestIds {
    keys: [RandomState; 2],
    next: Cell<u64>,
}

impl RequestIds {
    pub(super) fn new() -> Self {
        Self { keys: [RandomState::new(), RandomState::new()], next: Cell::new(0) }
    }

    /// A UUID of version 4 (random).
    pub(super) fn next(&self) -> String {
        let number = self.next.get();
        self.next.set(number.wrapping_add(1));
        let [high, low] = self.keys.each_ref().map(|key| key.hash_one(number));
        let high = high & !0xf000 | 0x4000;
        let low = low & !(0b11 << 62) | (0b10 << 62);
        let (a, b, c) = (high >> 32, high >> 16 & 0xffff, high & 0xffff);
        format!("{a:08x}-{b:04x}-{c:04x}-{:04x}-{:012x}", low >> 48, low & 0xffff_ffff_ffff)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_uuids_and_none_comes_twice() {
        let (one, other) = (RequestIds::new(), RequestIds::new());
        let ids: HashSet<String> = (0..1_000).flat_map(|_| [one.next(), other.next()]).collect();
        assert_eq!(ids.len(), 2_000);
        for id in ids {
            let groups: Vec<usize> = id.split('-').map(str::len).collect();
            assert_eq!(groups, [8, 4, 4, 4, 12], "{id}");
            assert!(id.chars().all(|c| c == '-' || c.is_ascii_hexdigit()), "{id}");
            assert_eq!(&id[14..15], "4", "{id}");
            assert!("89ab".contains(&id[19..20]), "{id}");
        }
    }
}
