//! The store contract on Redis.
