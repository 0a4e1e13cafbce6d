//! What is kept of an execution, how it is encoded, and where.
//!
//! Purpose: the record types, their columnar encoding into blocks, the [`Store`] contract, and the two
//! embedded stores. Invariants: a block is written once, under an id that fences older owners; whatever
//! travels beside a block ([`Derived`]) can be rebuilt from the log; what is open is never trimmed. What may
//! fail: the store, with a [`StoreError`] that says whether the outcome is known.
//!
//! Rooms: [`store`] (the contract), [`block`] (records and their encoding), [`cluster`] (whose a store is), [`index`]
//! (look-up and listing on top of the contract, the same for every store), [`checkpoint`] (where recovery may begin),
//! [`memory`] and [`file`] (embedded stores), `conformance` (the suite).

pub mod block;
pub mod checkpoint;
pub mod cluster;
pub mod file;
pub mod index;
pub mod memory;
pub mod store;

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;

pub use block::{Block, BlockBuilder, Closed, Journalled, JournalledKind, MachineRef, Opened, Record};
pub use file::{FileOptions, FileStore};
pub use memory::{Fault, MemoryStore};
pub use store::{
    Acquired, Append, BlockId, BlockRange, Connect, Derived, Durability, Store, StoreError, StoreFuture, Top,
};
