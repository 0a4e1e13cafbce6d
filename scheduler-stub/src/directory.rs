//! Which nodes live, which shards they have, and who owns which partition.
//!
//! Nodes come in two ways: they report themselves (`scheduler.v1.Nodes/Heartbeat`), or they are named by the
//! operator and asked (`--node URL`). Both end in [`Directory::observe`]. Invariants: readers see one
//! consistent [`View`], and are woken only when something else than loads has changed; a node that has been silent for [`SILENT_BEATS`] intervals takes no more starts until
//! it speaks again; of two that claim a partition the higher generation has it; a node that has been silent for [`FORGET_AFTER`] is forgotten. Nothing here fails.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use executor::clock::Clock;
use ids::PartitionId;
use proto::executor::v1;
use tokio::sync::{Notify, watch};

use crate::ailments;
use crate::error::Error;

/// How often nodes report, and named nodes are asked.
pub const HEARTBEAT: Duration = Duration::from_millis(500);

/// Missed reports after which a node is suspected.
pub const SILENT_BEATS: u32 = 3;

/// Silence after which a node is forgotten.
pub const FORGET_AFTER: Duration = Duration::from_secs(60);

/// Nodes that the directory holds. Beyond, new ones are told that they are not known.
pub const NODES_MAX: usize = 1_024;

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// What it calls itself; for people, since two nodes of one machine may have the same.
    pub node_id: String,
    /// `host:port` of the port that takes every call: the node's name in the directory.
    pub public_address: String,
    /// Its shards.
    pub shards: Vec<v1::Shard>,
    /// Partitions of the whole cluster.
    pub partitions: u16,
    /// Whether it takes starts.
    pub serving: bool,
    /// Whether it takes its partitions from the scheduler.
    pub managed: bool,
    /// Whether it is about to end. A managed node serves what it still has meanwhile.
    pub draining: bool,
    /// Why it does not serve, in its own words; empty: it does.
    pub condition: String,
}

impl Report {
    /// Whether it has drained: it goes, and has nothing any more.
    fn has_drained(&self) -> bool {
        self.draining && self.shards.iter().all(|shard| shard.owned.is_empty() && shard.partitions.is_empty())
    }
}

/// A shard as the scheduler sees it.
#[derive(Debug, Clone)]
pub struct ShardView {
    /// `host:port` of its data port.
    pub data_address: Arc<str>,
    /// `host:port` of its node's public port.
    pub public_address: Arc<str>,
    /// What it serves.
    pub partitions: Vec<PartitionId>,
    /// Admission permits used / limit, as last reported.
    pub saturation_ratio: f64,
    /// As last reported.
    pub open_executions: u64,
    /// Whether starts that may go anywhere shall rather go elsewhere: its node is about to end, or it is busy.
    pub draining: bool,
}

impl ShardView {
    /// Whether nothing but its load is another.
    fn is_like(&self, other: &Self) -> bool {
        let place = |shard: &Self| (Arc::clone(&shard.data_address), Arc::clone(&shard.public_address));
        place(self) == place(other) && self.partitions == other.partitions && self.draining == other.draining
    }
}

/// One consistent picture of the cluster.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Partitions of the whole cluster; 0 while no node is known.
    pub partitions: u16,
    /// The shards that take starts.
    pub shards: Vec<ShardView>,
    /// Index into `shards` by partition number.
    pub(crate) owners: Vec<Option<usize>>,
    /// Indices into `shards`: where starts may go that may go anywhere.
    pub(crate) open: Vec<usize>,
    /// By partition number: the public address of the node that has it, in whatever state.
    pub(crate) holders: Vec<Option<Arc<str>>>,
    /// Whether some node that is not forgotten takes its partitions from the scheduler: partitions find new owners.
    pub managed: bool,
    /// `host:port` of every node that lives, draining ones too.
    pub public_addresses: Vec<Arc<str>>,
}

impl View {
    /// The shard that owns a partition and takes starts for it.
    #[must_use]
    pub fn owner(&self, partition: PartitionId) -> Option<&ShardView> {
        let index = self.owners.get(usize::from(partition.get())).copied().flatten()?;
        self.shards.get(index)
    }

