//! The shard's state and its one entrance, [`Shard::wake`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use telemetry::ShardMetrics;
use tokio::sync::watch;

use super::actor::Wake;
use super::{ShardConfig, ShardContext, ShardState};

/// What the shard waits for without waiting: a call of the store.
pub(super) type Flight = Pin<Box<dyn Future<Output = Landed>>>;

/// How a flight ended.
#[derive(Debug)]
pub(super) enum Landed {}

/// Everything that one thread owns.
pub(super) struct Shard {
    pub metrics: Arc<ShardMetrics>,
    pub flights: Vec<Flight>,
}

impl Shard {
    pub fn new(config: ShardConfig, context: ShardContext, state: watch::Sender<ShardState>) -> Self {
        let _ = (config, state);
        Self { metrics: context.metrics, flights: Vec::new() }
    }

    pub fn wake(&mut self, wake: &mut Wake) {
        wake.commands.clear();
        wake.landed.clear();
    }

    pub fn next_alarm_us(&self) -> Option<u64> {
        None
    }
}
