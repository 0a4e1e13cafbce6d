//! Numbers as bytes: little-endian base-128 varints, zigzag for signed differences, and a reader that never
//! panics.
//!
//! Invariants: a [`Reader`] never reads past its end and never allocates by a declared length. What may fail:
//! reading, with [`StoreError::Corrupt`].

use crate::store::StoreError;

/// Appends a varint: seven bits a byte, low bits first, the high bit says that more follow. At most ten
/// bytes.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a difference (wrapping) so that small ones of either sign are short.
pub(crate) fn put_difference(out: &mut Vec<u8>, from: u64, to: u64) {
    let difference = to.wrapping_sub(from) as i64;
    put_varint(out, (difference << 1 ^ difference >> 63) as u64);
}

fn truncated() -> StoreError {
    StoreError::Corrupt("a block or key ends within a record".to_owned())
}

/// Reads forward through bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// Everything that is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], StoreError> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or_else(truncated)?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let (taken, rest) = self.bytes.split_first_chunk::<N>().ok_or_else(truncated)?;
        self.bytes = rest;
        Ok(*taken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, StoreError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u64_le(&mut self) -> Result<u64, StoreError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, StoreError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(StoreError::Corrupt("a number of a block is longer than 64 bits".to_owned()))
    }

    /// A varint that is a length or a count, at most `max`.
    pub(crate) fn length(&mut self, max: usize) -> Result<usize, StoreError> {
        let value = self.varint()?;
        usize::try_from(value).ok().filter(|length| *length <= max).ok_or_else(|| {
            StoreError::Corrupt(format!("a block declares a length of {value}, at most {max} is possible"))
        })
    }

    /// The inverse of [`put_difference`].
    pub(crate) fn difference(&mut self, from: u64) -> Result<u64, StoreError> {
        let zigzag = self.varint()?;
        Ok(from.wrapping_add(zigzag >> 1 ^ (zigzag & 1).wrapping_neg()))
    }

    pub(crate) fn bytes_with_length(&mut self) -> Result<&'a [u8], StoreError> {
        let length = self.length(self.bytes.len())?;
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_and_differences_survive(value: u64, from: u64) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            put_difference(&mut out, from, value);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.varint().expect("a number"), value);
            prop_assert_eq!(reader.difference(from).expect("a difference"), value);
            prop_assert!(reader.is_empty());
        }
    }

    #[test]
    fn what_is_cut_or_endless_is_corrupt() {
        for bytes in [&[][..], &[0x80], &[0xff; 11]] {
            assert!(matches!(Reader::new(bytes).varint(), Err(StoreError::Corrupt(_))), "{bytes:?}");
        }
        assert!(Reader::new(&[5, 1, 2]).bytes_with_length().is_err());
    }
}
