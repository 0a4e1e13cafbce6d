//! Payloads.

use std::cell::OnceCell;

use bytes::Bytes;

use super::Value;

/// A JSON document as bytes, as a tree, or both: either side is made from the other when first asked for.
#[derive(Debug, Clone)]
pub struct Payload {
    bytes: OnceCell<Bytes>,
    tree: OnceCell<Value>,
}
