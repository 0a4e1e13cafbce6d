//! The cluster record: one durable key by which a store says whose it is, and who may read it.
//!
//! The first node of a cluster writes it; every other one compares. So a store that was emptied, or is another cluster's, is
//! told from the right one before anything is written into it, and a program that is too old for what newer ones have
//! written learns that from the record and not from the first block that it cannot read. Invariants: identity, number of
//! partitions and time of creation never change; versions only rise. What may fail: the store, and
//! [`ClusterRecord::parse`], when the key holds something else.
//!
//! Format: lines of `name=value`; names that are not known are passed over.

use std::fmt;

use bytes::Bytes;

use crate::block::VERSION;
use crate::store::{Store, StoreError};

/// The key.
pub const KEY: &[u8] = b"cluster";
/// The version of the blocks that this program writes. Flags within a version, of machines and sub-blocks, are told by the
/// blocks alone: who meets one that it does not know says so.
pub const FORMAT: u8 = VERSION;
/// The lowest version that a program must know to read what this one writes.
pub const READABLE_FROM: u8 = 2;
/// The lowest version of blocks that this program reads.
pub const OLDEST: u8 = 2;

/// Names a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterId(pub [u8; 16]);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl ClusterId {
    /// From 32 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let whole = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|_| whole)?;
        Some(Self(number.to_be_bytes()))
    }
}

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterRecord {
    /// Drawn by its first node.
    pub id: ClusterId,
    /// Partitions of the whole cluster.
    pub partitions: u16,
    /// Unix time in milliseconds.
    pub created_ms: u64,
    /// The highest version of blocks that any node has written.
    pub format: u8,
    /// The lowest version that a program must know to read the store.
    pub readable_from: u8,
}

/// Why a node must not use a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Ids say their partition: the number cannot change.
    #[error(
        "its cluster has {has} partitions, and this node is configured for {wanted}: start it with --partitions {has}; the \
         number is fixed when a cluster is made"
    )]
    Partitions {
        /// Of the store.
        has: u16,
        /// Of the node.
        wanted: u16,
    },
    /// The program is too old.
    #[error(
        "it holds blocks of format {format}, readable by programs that know format {readable_from}, and this program knows \
         formats up to {FORMAT}: start a newer one; it cannot be rolled back this far"
    )]
    TooOld {
        /// See [`ClusterRecord::format`].
        format: u8,
        /// See [`ClusterRecord::readable_from`].
        readable_from: u8,
    },
    /// The program is too new.
    #[error(
        "it holds blocks of format {format}, and this program reads formats from {OLDEST} on: start a version in between first, \
         one that reads both, and let it run until the retention is over"
    )]
    TooNew {
        /// See [`ClusterRecord::format`].
        format: u8,
    },
}

impl ClusterRecord {
    /// Of a new cluster.
    #[must_use]
    pub fn new(id: ClusterId, partitions: u16, created_ms: u64) -> Self {
        Self { id, partitions, created_ms, format: FORMAT, readable_from: READABLE_FROM }
    }

    /// As the key's value.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let Self { id, partitions, created_ms, format, readable_from } = self;
        let text = format!(
            "id={id}\npartitions={partitions}\ncreated-ms={created_ms}\nformat={format}\nreadable-from={readable_from}\n"
        );
        text.into()
    }

    /// From the key's value.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when it is no record.
    pub fn parse(value: &[u8]) -> Result<Self, StoreError> {
        let text = std::str::from_utf8(value).unwrap_or_default();
        let field = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once('='));
            lines.find(|(known, _)| *known == name).map(|(_, value)| value)
        };
        let parsed = || {
            Some(Self {
                id: ClusterId::parse(field("id")?)?,
                partitions: field("partitions")?.parse().ok()?,
                created_ms: field("created-ms")?.parse().ok()?,
                format: field("format")?.parse().ok()?,
                readable_from: field("readable-from")?.parse().ok()?,
            })
        };
        parsed()
            .ok_or_else(|| StoreError::Corrupt(format!("the key `cluster` is no cluster record: {text:?}")))
    }

    /// Whether a node with so many partitions may use the store.
    ///
    /// # Errors
    /// [`Unfit`], saying what to do.
    pub fn check(&self, partitions: u16) -> Result<(), Unfit> {
        if self.readable_from > FORMAT {
            return Err(Unfit::TooOld { format: self.format, readable_from: self.readable_from });
        }
        if self.format < OLDEST {
            return Err(Unfit::TooNew { format: self.format });
        }
        if self.partitions != partitions {
            return Err(Unfit::Partitions { has: self.partitions, wanted: partitions });
        }
        Ok(())
    }
}

