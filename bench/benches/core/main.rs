//! The language core alone, on one thread: whole executions, and each feature by itself.
//!
//! Rooms: `executions` (the profiles of the load runs), `reading` (JSON), `paths`, `intrinsics`, `templates`, `choices`,
//! `jsonata`, `states` (what states do around their data), `maps` (inline and distributed), `definitions` (from text to
//! program), `histories` (what an observer costs), `support` (what all of them need).
//!
//! A bench is named by the feature that it measures: `cargo bench -p bench --bench core -- jsonata` runs those of one room,
//! `-- path/definite` one of them. The libraries that could do a part of the work stand beside ours, so that choosing again
//! is a command.

mod choices;
mod definitions;
mod executions;
mod histories;
mod intrinsics;
mod jsonata;
mod maps;
mod paths;
mod reading;
mod states;
mod support;
mod templates;

use criterion::{criterion_group, criterion_main};

/// The binaries' allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

criterion_group! {
    name = benches;
    config = support::short();
    targets = executions::benches, reading::benches, paths::benches, intrinsics::benches, templates::benches,
        choices::benches, jsonata::benches, states::benches, maps::benches, definitions::benches, histories::benches
}
criterion_main!(benches);
