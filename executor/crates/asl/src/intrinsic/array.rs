//! `States.Array`, `ArrayPartition`, `ArrayContains`, `ArrayRange`, `ArrayGetItem`, `ArrayLength`, `ArrayUnique`.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};

use smallvec::SmallVec;

use super::error::Failure;
use super::function::Arguments;
use crate::value::Value;

/// The most items that `States.ArrayRange` makes.
const RANGE_ITEMS_MAX: usize = 1_000;

/// The arguments in their order.
pub(super) fn array(given: &mut Arguments<'_>) -> Result<Value, Failure> {
    given.work.items(given.values.len())?;
    Ok(Value::from(given.values.to_vec()))
}

/// Chunks of a size; the last one may be smaller.
pub(super) fn partition(given: &mut Arguments<'_>) -> Result<Value, Failure> {
    let items = given.array(0)?;
    let size = match given.rounded(1)? {
        size @ 1.. => usize::try_from(size).unwrap_or(usize::MAX),
        _ => {
            let (expected, found) = ("a positive integer", given.value(1).to_string());
            return Err(Failure::Value { position: 2, expected, found });
        }
    };
    given.work.walk(1, given.value(0))?;
    // A chunk is an item and an allocation, dearer than an item.
    given.work.items(items.len().saturating_add(items.len().div_ceil(size).saturating_mul(3)))?;
    Ok(items.chunks(size).map(|chunk| Value::from(chunk.to_vec())).collect::<Vec<_>>().into())
}

/// Whether an item is equal to the value.
pub(super) fn contains(given: &mut Arguments<'_>) -> Result<Value, Failure> {
    let items = given.array(0)?;
    given.work.walk(1, given.value(0))?;
    Ok(items.contains(given.value(1)).into())
}

/// From start to end, both included.
pub(super) fn range(given: &mut Arguments<'_>) -> Result<Value, Failure> {
    let (start, end, step) = (given.rounded(0)?, given.rounded(1)?, given.rounded(2)?);
    if step == 0 {
        return Err(Failure::Value {
            position: 3,
            expected: "an integer other than zero",
            found: "0".to_owned(),
        });
    }
    let (distance, stride) = (i128::from(end) - i128::from(start), i128::from(step));
    if distance.signum() * stride.signum() < 0 {
        return Ok(Value::array([]));
    }
    let count = (distance / stride).unsigned_abs() + 1;
    if usize::try_from(count).map_or(true, |count| count > RANGE_ITEMS_MAX) {
        return Err(Failure::Items { limit: RANGE_ITEMS_MAX, found: count });
    }
    given.work.items(RANGE_ITEMS_MAX)?;
    // No item lies beyond `end`, so the sum overflows only where nothing follows any more.
    let items = std::iter::successors(Some(start), |last| last.checked_add(step));
    let count = usize::try_from(count).unwrap_or(RANGE_ITEMS_MAX);
    Ok(Value::array(items.take(count).map(Value::from)))
}

/// The item at an index from 0.
pub(super) fn get_item(given: &mut Arguments<'_>) -> Result<Value, Failure> {
    let items = given.array(0)?;
    let index = given.number(1)?;
    let Some(index) = index.as_i64() else {
        return Err(Failure::Value { position: 2, expected: "an integer", found: index.to_string() });
    };
    let item = usize::try_from(index).ok().and_then(|at| items.get(at));
    item.cloned().ok_or(Failure::Index { index, length: items.len() })
}

/// How many items.
pub(super) fn length(given: &mut Arguments<'_>) -> Result<Value, Failure> {
    given.array(0).map(|items| items.len().into())
}

/// The items without those that are equal to an earlier one.
pub(super) fn unique(given: &mut Arguments<'_>) -> Result<Value, Failure> {
    let items = given.array(0)?;
    given.work.walk(1, given.value(0))?;
    given.work.items(items.len().saturating_mul(3))?;
    // By hash, because comparing each with each is quadratic. Seeded, so that no input can make it so again; the result
    // does not depend on the seed.
    let state = foldhash::fast::RandomState::default();
    let mut places: HashMap<u64, SmallVec<[usize; 1]>, foldhash::fast::RandomState> = HashMap::default();
    let mut kept: Vec<Value> = Vec::new();
    for item in items {
        let same_hash = places.entry(hash(item, &state)).or_default();
        if same_hash.iter().all(|at| kept[*at] != *item) {
            same_hash.push(kept.len());
            kept.push(item.clone());
        }
    }
    Ok(kept.into())
}

/// Equal values have equal hashes: numbers by their value, objects without regard to the order of their members.
/// Recursion is as deep as the value, which has been measured.
fn hash(value: &Value, state: &foldhash::fast::RandomState) -> u64 {
    let mut hasher = state.build_hasher();
    match value {
        Value::Null => 0_u8.hash(&mut hasher),
        Value::Bool(truth) => (1_u8, truth).hash(&mut hasher),
        // Adding zero makes -0.0 and 0.0 one.
        Value::Number(number) => (2_u8, (number.as_f64() + 0.0).to_bits()).hash(&mut hasher),
        Value::String(text) => (3_u8, text.as_str()).hash(&mut hasher),
        Value::Array(items) => {
            (4_u8, items.len()).hash(&mut hasher);
            items.iter().for_each(|item| hash(item, state).hash(&mut hasher));
        }
        Value::Object(members) => {
            let member = |(key, value): (&crate::value::Str, &Value)| {
                state.hash_one((key.as_str(), hash(value, state)))
            };
            let sum = members.iter().map(member).fold(0_u64, u64::wrapping_add);
            (5_u8, members.len(), sum).hash(&mut hasher);
        }
    }
    hasher.finish()
}
