//! What leaves a node to be looked at elsewhere.
//!
//! Purpose: shards offer what they have to tell to an [`Intake`], which never waits; a thread of its own ([`Exporter`])
//! takes it from there and brings it to sinks, each behind a [`Pump`] with a queue, batches and retries of its own.
//! Invariants: nothing here slows a shard; every queue is bounded by items and bytes; a sink that is down holds up no
//! other one; what is given up is counted by reason. What may fail: sinks, with [`SinkError`]; what they did not take in
//! time is dropped.
//!
//! Rooms: `page` and `spans` (what a shard hands over of histories and of traces), `intake` (from shards to the thread), `pump`
//! and `retry` (from a queue to a sink), `exporter` (the thread), `relay` and `line` (from intakes to all sinks at once; pages
//! become lines there), `secrets` (files that hold them), [`sinks`] (where histories go), [`push`] (snapshots of metrics, at an interval), [`otlp`] (all of it, to
//! what speaks OpenTelemetry's protocol).

mod events;
mod exporter;
mod http_client;
mod intake;
mod keys;
mod line;
pub mod otlp;
mod page;
mod pump;
pub mod push;
mod relay;
mod retry;
mod secrets;
pub mod sinks;
mod spans;

pub use events::{Event, Events};
pub use exporter::{Exporter, Stop};
pub use intake::{Intake, IntakeBounds, Outlet, intake};
pub use line::{Line, lines};
pub use page::Page;
pub use pump::{Batch, Feed, Pump, PumpOptions, Sent, Sink, SinkError, pump};
pub use relay::{History, Relay, Traces};
pub use retry::Retry;
pub use secrets::{Secret, SecretError};
pub use spans::{Span, SpanKind, SpanPage};

/// Tells the time in milliseconds since the Unix epoch.
pub type Now = std::sync::Arc<dyn Fn() -> u64 + Send + Sync>;

/// How much of a bound something takes.
pub trait Weigh {
    /// About so many bytes of memory.
    fn bytes(&self) -> usize;

    /// As how many items it counts in metrics: a part of one is counted with its last part.
    fn items(&self) -> u64 {
        1
    }

    /// How many records are in it: a page holds many events.
    fn records(&self) -> u64 {
        1
    }

    /// Whether it is among the last to be dropped.
    fn is_urgent(&self) -> bool {
        false
    }

    /// What of it fits into so many bytes, and the rest.
    fn split(self, room: usize) -> (Option<Self>, Option<Self>)
    where
        Self: Sized,
    {
        if self.bytes() <= room { (Some(self), None) } else { (None, Some(self)) }
    }
}

impl<T: Weigh + ?Sized> Weigh for std::sync::Arc<T> {
    fn bytes(&self) -> usize {
        (**self).bytes()
    }

    fn items(&self) -> u64 {
        (**self).items()
    }

    fn records(&self) -> u64 {
        (**self).records()
    }
}
