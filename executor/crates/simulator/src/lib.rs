//! A deterministic simulation of a cluster: real shards over a simulated store, network, clocks and crashes.
//!
//! Purpose: interleavings that nobody wrote down. The shards are the product's own, woken one at a time in an order that
//! is drawn from a seed; the store is a durable image behind a network that loses, delays and repeats; processes die at
//! every step of every call. The `audit` reads the log by itself and holds the product to its promises. Invariant: a
//! seed stands for one run, everywhere and always. What may fail: the product.
//!
//! `cargo test -p simulator` runs some thousand seeds; `SEED=7 cargo test -p simulator -- --nocapture` prints one.

mod answers;
mod audit;
mod callbacks;
mod client;
mod exam;
mod image;
mod links;
mod losses;
pub mod machines;
mod mutation;
mod network;
mod nodes;
mod options;
mod placement;
pub mod points;
mod process;
mod rng;
mod scheduler;
mod store;
mod trace;
mod worker;
mod world;

pub use audit::Violation;
pub use mutation::{Mutation, Mutations};
pub use world::{Report, run};
