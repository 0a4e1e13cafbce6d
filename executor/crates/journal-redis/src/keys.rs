//! Names of keys, and the hash tags that keep a partition together.
//!
//! Layout, below the prefix:
//!
//! | key | type | what |
//! |---|---|---|
//! | `{tag}:log` | stream | the log of a partition; field `b` is a block, `m` an owner's mark |
//! | `{tag}:d:<key>` | string | a derived key |
//! | `{tag}:l:<list>` | list | a derived list |
//! | `{durable}:values` | hash | durable keys and counters |
//! | `{durable}:keys` | sorted set | their names, for scans in order |
//!
//! Invariant: the tag of a partition never changes, because a log under another name would be an empty log.
//! Redis Cluster spreads keys over 16,384 slots by CRC16 of the tag, and gives each master a contiguous
//! range. Plain numbers as tags fall unevenly, so the tag is extended until its slot lies where the
//! bit-reversed partition number points: then the first 2^k partitions are spread evenly, for every k.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use ids::PartitionId;

use crate::position::Position;

const SLOT_BITS: u32 = 14;
/// The upper bits of a slot that the tag decides: as many as number all partitions.
const SPREAD_BITS: u32 = 10;

const _: () = assert!(ids::PARTITIONS_MAX as u32 == 1 << SPREAD_BITS);

/// The hash tag of a partition, without braces, for example `p7.b`.
#[must_use]
pub fn partition_tag(partition: PartitionId) -> String {
    let number = partition.get();
    let wanted = number.reverse_bits() >> (u16::BITS - SPREAD_BITS);
    let mut suffix = 0_u32;
    loop {
        let tag = format!("p{number}.{suffix:x}");
        if slot(tag.as_bytes()) >> (SLOT_BITS - SPREAD_BITS) == wanted {
            return tag;
        }
        // One suffix in 1,024 fits, and CRC16 reaches every slot: this ends after a few thousand tries at
        // most.
        suffix += 1;
    }
}

/// The tag of keys that live for ever.
const DURABLE: &str = "durable";

/// The slot of a key with this tag: CRC16 (XMODEM) modulo 16,384.
pub(crate) fn slot(tag: &[u8]) -> u16 {
    let mut crc = 0_u16;
    for byte in tag {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
        }
    }
    crc & ((1 << SLOT_BITS) - 1)
}

/// Key names of one installation.
#[derive(Debug)]
pub(crate) struct Keys {
    prefix: String,
    /// Log keys by partition, filled as partitions are used; bounded by the number of partitions.
    partitions: RwLock<HashMap<PartitionId, Arc<PartitionKeys>>>,
}

/// Key names of one partition.
#[derive(Debug)]
pub(crate) struct PartitionKeys {
    /// Whose keys.
    pub partition: PartitionId,
    /// The stream.
    pub log: Vec<u8>,
    /// Where a cluster keeps all of them.
    pub slot: u16,
    derived: Vec<u8>,
    list: Vec<u8>,
    /// How far the log is known to reach.
    pub position: Position,
}

impl PartitionKeys {
    fn new(prefix: &str, partition: PartitionId) -> Self {
        let tag = partition_tag(partition);
        let base = format!("{prefix}:{{{tag}}}");
        let key = |suffix: &str| format!("{base}:{suffix}").into_bytes();
        let slot = slot(tag.as_bytes());
        Self {
            partition,
            slot,
            log: key("log"),
            derived: key("d:"),
            list: key("l:"),
            position: Position::default(),
        }
    }

    /// A derived key.
    pub fn derived(&self, key: &[u8]) -> Vec<u8> {
        [self.derived.as_slice(), key].concat()
    }

    /// A derived list.
    pub fn list(&self, list: &[u8]) -> Vec<u8> {
        [self.list.as_slice(), list].concat()
    }
}

impl Keys {
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), partitions: RwLock::default() }
    }

    /// The names of a partition; computed once.
    pub fn of(&self, partition: PartitionId) -> Arc<PartitionKeys> {
        let known = self.partitions.read().unwrap_or_else(PoisonError::into_inner).get(&partition).cloned();
        known.unwrap_or_else(|| {
            let keys = Arc::new(PartitionKeys::new(&self.prefix, partition));
            let mut partitions = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(partitions.entry(partition).or_insert(keys))
        })
    }

    /// Where a cluster keeps the keys that live for ever.
    pub fn durable_slot(&self) -> u16 {
        slot(DURABLE.as_bytes())
    }

    /// The hash of durable values.
    pub fn values(&self) -> String {
        format!("{}:{{{DURABLE}}}:values", self.prefix)
    }

    /// The sorted set of their names.
    pub fn names(&self) -> String {
        format!("{}:{{{DURABLE}}}:keys", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(number: u32) -> PartitionId {
        PartitionId::new(number).expect("below the maximum")
    }

    #[test]
    fn slots_are_those_of_the_cluster_specification() {
        // CRC16 of "123456789" is 0x31C3 there.
        assert_eq!(slot(b"123456789"), 0x31C3 & 0x3FFF);
    }

    #[test]
    fn tags_never_change() {
        let tags: Vec<_> = [0, 1, 2, 63, 1023].map(|number| partition_tag(partition(number))).into();
        assert_eq!(tags, ["p0.425", "p1.a80", "p2.ba", "p63.514", "p1023.72a"]);
    }

    /// As `redis-cli --cluster create` deals out slots: ranges of equal length, their ends rounded to the nearest slot.
    fn master_of(slot: u16, masters: u32) -> usize {
        let each = 16_384.0 / f64::from(masters);
        let last = |master: u32| (f64::from(master + 1) * each - 1.0).round().min(16_383.0);
        (0..masters)
            .find(|master| f64::from(slot) <= last(*master))
            .expect("the last range ends at the last slot") as usize
    }

    #[test]
    fn partitions_fall_evenly_on_every_number_of_masters() {
        for count in [64_u32, 256, 1024] {
            let slots: Vec<u16> =
                (0..count).map(|number| slot(partition_tag(partition(number)).as_bytes())).collect();
            for masters in 1..=64_u32 {
                let mut load = vec![0_u32; masters as usize];
                for slot in &slots {
                    load[master_of(*slot, masters)] += 1;
                }
                let least = load.iter().min().copied().unwrap_or_default();
                let most = load.iter().max().copied().unwrap_or_default();
                let fair = count / masters;
                assert!(least > 0 && most - least <= 3.min(1 + fair), "{count} on {masters}: {load:?}");
            }
        }
    }

    #[test]
    fn keys_carry_prefix_and_tag() {
        let keys = Keys::new("test");
        let tag = partition_tag(partition(5));
        let of = keys.of(partition(5));
        assert_eq!(of.log, format!("test:{{{tag}}}:log").into_bytes());
        assert_eq!(of.derived(b"k"), format!("test:{{{tag}}}:d:k").into_bytes());
        assert_eq!(of.list(b"k"), format!("test:{{{tag}}}:l:k").into_bytes());
    }
}
