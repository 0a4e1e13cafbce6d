//! What is kept of a read that is too long for the journal: enough to read it again, and to know that it gave the same.
//!
//! Format: the length as a varint, 32 bytes of SHA-256, the resource's length as a varint, the resource, the parameters.
//! What may fail: [`ReadDigest::decode`], when the bytes are none.

use bytes::Bytes;

use super::column::{Reader, put_varint};
use crate::store::StoreError;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadDigest<'a> {
    /// Of what was read, in bytes.
    pub length: u64,
    /// Of what was read.
    pub sha256: [u8; 32],
    /// The call.
    pub resource: &'a str,
    /// Its parameters as JSON text.
    pub parameters: &'a [u8],
}

impl<'a> ReadDigest<'a> {
    /// As a payload.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(52 + self.resource.len() + self.parameters.len());
        put_varint(&mut out, self.length);
        out.extend_from_slice(&self.sha256);
        put_varint(&mut out, self.resource.len() as u64);
        out.extend_from_slice(self.resource.as_bytes());
        out.extend_from_slice(self.parameters);
        out.into()
    }

    /// From a payload.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when the bytes are no digest.
    pub fn decode(payload: &'a [u8]) -> Result<Self, StoreError> {
        let mut reader = Reader::new(payload);
        let (length, sha256) = (reader.varint()?, reader.array()?);
        let resource = std::str::from_utf8(reader.bytes_with_length()?)
            .map_err(|_| StoreError::Corrupt("the resource of a read is not UTF-8".to_owned()))?;
        Ok(Self { length, sha256, resource, parameters: reader.rest() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_digest_survives_its_encoding(length: u64, sha256: [u8; 32], resource: String, parameters: Vec<u8>) {
            let digest = ReadDigest { length, sha256, resource: &resource, parameters: &parameters };
            let encoded = digest.encode();
            prop_assert_eq!(ReadDigest::decode(&encoded).expect("a digest"), digest.clone());
            // Cut anywhere before the parameters it is none.
            let head = encoded.len() - parameters.len();
            prop_assert!((0..head).all(|end| ReadDigest::decode(&encoded[..end]).is_err()));
        }
    }
}
