//! The gRPC surface of a whole node, in this process, on the memory store.
//!
//! Rooms: `support` (a node and a client), `calls` (each plain call), `bad_input` (what is refused, and how),
//! `streams` (batches, completions, workers), `lifecycle` (health, drain, a store that is away), `load` (too
//! much of it, and how a scheduler hears of it), `modes` (synchronous executions, redrives), `callbacks` (how tasks
//! went, by their tokens), `activities` (workers that poll), `push` (metrics that nobody takes).

mod activities;
mod bad_input;
mod callbacks;
mod calls;
mod integrations;
mod lifecycle;
mod load;
mod managed;
mod modes;
mod push;
mod streams;
mod support;
