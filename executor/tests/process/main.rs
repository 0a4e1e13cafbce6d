//! Real nodes, real stores, real signals: what was acknowledged is found again, and ends exactly once.
//!
//! Every test starts the `executor` binary, kills or disturbs it or its store, and compares what the client
//! was told (a ledger on the disk) with what the node answers and with what the store holds in the end.

mod archive;
mod disk;
mod drain;
mod export;
mod idle;
mod input;
mod inspect;
mod isolation;
mod kill;
mod objects;
mod poison;
mod support;
mod takeover;
mod top;
mod traces;
mod trouble;
mod went_back;
