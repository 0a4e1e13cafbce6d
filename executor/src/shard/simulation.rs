//! The shard without its thread, for the simulator: the same state machine, driven from outside.
//!
//! Purpose: whoever drives it decides in which order commands and answers of the store come and what time it is; nothing
//! else of the shard is different. Invariants: nothing here changes what a shard does, and a node uses none of it. What
//! may fail: nothing.

use std::task::{Context, Poll};

use ids::PartitionId;
use journal::BlockId;
use tokio::sync::watch;

use super::actor::Wake;
use super::core::{self, Shard};
use super::{Command, ShardConfig, ShardContext, ShardState};

/// A call of the store on its way.
pub struct Flight(core::Flight);

/// How a flight ended; for the shard alone to look into.
pub struct Landed(core::Landed);

impl Flight {
    /// Goes on with the call.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Landed> {
        self.0.as_mut().poll(cx).map(Landed)
    }
}

/// A shard that stands still until it is woken.
pub struct SimulatedShard {
    shard: Shard,
    wake: Wake,
    state: watch::Receiver<ShardState>,
}

impl SimulatedShard {
    /// A shard that begins its recovery with the first wake-up.
    #[must_use]
    pub fn new(config: ShardConfig, context: ShardContext) -> Self {
        let (sender, state) = watch::channel(ShardState::Recovering);
        Self { shard: Shard::new(config, context, sender), wake: Wake::default(), state }
    }

    /// Brings commands and answers; gives the calls of the store that follow.
    pub fn wake(&mut self, commands: Vec<Command>, landed: Vec<Landed>) -> Vec<Flight> {
        self.wake.commands.extend(commands);
        self.wake.landed.extend(landed.into_iter().map(|landed| landed.0));
        self.shard.wake(&mut self.wake);
        self.shard.flights.drain(..).map(Flight).collect()
    }

    /// When it is to be woken without either, in microseconds of its clock.
    #[must_use]
    pub fn next_alarm_us(&self) -> Option<u64> {
        self.shard.next_alarm_us()
    }

    /// The checkpoints at which recoveries of what it has now began.
    #[must_use]
    pub fn checkpoints(&self) -> Vec<(PartitionId, BlockId)> {
        let logs = self.shard.logs.iter();
        logs.filter_map(|log| Some((log.partition, log.checkpoints.began_at?))).collect()
    }

    /// How it says that it fares.
    #[must_use]
    pub fn state(&self) -> ShardState {
        *self.state.borrow()
    }
}
