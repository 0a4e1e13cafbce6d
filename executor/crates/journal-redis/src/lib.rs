//! The store contract on Redis.
//!
//! Purpose: [`RedisConnect`] gives each shard a connection of its own to one Redis, or to each master of a Redis
//! Cluster. Invariants: each flush is one XADD whose id is the fence, and it is acknowledged by that XADD's reply alone;
//! what travels beside it is derived and is written only after its block is known to be in the log; the key of a log is
//! never deleted and never gets a time to live, because that would reset the fence; all keys of a partition carry one
//! hash tag, so that a cluster keeps them together and one round trip reaches them; on a new connection nothing is
//! appended before the log was seen to have what was confirmed. What may fail: Redis, with a [`journal::StoreError`] that
//! carries Redis's own words and says what to do.
//!
//! Rooms: [`options`] (URL and settings), [`access`] (users, passwords, certificates), [`link`] (one connection that
//! comes back), [`servers`] and [`map`] (who serves which slot), [`keys`] (names and hash tags), [`log`] (acquire, append,
//! read), [`stand`] and [`tops`] (where logs stand, and whose they are), [`position`] (has the log gone back?), [`derived`], [`queue`] and
//! [`write`](mod@write) (what travels beside a block), [`durable`] (keys that live for ever), [`durability`] (what an acknowledgement is worth), [`error`] (Redis's words to ours).

mod access;
mod derived;
mod durability;
mod durable;
mod error;
mod keys;
mod link;
mod log;
mod map;
mod options;
mod position;
mod queue;
mod reply;
mod servers;
mod stand;
mod store;
mod tops;
mod write;

pub use keys::partition_tag;
pub use options::{AppendFsync, RedisOptions};
pub use store::{RedisConnect, RedisStore};
