//! Load and benches.

fn main() {}
