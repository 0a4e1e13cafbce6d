//! Names that callers chose: from machine and name to the id.

use std::time::Duration;

use bytes::Bytes;
use ids::{BatchId, ExecutionId, PartitionId};
use xxhash_rust::xxh3::Xxh3Default;

use crate::store::{Derived, Store, StoreError};

fn key(machine_arn: &str, name: &str) -> Bytes {
    let mut hash = Xxh3Default::new();
    hash.update(machine_arn.as_bytes());
    hash.update(&[0]);
    hash.update(name.as_bytes());
    [b"n".as_slice(), &hash.digest128().to_be_bytes()].concat().into()
}

/// The entry by which [`lookup_name`] finds an execution; it goes beside the block that opens or closes it.
/// Keep `ttl` at the name's retention, and renew it when the execution closes: a name outlives its
/// execution's end.
#[must_use]
pub fn name_entry(machine_arn: &str, name: &str, id: ExecutionId, ttl: Duration) -> Derived {
    let value = [id.batch.to_bytes().as_slice(), &[id.index]].concat();
    Derived::Put { key: key(machine_arn, name), value: value.into(), ttl }
}

/// The execution that this name was given to. Names may collide in the key: look the execution up and compare
/// machine and name before its answer is used.
///
/// # Errors
/// [`StoreError::Corrupt`] when the entry is no id; else what the store says.
pub async fn lookup_name(
    store: &dyn Store,
    partition: PartitionId,
    machine_arn: &str,
    name: &str,
) -> Result<Option<ExecutionId>, StoreError> {
    let found = store.get_derived(partition, vec![key(machine_arn, name)]).await?;
    let Some(value) = found.into_iter().next().flatten() else { return Ok(None) };
    let corrupt = || StoreError::Corrupt(format!("the entry of the name {name:?} is no execution id"));
    let (batch, rest) = value.split_first_chunk::<11>().ok_or_else(corrupt)?;
    let [index] = rest else { return Err(corrupt()) };
    let batch = BatchId::from_bytes(*batch).map_err(|_| corrupt())?;
    Ok(Some(batch.execution(*index)))
}