    /// The public address of the node that knows most about a partition.
    #[must_use]
    pub fn holder(&self, partition: PartitionId) -> Option<&Arc<str>> {
        self.holders.get(usize::from(partition.get()))?.as_ref()
    }

    /// Whether each partition is in somebody's hands.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.holders.iter().all(Option::is_some)
    }

    /// The shard with this data address, if it takes starts that may go anywhere.
    #[must_use]
    pub fn is_open(&self, data_address: &str) -> bool {
        self.open
            .iter()
            .any(|index| self.shards.get(*index).is_some_and(|shard| &*shard.data_address == data_address))
    }

    /// Whether nothing but loads is another.
    fn is_like(&self, other: &Self) -> bool {
        let facts = |view: &Self| (view.partitions, view.managed, view.shards.len());
        facts(self) == facts(other)
            && self.owners == other.owners
            && self.holders == other.holders
            && self.public_addresses == other.public_addresses
            && self.shards.iter().zip(&other.shards).all(|(ours, theirs)| ours.is_like(theirs))
    }

    /// Draws the shards where starts may go that may go anywhere.
    #[must_use]
    pub(crate) fn with_open(mut self) -> Self {
        let serving = |draining: bool| {
            let shards = self.shards.iter().enumerate();
            let fit = shards.filter(|(_, shard)| !shard.partitions.is_empty() && shard.draining == draining);
            fit.map(|(index, _)| index).collect::<Vec<usize>>()
        };
        let staying = serving(false);
        // The last one serves until somebody takes over.
        self.open = if staying.is_empty() { serving(true) } else { staying };
        self
    }

    /// Whether a shard with this data address takes starts.
    #[must_use]
    pub fn has(&self, data_address: &str) -> bool {
        self.shards.iter().any(|shard| &*shard.data_address == data_address)
    }
}

struct Known {
    report: Report,
    heard_us: u64,
}

/// A node as it was heard last.
#[derive(Debug, Clone)]
pub struct Seen {
    /// What it said.
    pub report: Report,
    /// How long ago.
    pub silent: Duration,
}

/// See the module.
pub struct Directory {
    known: Mutex<BTreeMap<String, Known>>,
    view: watch::Sender<Arc<View>>,
    refresh: Notify,
    clock: Clock,
}

impl Directory {
    /// An empty directory.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            known: Mutex::default(),
            view: watch::Sender::new(Arc::default()),
            refresh: Notify::new(),
            clock,
        }
    }

    /// What it takes the time from.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The present picture.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// Wakes whenever the picture has changed.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    /// Takes a report in. `false`: the directory is full, the node stays unknown.
    pub fn observe(&self, report: Report) -> bool {
        let heard_us = self.clock.now_us();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= NODES_MAX && !known.contains_key(&report.public_address) {
            return false;
        }
        known.insert(report.public_address.clone(), Known { report, heard_us });
        self.publish(&known, heard_us);
        true
    }

    /// Every node that is not forgotten, by address.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        let now = self.clock.now_us();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().map(|node| Seen { report: node.report.clone(), silent: silence(node, now) }).collect()
    }

    /// A node has said that it goes, or its connection broke: it takes no more starts until it reports again.
    pub fn lost(&self, public_address: &str) {
        let now = self.clock.now_us();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(node) = known.get_mut(public_address) {
            node.report.serving = false;
            self.publish(&known, now);
        }
    }

    /// Whether a node had given everything back when it was heard last.
    #[must_use]
    pub fn has_drained(&self, public_address: &str) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(public_address).is_some_and(|node| node.report.has_drained())
    }

    /// Suspects and forgets silent nodes. Called once every [`HEARTBEAT`].
    pub fn sweep(&self) {
        let now = self.clock.now_us();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|address, node| {
            let keep = silence(node, now) < FORGET_AFTER;
            if !keep && !node.report.has_drained() {
                tracing::warn!(node = %node.report.node_id, %address, "silent for {FORGET_AFTER:?}: forgotten");
            }
            keep
        });
        self.publish(&known, now);
    }

    /// Asks for fresh reports of the named nodes, for a dispatcher that was told it knows the wrong owner.
    pub fn ask_again(&self) {
        self.refresh.notify_waiters();
    }

    /// Returns when [`Directory::ask_again`] is called.
    pub async fn asked_again(&self) {
        self.refresh.notified().await;
    }

    /// Waits until some shard takes starts.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when none does within `patience`.
    pub async fn wait_for_shards(&self, patience: Duration) -> Result<Arc<View>, Error> {
        let mut changes = self.changes();
        let found = tokio::time::timeout(patience, changes.wait_for(|view| !view.shards.is_empty())).await;
        match found {
            Ok(Ok(view)) => Ok(Arc::clone(&view)),
            _ => Err(ailments::nobody(self)),
        }
    }

    fn publish(&self, known: &BTreeMap<String, Known>, now: u64) {
        let view = picture(known, now);
        self.view.send_if_modified(|present| {
            let addresses = |view: &View| -> Vec<Arc<str>> {
                view.shards.iter().map(|shard| Arc::clone(&shard.data_address)).collect()
            };
            if addresses(present) != addresses(&view) {
                tracing::info!(nodes = view.public_addresses.len(), shards = view.shards.len(), "cluster");
            }
            let changed = !present.is_like(&view);
            *present = Arc::new(view);
            changed
        });
    }
}

