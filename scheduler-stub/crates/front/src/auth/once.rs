//! Which signatures were used: so that a request that somebody has recorded is not made a second time.
//!
//! Purpose: neither AWS nor Tencent refuses a signed request that comes again within its five minutes, and their clients rely on
//! nothing else, but a key can ask for it. Invariants: the memory is made once and never grows; a signature is remembered for
//! as long as it could be used; of two threads that bring the same one, at most one is the first; no lock is taken. Signatures
//! are as good as random bits: 44 of them, within two buckets, take one for another once in 10^12 times. What may fail: there is no
//! place, and then nobody can say that it was the first.

use std::sync::atomic::{AtomicU64, Ordering};

/// Signatures that are remembered: 8 MiB, and room for 1,500 a second, for each is remembered up to ten minutes.
const SLOTS: usize = 1 << 20;
/// Slots that are looked at together: a line of the processor's cache.
const BUCKET: usize = 8;
/// Bits of a slot that say until when it is taken, in seconds; they wrap around after 12 days.
const TIME_BITS: u32 = 20;
const TIME: u64 = (1 << TIME_BITS) - 1;

/// What a signature is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// It was not seen before.
    First,
    /// It was.
    Again,
    /// Too many are remembered to tell.
    Full,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Once {
    slots: Box<[AtomicU64]>,
}

impl Once {
    pub(super) fn new() -> Self {
        Self::with_slots(SLOTS)
    }

    fn with_slots(slots: usize) -> Self {
        Self { slots: (0..slots).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Remembers a signature that is good until a time, in Unix seconds.
    pub(super) fn note(&self, signature: &[u8; 32], now: u64, good_until: u64) -> Use {
        let number =
            |at: usize| signature[at..at + 8].iter().fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
        // Never 0, which is an empty slot.
        let tag = (number(0) | 1 << TIME_BITS) & !TIME;
        let noted = tag | (good_until & TIME);
        let (one, other) = (self.bucket(number(8)), self.bucket(number(16)));
        loop {
            let seen = |bucket: &[AtomicU64]| {
                bucket.iter().filter(|slot| is_taken(slot.load(Ordering::SeqCst), now)).count()
            };
            let same = |slot: &&AtomicU64| {
                let value = slot.load(Ordering::SeqCst);
                is_taken(value, now) && value & !TIME == tag
            };
            let both = || one.iter().chain(other);
            if both().any(|slot| same(&slot)) {
                return Use::Again;
            }
            let emptier = if seen(one) <= seen(other) { one } else { other };
            let free = |slot: &&AtomicU64| !is_taken(slot.load(Ordering::SeqCst), now);
            let Some(slot) = emptier.iter().find(free) else { return Use::Full };
            let before = slot.load(Ordering::SeqCst);
            let ours = !is_taken(before, now)
                && slot.compare_exchange(before, noted, Ordering::SeqCst, Ordering::SeqCst).is_ok();
            if ours {
                // Another thread may have noted the same one elsewhere: then neither is the first.
                let alone = both().filter(|other| !std::ptr::eq(*other, slot)).all(|other| !same(&other));
                return if alone { Use::First } else { Use::Again };
            }
        }
    }

    fn bucket(&self, number: u64) -> &[AtomicU64] {
        let buckets = self.slots.len() / BUCKET;
        let at = usize::try_from(number % buckets as u64).unwrap_or_default() * BUCKET;
        &self.slots[at..at + BUCKET]
    }
}

/// Whether a slot remembers something that can still be used.
fn is_taken(slot: u64, now: u64) -> bool {
    // Times wrap around: what lies less than half a turn ahead is ahead.
    let ahead = (slot & TIME).wrapping_sub(now & TIME) & TIME;
    slot != 0 && ahead < 1 << (TIME_BITS - 1)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use sha2::{Digest as _, Sha256};

    use super::*;

    fn signature(number: usize) -> [u8; 32] {
        Sha256::digest(number.to_le_bytes()).into()
    }

    const NOW: u64 = 1_795_767_330;

    #[test]
    fn a_signature_is_remembered_until_it_cannot_be_used_any_more() {
        let once = Once::with_slots(1 << 10);
        for number in 0..100 {
            let note = |now| once.note(&signature(number), now, NOW + 300);
            assert_eq!((note(NOW), note(NOW), note(NOW + 300)), (Use::First, Use::Again, Use::Again));
            assert_eq!(note(NOW + 301), Use::First, "nobody lets it in any more");
        }
    }

    #[test]
    fn a_memory_that_is_full_says_so_and_is_free_again_when_time_has_passed() {
        let once = Once::with_slots(1 << 10);
        let mut first = 0;
        while once.note(&signature(first), NOW, NOW + 300) == Use::First {
            first += 1;
        }
        assert!((700..=1_024).contains(&first), "{first} of 1,024");
        assert_eq!(once.note(&signature(first), NOW, NOW + 300), Use::Full);
        assert_eq!(once.note(&signature(0), NOW, NOW + 300), Use::Again, "what is remembered stays");
        assert_eq!(once.note(&signature(first), NOW + 301, NOW + 601), Use::First);
    }

    #[test]
    fn the_time_wraps_around_without_forgetting() {
        let once = Once::with_slots(1 << 10);
        let wraps = (NOW | TIME) - 10;
        assert_eq!(once.note(&signature(1), wraps, wraps + 300), Use::First);
        assert_eq!(once.note(&signature(1), wraps + 100, wraps + 300), Use::Again);
        assert_eq!(once.note(&signature(1), wraps + 301, wraps + 600), Use::First);
    }

    #[test]
    fn of_threads_that_bring_the_same_signature_at_most_one_is_the_first() {
        let once = Once::with_slots(1 << 16);
        let firsts: Vec<AtomicUsize> = (0..10_000).map(|_| AtomicUsize::new(0)).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for (number, first) in firsts.iter().enumerate() {
                        if once.note(&signature(number), NOW, NOW + 300) == Use::First {
                            first.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert!(firsts.iter().all(|first| first.load(Ordering::Relaxed) <= 1));
    }
}
