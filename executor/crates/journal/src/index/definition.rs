//! Definitions, stored once under their SHA-256.

use bytes::Bytes;
use ids::DefinitionHash;
use sha2::{Digest, Sha256};

use crate::store::{Store, StoreError};

fn key(hash: &DefinitionHash) -> Bytes {
    [b"d/".as_slice(), hash].concat().into()
}

fn matches(hash: &DefinitionHash, definition: &[u8]) -> bool {
    Sha256::digest(definition).as_slice() == hash
}

fn hex(hash: &DefinitionHash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Stores a definition; returns when it is durable. Storing it again costs a read.
///
/// # Errors
/// [`StoreError::Refused`] when the bytes have another hash; else what the store says.
pub async fn put_definition(
    store: &dyn Store,
    hash: &DefinitionHash,
    definition: Bytes,
) -> Result<(), StoreError> {
    if !matches(hash, &definition) {
        return Err(StoreError::Refused(format!("the definition's SHA-256 is not {}", hex(hash))));
    }
    if store.get(key(hash)).await?.as_ref() == Some(&definition) {
        return Ok(());
    }
    store.put(key(hash), definition).await
}

/// The definition with this hash.
///
/// # Errors
/// [`StoreError::Corrupt`] when the store holds other bytes under this hash; else what the store says.
pub async fn get_definition(store: &dyn Store, hash: &DefinitionHash) -> Result<Option<Bytes>, StoreError> {
    match store.get(key(hash)).await? {
        Some(definition) if !matches(hash, &definition) => {
            Err(StoreError::Corrupt(format!("the definition stored as {} has another SHA-256", hex(hash))))
        }
        definition => Ok(definition),
    }
}
