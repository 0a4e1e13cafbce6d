//! The scheduler stub.

fn main() {}