fn silence(node: &Known, now_us: u64) -> Duration {
    Duration::from_micros(now_us.saturating_sub(node.heard_us))
}

/// Draws the picture of those who are not suspected. Of two nodes that claim a partition, the one with the higher
/// generation has it, else the one heard last.
fn picture(known: &BTreeMap<String, Known>, now_us: u64) -> View {
    // By address, so that two pictures of the same cluster are alike.
    let living = known.values().filter(|node| silence(node, now_us) < HEARTBEAT * SILENT_BEATS);
    let partitions = known.values().map(|node| node.report.partitions).max().unwrap_or_default();
    let nobody = vec![None; usize::from(partitions)];
    let mut view = View {
        partitions,
        managed: known.values().any(|node| node.report.managed),
        owners: nobody.clone(),
        holders: vec![None; usize::from(partitions)],
        ..View::default()
    };
    let (mut served, mut held) = (vec![(0, 0); nobody.len()], vec![(0, 0); nobody.len()]);
    for node in living {
        let public_address: Arc<str> = node.report.public_address.as_str().into();
        view.public_addresses.push(Arc::clone(&public_address));
        for shard in &node.report.shards {
            for (number, generation) in holdings(shard) {
                let claim = (generation, node.heard_us);
                let Some(top) = held.get_mut(number).filter(|top| claim >= **top) else { continue };
                *top = claim;
                view.holders[number] = Some(Arc::clone(&public_address));
            }
            if node.report.serving {
                take_in(&mut view, &mut served, node, shard, &public_address);
            }
        }
    }
    view.with_open()
}

/// Partitions of a shard in whatever state, with their generations.
fn holdings(shard: &v1::Shard) -> impl Iterator<Item = (usize, u64)> {
    let owned = shard.owned.iter().map(|owned| (owned.partition as usize, owned.generation));
    // Whoever does not tell states has what it serves.
    let untold = shard.partitions.iter().filter(|_| shard.owned.is_empty());
    owned.chain(untold.map(|number| (*number as usize, 0)))
}

fn take_in(
    view: &mut View,
    served: &mut [(u64, u64)],
    node: &Known,
    shard: &v1::Shard,
    public_address: &Arc<str>,
) {
    let index = view.shards.len();
    let mut partitions = Vec::with_capacity(shard.partitions.len());
    for number in &shard.partitions {
        let Ok(partition) = PartitionId::new(*number) else { continue };
        let place = usize::from(partition.get());
        let owned = shard.owned.iter().find(|owned| owned.partition == *number);
        let generation = owned.map_or(0, |owned| owned.generation);
        if let (Some(owner), Some(top)) = (view.owners.get_mut(place), served.get_mut(place)) {
            partitions.push(partition);
            if (generation, node.heard_us) >= *top {
                (*owner, *top) = (Some(index), (generation, node.heard_us));
            }
        }
    }
    view.shards.push(ShardView {
        data_address: shard.data_address.as_str().into(),
        public_address: Arc::clone(public_address),
        partitions,
        saturation_ratio: shard.saturation_ratio,
        open_executions: shard.open_executions,
        draining: node.report.draining || shard.busy,
    });
}

#[cfg(test)]
mod tests {
    use executor::clock::ManualClock;

    use super::*;