/// The record of a store, if it has one.
///
/// # Errors
/// What the store says; [`StoreError::Corrupt`] when the key holds something else.
pub async fn read(store: &dyn Store) -> Result<Option<ClusterRecord>, StoreError> {
    store.get(Bytes::from_static(KEY)).await?.map(|value| ClusterRecord::parse(&value)).transpose()
}

/// Makes this the record of a store that has none; `false` when another node was quicker.
///
/// # Errors
/// What the store says.
pub async fn found(store: &dyn Store, record: &ClusterRecord) -> Result<bool, StoreError> {
    store.compare_and_put(Bytes::from_static(KEY), None, Some(record.encode())).await
}

/// Says in the record that this program writes to the store from now on.
///
/// # Errors
/// What the store says.
pub async fn raise(store: &dyn Store, record: ClusterRecord) -> Result<ClusterRecord, StoreError> {
    let mut known = record;
    while known.format < FORMAT || known.readable_from < READABLE_FROM {
        let (format, readable_from) = (known.format.max(FORMAT), known.readable_from.max(READABLE_FROM));
        let raised = ClusterRecord { format, readable_from, ..known };
        let (before, after) = (Some(known.encode()), Some(raised.encode()));
        if store.compare_and_put(Bytes::from_static(KEY), before, after).await? {
            return Ok(raised);
        }
        // Another node raises it too: versions only rise, so that this ends.
        match read(store).await? {
            Some(other) if other != known => known = other,
            _ => return Err(StoreError::Unavailable("the cluster record cannot be raised".to_owned())),
        }
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;

    fn record() -> ClusterRecord {
        ClusterRecord::new(ClusterId([0xa5; 16]), 64, 1_700_000_000_000)
    }

    #[test]
    fn a_record_is_read_back_and_lines_of_later_versions_are_passed_over() {
        let mut text = record().encode().to_vec();
        assert_eq!(ClusterRecord::parse(&text).expect("a record"), record());
        text.extend_from_slice(b"colour=blue\n");
        assert_eq!(ClusterRecord::parse(&text).expect("a record"), record());
        for wrong in [&b""[..], b"id=12\npartitions=64", b"\xff"] {
            assert!(matches!(ClusterRecord::parse(wrong), Err(StoreError::Corrupt(_))));
        }
        assert_eq!(ClusterId::parse("+5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5"), None);
    }

    #[test]
    fn a_node_that_does_not_fit_is_told_what_to_do() {
        let told = record().check(32).expect_err("other partitions").to_string();
        assert!(told.contains("64 partitions") && told.contains("--partitions 64"), "{told}");
        let later = ClusterRecord { format: FORMAT + 2, readable_from: FORMAT + 1, ..record() };
        let told = later.check(64).expect_err("too old").to_string();
        assert!(told.contains("start a newer one"), "{told}");
        let earlier = ClusterRecord { format: OLDEST - 1, readable_from: OLDEST - 1, ..record() };
        let told = earlier.check(64).expect_err("too new").to_string();
        assert!(told.contains("start a version in between"), "{told}");
        let readable = ClusterRecord { format: FORMAT + 1, ..record() };
        assert_eq!(
            readable.check(64),
            Ok(()),
            "newer blocks that older programs can read are no reason to refuse"
        );
    }

    #[tokio::test]
    async fn the_first_node_founds_the_cluster_and_newer_programs_raise_its_versions() {
        let store = MemoryStore::new();
        assert_eq!(read(&store).await.expect("read"), None);
        let old = ClusterRecord { format: FORMAT - 1, readable_from: READABLE_FROM - 1, ..record() };
        assert!(found(&store, &old).await.expect("written"));
        assert!(!found(&store, &record()).await.expect("asked"), "there is one already");
        // One node has raised it already when the other one begins with what it has read before.
        for _ in 0..2 {
            assert_eq!(raise(&store, old).await.expect("raised"), record());
            assert_eq!(read(&store).await.expect("read"), Some(record()));
        }
    }
}
