//! Load and benches.
//!
//! Purpose: honest figures. The generator is open loop: when each execution has to start is fixed in advance, and its
//! latency counts from that instant, so that a stalled node cannot hide (no coordinated omission). After a run the store
//! is read back, and acknowledged = stored = one terminal outcome each, or the run fails. What may fail: processes that
//! do not start, a run with errors; both exit non-zero with what happened.
//!
//! Rooms: [`profile`] (what is run), [`payload`] (inputs), [`schedule`] (when), [`load`] (the generator), [`ledger`]
//! (what was acknowledged, and the check against the store), [`recovery`] (how
//! soon a killed node serves again), [`report`] (table and JSON), [`machine`] (CPU, load, file
//! systems), [`suite`] (processes and the set of
//! runs), [`worker`] (the echo worker), [`peer`] (the HTTP peer), [`client`] (what the HTTP
//! client does alone), [`crash`] (the kill test), [`observed`] (what being looked at costs), [`outage`] (who looks is gone), [`collector`] (who
//! takes what is exported), [`http`] (single starts through the front door).

mod attend;
pub mod client;
pub mod collector;
pub mod crash;
pub mod error;
pub mod http;
pub mod ledger;
pub mod load;
pub mod machine;
pub mod observed;
pub mod outage;
pub mod payload;
pub mod peer;
pub mod profile;
pub mod recovery;
pub mod report;
pub mod schedule;
mod scrape;
pub mod suite;
pub mod tls;
pub mod worker;