    fn report(node: &str, address: &str, partitions: std::ops::Range<u32>) -> Report {
        let shard = v1::Shard {
            index: 0,
            data_address: format!("{address}1"),
            partitions: partitions.collect(),
            open_executions: 0,
            saturation_ratio: 0.0,
            ..v1::Shard::default()
        };
        let public_address = address.to_owned();
        Report {
            node_id: node.into(),
            public_address,
            shards: vec![shard],
            partitions: 4,
            serving: true,
            managed: false,
            draining: false,
            condition: String::new(),
        }
    }

    fn owner(directory: &Directory, partition: u32) -> Option<String> {
        let partition = PartitionId::new(partition).expect("in range");
        directory.view().owner(partition).map(|shard| shard.data_address.to_string())
    }

    fn directory() -> (Directory, ManualClock) {
        let manual = ManualClock::at_ms(1_000);
        (Directory::new(Clock::Manual(manual.clone())), manual)
    }

    #[test]
    fn a_silent_node_is_suspected_and_comes_back_when_it_speaks() {
        let (directory, clock) = directory();
        assert!(directory.observe(report("a", "h:1", 0..4)));
        assert_eq!(owner(&directory, 3).as_deref(), Some("h:11"));
        clock.advance(HEARTBEAT * SILENT_BEATS);
        directory.sweep();
        assert_eq!(owner(&directory, 3), None);
        assert!(directory.observe(report("a", "h:1", 0..4)));
        assert_eq!(owner(&directory, 3).as_deref(), Some("h:11"));
    }

    #[test]
    fn the_node_that_was_heard_last_owns_a_partition_that_two_claim() {
        let (directory, clock) = directory();
        assert!(directory.observe(report("a", "h:1", 0..4)));
        clock.advance(HEARTBEAT);
        assert!(directory.observe(report("b", "h:2", 2..4)));
        assert_eq!(owner(&directory, 1).as_deref(), Some("h:11"));
        assert_eq!(owner(&directory, 2).as_deref(), Some("h:21"));
    }

    #[test]
    fn readers_are_woken_by_what_changes_and_not_by_each_report() {
        let (directory, clock) = directory();
        assert!(directory.observe(report("a", "h:1", 0..2)) && directory.observe(report("b", "h:2", 2..4)));
        let mut changes = directory.changes();
        changes.mark_unchanged();
        for (node, partitions) in [("h:1", 0..2), ("h:2", 2..4), ("h:1", 0..2)] {
            clock.advance(HEARTBEAT / 2);
            let mut again = report("x", node, partitions);
            again.shards[0].open_executions = 7;
            assert!(directory.observe(again));
            directory.sweep();
        }
        assert!(!changes.has_changed().expect("it lives"), "they said the same");
        assert_eq!(directory.view().shards[0].open_executions, 7, "loads are there for who looks");
        assert!(directory.observe(report("b", "h:2", 3..4)));
        assert!(changes.has_changed().expect("it lives"));
    }

    #[test]
    fn starts_that_may_go_anywhere_go_past_a_busy_shard_as_long_as_there_is_another() {
        let (directory, _clock) = directory();
        let mut busy = report("a", "h:1", 0..2);
        busy.shards[0].busy = true;
        assert!(directory.observe(busy) && directory.observe(report("b", "h:2", 2..4)));
        assert!(!directory.view().is_open("h:11") && directory.view().is_open("h:21"));
        assert_eq!(owner(&directory, 0).as_deref(), Some("h:11"), "it still has what it has");
    }

    #[test]
    fn a_node_that_comes_back_under_its_address_replaces_the_one_before() {
        let (directory, _clock) = directory();
        assert!(directory.observe(report("a", "h:1", 0..4)));
        assert!(directory.observe(report("b", "h:1", 0..4)));
        assert_eq!(directory.view().shards.len(), 1);
        directory.lost("h:1");
        assert!(directory.view().shards.is_empty());
        assert_eq!(directory.view().public_addresses.len(), 1);
    }

    #[test]
    fn a_node_that_claims_partitions_beyond_the_cluster_does_no_harm() {
        let (directory, _clock) = directory();
        assert!(directory.observe(report("a", "h:1", 2..9_000)));
        assert_eq!(directory.view().shards[0].partitions.len(), 2);
    }
}
