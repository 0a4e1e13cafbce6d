//! Groups items into the inputs of child executions.

use super::BATCH_BYTES_MAX;
use crate::value::{Map, Value};

/// An item does not fit into any batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("An item takes {bytes} bytes with the rest of its batch, which may have at most {limit} bytes.")]
pub struct BatchError {
    /// What the batch would have with this item alone.
    pub bytes: usize,
    /// What it may have.
    pub limit: usize,
}

/// Collects items until a batch is full. Invariants: batches hold all items in their order; no batch has more items or
/// bytes than it may; no batch is empty.
#[derive(Debug)]
pub struct Batcher {
    max_items: usize,
    max_bytes: usize,
    input: Option<Value>,
    items: Vec<Value>,
    /// Length of the batch so far, as JSON.
    bytes: usize,
    /// Length of a batch without items.
    frame: usize,
}

impl Batcher {
    /// `None` is no limit of one's own; `input` is `BatchInput`.
    pub fn new(max_items: Option<u64>, max_bytes: Option<u64>, input: Option<Value>) -> Self {
        let longest = usize::try_from(BATCH_BYTES_MAX).unwrap_or(usize::MAX);
        let bound = |limit: Option<u64>, longest: usize| {
            limit.and_then(|limit| usize::try_from(limit).ok()).map_or(longest, |limit| limit.min(longest))
        };
        let mut batcher = Self {
            max_items: bound(max_items, usize::MAX),
            max_bytes: bound(max_bytes, longest),
            input,
            items: Vec::new(),
            bytes: 0,
            frame: 0,
        };
        batcher.frame = batcher.framed(Vec::new()).json_len();
        batcher.bytes = batcher.frame;
        batcher
    }

    /// Takes an item in. Gives the batch that is full now, with how many items it has.
    ///
    /// # Errors
    /// When the item alone is longer than a batch may be.
    pub fn push(&mut self, item: Value) -> Result<Option<(Value, u32)>, BatchError> {
        let bytes = item.json_len();
        if self.frame + bytes > self.max_bytes {
            return Err(BatchError { bytes: self.frame + bytes, limit: self.max_bytes });
        }
        let comma = usize::from(!self.items.is_empty());
        let full = if self.bytes + comma + bytes > self.max_bytes { self.finish() } else { None };
        self.bytes += bytes + usize::from(!self.items.is_empty());
        self.items.push(item);
        // A batch that this item ended leaves the item alone in the next one, which is not full unless it may have one
        // item only, and then the batch before was given when it had its item.
        Ok(full.or_else(|| (self.items.len() >= self.max_items).then(|| self.finish()).flatten()))
    }

    /// What is left.
    pub fn finish(&mut self) -> Option<(Value, u32)> {
        if self.items.is_empty() {
            return None;
        }
        let items = std::mem::take(&mut self.items);
        self.bytes = self.frame;
        let count = u32::try_from(items.len()).unwrap_or(u32::MAX);
        Some((self.framed(items), count))
    }

    fn framed(&self, items: Vec<Value>) -> Value {
        let mut batch = Map::with_capacity(2);
        if let Some(input) = &self.input {
            batch.insert("BatchInput", input.clone());
        }
        batch.insert("Items", Value::from(items));
        Value::from(batch)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn batches(mut batcher: Batcher, items: &[Value]) -> Result<Vec<(Value, u32)>, BatchError> {
        let mut all = Vec::new();
        for item in items {
            all.extend(batcher.push(item.clone())?);
        }
        all.extend(batcher.finish());
        Ok(all)
    }

    fn numbers(to: i64) -> Vec<Value> {
        (0..to).map(Value::from).collect()
    }

    #[test]
    fn a_batch_holds_its_items_beside_the_input_of_all_batches() {
        let input = Some(Value::object([("k", Value::from(1_i64))]));
        let all = batches(Batcher::new(Some(2), None, input), &numbers(3)).unwrap();
        let texts: Vec<String> = all.iter().map(|(batch, _)| batch.to_json_string()).collect();
        assert_eq!(
            texts,
            [r#"{"BatchInput":{"k":1},"Items":[0,1]}"#, r#"{"BatchInput":{"k":1},"Items":[2]}"#]
        );
        assert_eq!(all.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn no_items_make_no_batch() {
        assert_eq!(batches(Batcher::new(Some(2), None, None), &[]), Ok(vec![]));
    }

    #[test]
    fn an_item_that_is_longer_than_a_batch_may_be_is_refused() {
        // {"Items":[...]} has 12 bytes without items.
        let item = [Value::from("12345678")];
        assert!(batches(Batcher::new(None, Some(22), None), &item).is_ok());
        let refused = batches(Batcher::new(None, Some(21), None), &item);
        assert_eq!(refused, Err(BatchError { bytes: 22, limit: 21 }));
    }

    proptest! {
        #[test]
        fn batches_concatenate_to_the_items_and_respect_both_limits(
            texts in prop::collection::vec("[a-z]{0,20}", 0..40),
            max_items in prop::option::of(1_u64..6),
            max_bytes in prop::option::of(40_u64..90),
            framed in any::<bool>(),
        ) {
            let items: Vec<Value> = texts.into_iter().map(Value::from).collect();
            let input = framed.then(|| Value::from(7_i64));
            let Ok(all) = batches(Batcher::new(max_items, max_bytes, input), &items) else {
                // With 40 bytes, the longest item may not fit beside the input.
                prop_assert!(framed && max_bytes.is_some_and(|bytes| bytes < 50));
                return Ok(());
            };
            let mut flat = Vec::new();
            for (batch, count) in &all {
                let items = batch.get("Items").and_then(Value::as_array).unwrap();
                prop_assert_eq!(items.len(), *count as usize);
                prop_assert!(!items.is_empty());
                prop_assert!(max_items.is_none_or(|max| items.len() as u64 <= max));
                prop_assert!(batch.json_len() as u64 <= max_bytes.unwrap_or(BATCH_BYTES_MAX));
                flat.extend_from_slice(items);
            }
            prop_assert_eq!(flat, items);
        }
    }
}
