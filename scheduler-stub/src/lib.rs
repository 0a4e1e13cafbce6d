//! The scheduler stub.
