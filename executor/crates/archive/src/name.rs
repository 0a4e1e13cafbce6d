//! The names of segments: what has to be known of one before it is read.
//!
//! `PPPP/LAST-FIRST-BATCH-BATCH-START-START-UNTIL-N.v1`: the partition in decimal; generation and sequence of the last and
//! the first block of the log whose ends are in it; incarnation and sequence of the lowest and the highest batch; the
//! earliest and the latest start; the time from which nobody wants it any more; `n` if it has callers' names, `u` if not.
//! Numbers are hexadecimal, times Unix time in milliseconds. Invariant: all names of a partition are listed by their
//! prefix. What may fail: nothing; what is not such a name is not ours.

use std::fmt;

use ids::PartitionId;
use journal::BlockId;

/// A batch within its partition: incarnation and sequence.
pub type BatchKey = (u32, u64);

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentName {
    /// Whose.
    pub partition: PartitionId,
    /// The lowest block.
    pub first: BlockId,
    /// The highest block.
    pub last: BlockId,
    /// The lowest and the highest batch.
    pub batches: (BatchKey, BatchKey),
    /// The earliest and the latest start.
    pub starts_ms: (u64, u64),
    /// From then on it may be deleted.
    pub until_ms: u64,
    /// Whether there are callers' names in it.
    pub named: bool,
}

impl SegmentName {
    /// Whether a block may be in it.
    #[must_use]
    pub fn may_hold(&self, block: BlockId) -> bool {
        (self.first..=self.last).contains(&block)
    }

    /// Whether executions of a batch may be in it.
    #[must_use]
    pub fn may_have(&self, batch: BatchKey) -> bool {
        (self.batches.0..=self.batches.1).contains(&batch)
    }

    /// Whether one of its executions may have started in this time.
    #[must_use]
    pub fn overlaps(&self, from_ms: u64, to_ms: u64) -> bool {
        self.starts_ms.0 <= to_ms && from_ms <= self.starts_ms.1
    }

    /// The name that these texts are, the folder and the object's name in it.
    #[must_use]
    pub fn parse(folder: &str, text: &str) -> Option<Self> {
        let partition = PartitionId::new(folder.parse().ok()?).ok()?;
        let fields: Vec<&str> = text.strip_suffix(".v1")?.split('-').collect();
        let [last, first, low, high, earliest, latest, until, named] = fields.try_into().ok()?;
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let pair = |text: &str| {
            let (one, other) = text.split_once('.')?;
            Some((number(one)?, number(other)?))
        };
        let block = |text| pair(text).map(|(generation, sequence)| BlockId { generation, sequence });
        let batch = |text| pair(text).and_then(|(one, other)| Some((u32::try_from(one).ok()?, other)));
        Some(Self {
            partition,
            first: block(first)?,
            last: block(last)?,
            batches: (batch(low)?, batch(high)?),
            starts_ms: (number(earliest)?, number(latest)?),
            until_ms: number(until)?,
            named: named == "n",
        })
    }
}

/// The folder of a partition.
pub(crate) fn folder(partition: PartitionId) -> String {
    format!("{:04}", partition.get())
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, first, last, batches: (low, high), starts_ms, until_ms, named } = self;
        write!(
            f,
            "{}/{:016x}.{:016x}-{:x}.{:x}-{:x}.{:x}-{:x}.{:x}-{:x}-{:x}-{until_ms:x}-{}.v1",
            folder(*partition),
            last.generation,
            last.sequence,
            first.generation,
            first.sequence,
            low.0,
            low.1,
            high.0,
            high.1,
            starts_ms.0,
            starts_ms.1,
            if *named { 'n' } else { 'u' },
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_says_what_it_was_made_of(
            partition in 0..1_024u32, numbers: [u64; 9], incarnations: [u32; 2], named: bool,
        ) {
            let [a, b, c, d, e, f, g, h, until_ms] = numbers;
            let name = SegmentName {
                partition: PartitionId::new(partition).expect("in range"),
                first: BlockId { generation: a, sequence: b },
                last: BlockId { generation: c, sequence: d },
                batches: ((incarnations[0], e), (incarnations[1], f)),
                starts_ms: (g, h),
                until_ms,
                named,
            };
            let text = name.to_string();
            let (folder, text) = text.split_once('/').expect("a folder");
            prop_assert_eq!(SegmentName::parse(folder, text), Some(name));
        }

        #[test]
        fn any_text_is_a_name_or_not_and_never_a_panic(folder: String, text: String) {
            let _ = SegmentName::parse(&folder, &text);
        }
    }
}
