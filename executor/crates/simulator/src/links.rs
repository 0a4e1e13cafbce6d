//! The node's side of its scheduler, as `executor/src/heartbeat.rs` has it: reports that are lost, late and doubled, and
//! streams that break.
//!
//! Invariants: a node talks to one scheduler at a time; unless a mutation is asked for, it heeds none that is older than
//! the one that it followed last, and takes nothing new while it leaves. Nothing here fails.

use assign::{Assignment, Claim, Report, ShardReport, State};
use ids::PartitionId;
use proto::executor::v1::{self, owned_partition};

use crate::mutation::Mutation;
use crate::process::Message;
use crate::world::{Event, World};

/// Between the reports of a node, as schedulers ask for.
const BEAT_US: u64 = 500_000;
/// Reports at which a stream breaks, in thousandths.
const BREAKS: u64 = 5;
/// Streams whose end nobody tells the scheduler, in thousandths.
const VANISHES: u64 = 300;
/// How long a node that leaves waits for the scheduler.
const PATIENCE_US: u64 = 10_000_000;

fn claim(owned: &v1::OwnedPartition) -> Option<Claim> {
    let state = match owned.state() {
        owned_partition::State::Serving => State::Serving,
        owned_partition::State::Releasing => State::Releasing,
        owned_partition::State::Unspecified | owned_partition::State::Recovering => State::Recovering,
    };
    let partition = u16::try_from(owned.partition).ok()?;
    Some(Claim { partition, generation: owned.generation, state })
}

impl World {
    /// A node asks itself what it has, to report it.
    pub(crate) fn beat(&mut self, process: u32) {
        let Some(node) = self.processes.get(&process) else { return };
        if node.paused_until_us.is_none() {
            self.arrives(process, Message::Report);
        }
        self.after(BEAT_US, Event::Beat(process));
    }

    /// A node leaves: it reports so, and ends when it has nothing any more.
    pub(crate) fn leave(&mut self, process: u32) {
        if let Some(node) = self.processes.get_mut(&process) {
            node.leaving_since_us.get_or_insert(self.now_us);
            self.arrives(process, Message::Report);
        }
    }

    /// A node has something to report.
    pub(crate) fn tell_scheduler(&mut self, process: u32, shard: &v1::Shard) {
        let link = self.link_of(process);
        let partitions = self.partition_count();
        let owned = &shard.owned;
        let Some(node) = self.processes.get_mut(&process) else { return };
        let over = |since_us: u64| owned.is_empty() || self.now_us - since_us >= PATIENCE_US;
        let ends = node.leaving_since_us.is_some_and(over);
        if let Some((scheduler, session)) = link {
            let report = Report {
                node: node.node.clone(),
                session,
                managed: true,
                draining: node.leaving_since_us.is_some(),
                followed: node.followed,
                partitions,
                shards: vec![ShardReport {
                    owned: owned.iter().filter_map(claim).collect(),
                    cut_off: shard.cut_off,
                    ..ShardReport::default()
                }],
            };
            self.post(|| Event::Reported(scheduler, process, Box::new(report.clone())));
        }
        if ends {
            self.arrives(process, Message::Drain);
        }
    }

    /// The stream of a node, which is made again when it breaks or its scheduler is gone.
    fn link_of(&mut self, process: u32) -> Option<(u64, u64)> {
        let newest = *self.schedulers.keys().next_back()?;
        let breaks = !self.healed && self.rng.permille(BREAKS);
        let link = self.processes.get(&process)?.link;
        let lasts = |(scheduler, _): &(u64, u64)| {
            let there = self.schedulers.contains_key(scheduler);
            there && !breaks && (*scheduler == newest || !self.healed)
        };
        if let Some(link) = link.filter(lasts) {
            return Some(link);
        }
        self.break_link(process);
        let session = self.schedulers.get_mut(&newest)?.open();
        let link = Some((newest, session));
        self.processes.get_mut(&process)?.link = link;
        link
    }

    /// The stream of a node ends; its scheduler hears of it, or does not.
    pub(crate) fn break_link(&mut self, process: u32) {
        let Some(node) = self.processes.get_mut(&process) else { return };
        let (name, link) = (node.node.clone(), node.link.take());
        if let Some((scheduler, session)) = link.filter(|_| !self.rng.permille(VANISHES)) {
            let way_us = 1 + self.rng.below(self.options.network_us);
            self.after(way_us, Event::StreamEnds(scheduler, name, session));
        }
    }

    /// A node hears what it shall have.
    pub(crate) fn directed(&mut self, process: u32, assignment: &Assignment) {
        let Some(node) = self.processes.get_mut(&process) else { return };
        let heeds_all = self.mutations.has(Mutation::OldSchedulersAreFollowed);
        if assignment.incarnation < node.followed && !heeds_all {
            return;
        }
        node.followed = assignment.incarnation;
        let leaves = node.leaving_since_us.is_some();
        let named = assignment.shards.values().flatten();
        let partitions = named.filter_map(|number| PartitionId::new(u32::from(*number)).ok());
        let partitions = partitions.filter(|partition| !leaves || node.has(*partition)).collect();
        self.trace.say(self.now_us, "  assigned", || format!("process {process}: {assignment:?}"));
        self.arrives(process, Message::Assign(partitions));
    }
}
