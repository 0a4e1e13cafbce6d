//! A shard: one thread, one actix arbiter, its partitions and their executions.
//!
//! Purpose: everything between an accepted message and its durable answer. Invariants: one thread touches a shard's
//! state; nothing waits while it changes state; an acknowledgement leaves only after the store has confirmed the block
//! that holds its cause; every queue has a bound. What may fail: the store, and then the shard says so
//! ([`ShardState::StoreDown`]), stops acknowledging, refuses starts, and goes on when the store answers again.

mod activities;
mod actor;
mod answer;
mod archive;
mod archiving;
mod beyond;
mod bindings;
mod callbacks;
mod calls;
mod carry;
mod checkpoint;
mod command;
mod compare;
mod core;
mod crumbs;
mod dedupe;
mod described;
mod errand;
mod exception;
mod execution;
mod fetch;
mod flush;
mod flush_pace;
mod functions;
mod handle;
mod history;
mod history_page;
mod kept_replays;
mod line;
mod log;
mod lookup;
mod machine;
mod mailbox;
mod map_run_children;
mod map_runs;
mod names;
mod observe;
mod own;
mod parting;
mod probe;
mod progress;
mod reading;
mod recover;
mod redrivable;
mod redrive;
mod replay;
mod retain;
mod rewrite;
mod scan;
#[doc(hidden)]
pub mod simulation;
mod slab;
mod spans;
mod standing;
mod start;
mod step;
mod suspects;
mod tasks;
mod telling;
mod timers;
mod token;
mod told;
mod trace;
mod transfers;
mod turns;
mod validate;
mod went_back;
mod workers;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use ::tasks::Integrations;
use actix::Actor;
use journal::store::Connect;
use telemetry::ShardMetrics;
use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::definitions::Definitions;
use crate::objects::Objects;
use crate::owners::Owners;
use crate::secret::ClusterSecret;

pub use activities::{Offer, is_activity};
pub use archiving::Archiver;
pub use callbacks::Callback;
pub(crate) use callbacks::no_task;
pub use command::{Command, Reply, WorkerId};
pub use crumbs::{CrumbError, Crumbs};
pub use handle::{Binding, Pace, Serve, ShardConfig, ShardHandle, ShardState};
pub use history_page::{HistoryCut, HistoryPage};
pub(crate) use machine::timestamp_of_ms;
pub use map_run_children::{ChildrenCut, ChildrenPage};
pub(crate) use start::OWNER_CHANGED;
pub use telling::Outside;
pub(crate) use token::partition_of;
pub use token::{TaskToken, partition_of_text};
pub use trace::Sampling;
pub use validate::input as check_input;
pub(crate) use validate::role as check_role;

/// Makes the integrations of a shard, on its thread: they are not shared.
pub type MakeIntegrations = Arc<dyn Fn(&ShardContext) -> Integrations + Send + Sync>;

/// None: for a shard whose tasks are all done by workers.
#[must_use]
pub fn no_integrations() -> MakeIntegrations {
    Arc::new(|_| Integrations::default())
}

/// What a shard shares with the rest of its node.
#[derive(Clone)]
pub struct ShardContext {
    /// Gives the shard a store connection of its own.
    pub connect: Arc<dyn Connect>,
    /// Makes the integrations of a shard, on its thread.
    pub integrations: MakeIntegrations,
    /// What Maps read and write, if the node has any.
    pub objects: Option<Arc<Objects>>,
    /// Where closed executions go before the log is trimmed of them, if anywhere.
    pub archiver: Option<Archiver>,
    /// Where histories and traces are handed over to be exported, if they are.
    pub outside: Outside,
    /// Whose store it has to be.
    pub cluster: Arc<Cluster>,
    /// Seals the tokens of tasks.
    pub secret: Arc<ClusterSecret>,
    /// Programs by hash.
    pub definitions: Arc<Definitions>,
    /// Where the shards of the node say what they have.
    pub owners: Arc<Owners>,
    /// The shard's own cells.
    pub metrics: Arc<ShardMetrics>,
    /// Where its time comes from.
    pub clock: Clock,
    /// Who knows what the shard steps.
    pub crumbs: Arc<Crumbs>,
}

/// Starts a shard on a thread of its own. The thread ends when the future of `serve` has ended.
///
/// # Errors
/// When the thread or its runtime cannot be made.
pub fn spawn(
    config: ShardConfig,
    context: ShardContext,
    serve: Serve,
) -> io::Result<(ShardHandle, JoinHandle<()>)> {
    let (sender, receiver) = mpsc::channel(config.queue_commands.max(1));
    let (state_sender, state) = watch::channel(ShardState::Connecting);
    let handle = ShardHandle { index: config.index, sender, state };
    for partition in config.partitions.iter().flatten() {
        // Whoever asks from now on is sent to the shard, which says how far it is.
        context.owners.claim(*partition, config.index);
    }
    let served = handle.clone();
    let thread = std::thread::Builder::new().name(format!("shard-{}", config.index)).spawn(move || {
        let system = actix::System::with_tokio_rt(shard_runtime);
        system.block_on(async move {
            let sources = actor::Sources::new(receiver, context.clock.clone());
            let shard = core::Shard::new(config, context, state_sender);
            actor::ShardActor::new(shard, sources).start();
            serve(served).await;
        });
    })?;
    Ok((handle, thread))
}

#[allow(clippy::expect_used, reason = "a thread without a runtime has nobody to report to but its panic")]
fn shard_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("the runtime of a shard's thread")
}

#[cfg(test)]
mod tests;
