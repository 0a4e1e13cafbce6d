//! Batch and execution ids: numbers in memory, 16 bytes in the store, a checksummed text for people.

use std::fmt;
use std::str::FromStr;

use crate::{BATCH_EXECUTIONS_MAX, IdError, PARTITIONS_MAX};

/// What the text of every id begins with. Names that callers choose may begin with it too: the checksum tells.
pub const NAME_PREFIX: &str = "x-";

/// Crockford's base 32 in lower case: no i, l, o, u.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 96 bits of id and 14 bits of checksum, five bits a character.
const TEXT_DIGITS: usize = 22;
const SEQUENCE_BITS: u32 = 40;

/// The unit of ownership, placement, fencing and storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionId(u16);

impl PartitionId {
    /// # Errors
    /// [`IdError::Partition`] at or above [`PARTITIONS_MAX`].
    pub fn new(number: u32) -> Result<Self, IdError> {
        match u16::try_from(number) {
            Ok(small) if small < PARTITIONS_MAX => Ok(Self(small)),
            _ => Err(IdError::Partition(number)),
        }
    }

    /// The number, below [`PARTITIONS_MAX`].
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names a batch of starts for ever: the incarnation is a counter in the store, raised whenever a dispatcher starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchId {
    /// Where the batch lives.
    pub partition: PartitionId,
    /// Which start of which dispatcher made it.
    pub incarnation: u32,
    /// Below 2^40.
    sequence: u64,
}

impl BatchId {
    /// # Errors
    /// [`IdError::Sequence`] at or above 2^40.
    pub fn new(partition: PartitionId, incarnation: u32, sequence: u64) -> Result<Self, IdError> {
        if sequence >> SEQUENCE_BITS != 0 {
            return Err(IdError::Sequence(sequence));
        }
        Ok(Self { partition, incarnation, sequence })
    }

    /// Which batch of its incarnation this is; below 2^40.
    #[must_use]
    pub fn sequence(self) -> u64 {
        self.sequence
    }

    /// The id of the execution at `index` of this batch.
    #[must_use]
    pub fn execution(self, index: u8) -> ExecutionId {
        ExecutionId { batch: self, index }
    }

    /// 11 bytes, ordered like the ids: partition, incarnation, then 40 bits of sequence.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 11] {
        let mut bytes = [0; 11];
        bytes[..2].copy_from_slice(&self.partition.0.to_be_bytes());
        bytes[2..6].copy_from_slice(&self.incarnation.to_be_bytes());
        bytes[6..].copy_from_slice(&self.sequence.to_be_bytes()[3..]);
        bytes
    }

    /// # Errors
    /// [`IdError::Partition`] when the bytes name no partition.
    pub fn from_bytes(bytes: [u8; 11]) -> Result<Self, IdError> {
        let [p0, p1, i0, i1, i2, i3, s0, s1, s2, s3, s4] = bytes;
        let partition = PartitionId::new(u32::from(u16::from_be_bytes([p0, p1])))?;
        let sequence = u64::from_be_bytes([0, 0, 0, s0, s1, s2, s3, s4]);
        Self::new(partition, u32::from_be_bytes([i0, i1, i2, i3]), sequence)
    }
}

/// Names an execution for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExecutionId {
    /// The batch that started it.
    pub batch: BatchId,
    /// Its place in the batch.
    pub index: u8,
}

impl ExecutionId {
    /// # Errors
    /// [`IdError::Index`] at or above [`BATCH_EXECUTIONS_MAX`].
    pub fn new(batch: BatchId, index: u32) -> Result<Self, IdError> {
        match u8::try_from(index) {
            Ok(small) if usize::from(small) < BATCH_EXECUTIONS_MAX => Ok(Self { batch, index: small }),
            _ => Err(IdError::Index(index)),
        }
    }

    fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..11].copy_from_slice(&self.batch.to_bytes());
        bytes[11] = self.index;
        bytes
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// 96 bits of id, then 14 bits of checksum: 110 bits are 22 digits.
fn packed(id: ExecutionId) -> u128 {
    let bytes = id.to_bytes();
    let number = bytes.iter().fold(0u128, |number, byte| number << 8 | u128::from(*byte));
    number << 14 | u128::from(checksum(&bytes) >> 18)
}

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = packed(*self);
        let mut text = [0u8; TEXT_DIGITS];
        for (place, digit) in text.iter_mut().rev().enumerate() {
            *digit = ALPHABET[(number >> (5 * place) & 31) as usize];
        }
        f.write_str(NAME_PREFIX)?;
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl FromStr for ExecutionId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let not_an_id = || IdError::Text(text.chars().take(80).collect());
        let digits = text.strip_prefix(NAME_PREFIX).ok_or_else(not_an_id)?.as_bytes();
        if digits.len() != TEXT_DIGITS {
            return Err(not_an_id());
        }
        let mut number = 0u128;
        for digit in digits {
            let value = ALPHABET.iter().position(|known| known == digit).ok_or_else(not_an_id)?;
            number = number << 5 | value as u128;
        }
        let id_bytes = (number >> 14).to_be_bytes();
        let Some((batch, &[index])) = id_bytes[4..].split_first_chunk::<11>() else {
            return Err(not_an_id());
        };
        let id = BatchId::from_bytes(*batch)?.execution(index);
        if packed(id) == number { Ok(id) } else { Err(IdError::Checksum(text.to_owned())) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_id() -> impl Strategy<Value = ExecutionId> {
        (0..u32::from(PARTITIONS_MAX), any::<u32>(), 0..1u64 << SEQUENCE_BITS, any::<u8>()).prop_map(
            |(partition, incarnation, sequence, index)| {
                let partition = PartitionId::new(partition).expect("in range");
                BatchId::new(partition, incarnation, sequence).expect("in range").execution(index)
            },
        )
    }

    proptest! {
        #[test]
        fn an_id_survives_its_text_and_its_bytes(id in any_id()) {
            prop_assert_eq!(id.to_string().parse::<ExecutionId>(), Ok(id));
            prop_assert_eq!(BatchId::from_bytes(id.batch.to_bytes()), Ok(id.batch));
        }

        #[test]
        fn a_changed_digit_is_never_taken_for_the_same_id(id in any_id(), place in 2usize..24, digit in 0usize..32) {
            let mut text = id.to_string().into_bytes();
            let changed = ALPHABET[digit];
            prop_assume!(text[place] != changed);
            text[place] = changed;
            let text = String::from_utf8(text).expect("ASCII");
            prop_assert_ne!(text.parse::<ExecutionId>().ok(), Some(id));
        }
    }

    #[test]
    fn a_callers_name_is_not_an_id() {
        for name in
            ["order-1", "x-", "x-order", "x-0000000000000000000000", "X-0000", "x-00000000000000000000é"]
        {
            let parsed = name.parse::<ExecutionId>();
            assert!(matches!(parsed, Err(IdError::Text(_) | IdError::Checksum(_))), "{name}: {parsed:?}");
        }
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        assert_eq!(PartitionId::new(1_024), Err(IdError::Partition(1_024)));
        let partition = PartitionId::new(1_023).expect("in range");
        assert_eq!(BatchId::new(partition, 0, 1 << 40), Err(IdError::Sequence(1 << 40)));
        let batch = BatchId::new(partition, 0, 0).expect("in range");
        assert_eq!(ExecutionId::new(batch, 256), Err(IdError::Index(256)));
    }
}
