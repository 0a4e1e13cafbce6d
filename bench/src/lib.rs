//! Load and benches.
